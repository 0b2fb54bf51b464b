"""docker-compose.yml without its engine: the same commands and variables, as processes on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cli.stack.ports import free_port
from tests.composed import variables
from tests.conditions import wait_until
from tests.processes import Process
from tests.valkey import Valkey

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
KEY = "kp_composes.0123456789abcdef0123456789abcdef"


class Stack:
    """The services but Redis and Flower, with one folder for the volume `state`."""

    def __init__(self, folder: Path) -> None:
        (folder / "valkey").mkdir()
        (folder / "state").mkdir()
        self.folder, self.port = folder, free_port()
        self.valkey = Valkey(folder / "valkey", fsync="everysec").start()
        self.parts: dict[str, Process] = {}
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Api-Key {KEY}"},
            timeout=120,
        )

    def start(self, name: str) -> Process:
        """A service as compose starts it, but for host, port and the store's address."""
        service = SERVICES[name]
        filled = variables(service, {"KINGPOST_API_KEY": KEY, "REDIS_PASSWORD": "secret"})
        filled["KINGPOST_REDIS_URL"] = self.valkey.url
        filled["KINGPOST_STATE_DIR"] = str(self.folder / "state")
        changed = {"0.0.0.0": "127.0.0.1", "8000": str(self.port)}
        command = [changed.get(word, word) for word in service["command"]]
        clean = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder)}
        log = self.folder / f"{name}.log"
        self.parts[name] = Process(command, clean | filled, log, ROOT).start()
        return self.parts[name]

    def answers(self) -> bool:
        try:
            return self.http.get("/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        self.http.close()
        for part in reversed(self.parts.values()):
            if part.popen and part.popen.poll() is None:
                part.stop(60)
        self.valkey.stop()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    yield stack
    stack.stop()


@pytest.mark.slow
def test_a_newcomer_can_call_the_examples(stack: Stack) -> None:
    for name in ("api", "maintenance", "node"):
        stack.start(name)
    pushing = stack.start("models").popen
    assert pushing and pushing.wait(120) == 0, (stack.folder / "models.log").read_text()
    wait_until(stack.answers, 30, "the API does not answer")
    echoed = stack.http.post("/models/echo/production/predict", json={"hello": "world"})
    assert (echoed.status_code, echoed.json()) == (200, {"hello": "world"})
    order = {"digit": 7, "count": 1, "steps": 2, "seed": 1}
    drawn = stack.http.post("/models/digits/production/predict", json=order)
    assert drawn.status_code == 200, drawn.text
    again = stack.start("models").popen  # `docker compose up` a second time
    assert again and again.wait(120) == 0
    assert (stack.folder / "models.log").read_text().count(" already.") == 4
