"""A laptop with the client alone, in a network namespace that reaches nothing but the server's port, does everything: `make shipped`."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.client.init import EXAMPLES
from tests.conditions import wait_until
from tests.contract.client.conftest import COUNTER, PAINTER
from tests.contract.client.test_live import LEFT, read_until
from tests.processes import Process
from tests.shipped.conftest import Hook
from tests.shipped.installed import Installed, Place, hostile, make, up
from tests.wheels import ROOT

pytestmark = pytest.mark.slow

NAMESPACE = "tests.contract.deployments.namespace"
LIGHT_BYTES = 30_000_000  # the client with all that it needs
LOOPBACK_HOOKS = {"KINGPOST_WEBHOOK_ALLOW_HTTP": "1", "KINGPOST_WEBHOOK_ALLOW_PRIVATE": "1"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
# Takes one webhook, on the laptop itself, and writes it into a file.
RECEIVER = """
import http.server, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        pathlib.Path("received.json").write_bytes(body)
        self.send_response(202)
        self.end_headers()
with http.server.HTTPServer(("127.0.0.1", 3000), Handler) as server:
    server.timeout = 120
    server.handle_request()
"""


@pytest.fixture(scope="module")
def server(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """`kingpost up`."""
    folder = tmp_path_factory.mktemp("server") / "work"
    folder.mkdir()
    place = Place(installed, hostile(folder))
    place.variables |= LOOPBACK_HOOKS
    up(place)
    yield place
    assert place.stop() == {"up": 0}


@pytest.fixture(scope="module")
def bare(wheel: Path, server: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The wheel alone, with a home of its own. It reaches the server's port as its own port 8000."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("needs unshare and the right to make namespaces")
    folder = tmp_path_factory.mktemp("laptop")
    (folder / "work").mkdir()
    environment = make(folder / "venv")
    before = environment.size
    environment.install(str(wheel))
    taken = environment.size - before
    print(f"the client with all that it needs: {taken / 1e6:.1f} MB")
    assert taken < LIGHT_BYTES
    socket = str(folder / "cable")
    program = ("-m", "tests.contract.truss.cable", socket, str(server.port))
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    cable = Process([""], variables, folder / "cable.log", program=program).start()
    wait_until(Path(socket).exists, 30, "no cable")
    unshared = ("unshare", "-rn", sys.executable, "-m", NAMESPACE, socket, "8000")
    within = ("env", f"PYTHONPATH={ROOT}", *unshared, "env", "-u", "PYTHONPATH")
    place = Place(environment, hostile(folder / "work"), within=within)
    place.variables |= {"PATH": f"{environment.folder / 'bin'}:/usr/bin:/bin:/usr/sbin:/sbin"}
    place.variables |= {"COLUMNS": "80"}
    yield place
    place.stop()
    cable.kill()


@pytest.fixture(scope="module")
def laptop(bare: Place, server: Place) -> Place:
    """The same, logged in as an admin, with models that it has pushed."""
    (key,) = re.findall(r"kp_\S+", server.says("kingpost", "keys", "create", "--scope", "admin"))
    (bare.folder / "key").write_text(key)
    said = bare.types("kingpost login http://127.0.0.1:8000 < key")
    assert "Logged in to http://127.0.0.1:8000" in said and key not in said
    bare.types("kingpost init hello")
    for name, model in {"counter": COUNTER, "painter": PAINTER}.items():
        (bare.folder / name / "model").mkdir(parents=True)
        (bare.folder / name / "config.yaml").write_text(f"model_name: {name}\n")
        (bare.folder / name / "model" / "model.py").write_text(model)
    said = bare.types("kingpost push hello counter painter")
    assert said.count("ready: http") == 3
    return bare


def listed(laptop: Place, line: str) -> Any:
    """What a line prints as JSON."""
    return json.loads(laptop.types(line))


@contextmanager
def paused(laptop: Place, model: str) -> Iterator[None]:
    """The model is held back meanwhile."""
    laptop.types(f"kingpost pause {model}")
    try:
        yield
    finally:
        laptop.types(f"kingpost resume {model}")


def test_what_needs_a_server_here_is_refused_with_a_sentence(bare: Place) -> None:
    assert "Usage: kingpost" in bare.types("kingpost --help")
    for words in (["up"], ["node"], ["virtualenvs", "prune"]):
        said = bare.refuses("kingpost", *words)
        assert "only the client is installed here" in said
        assert "Traceback" not in said


def test_contexts_come_and_go(laptop: Place) -> None:
    key = (laptop.folder / "key").read_text()
    laptop.types("kingpost login http://127.0.0.1:8000 --name second < key")
    rows = listed(laptop, "kingpost contexts --json")
    assert [(row["name"], row["current"]) for row in rows] == [("127.0.0.1:8000", False), ("second", True)]  # fmt: skip
    assert laptop.types("kingpost key").strip() == key
    (file,) = laptop.folder.parent.glob("home/.config/kingpost/contexts.json")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    laptop.types("kingpost use 127.0.0.1:8000")
    assert "forgotten" in laptop.types("kingpost logout second")
    assert "second" not in laptop.types("kingpost contexts")


def test_every_template_is_made_and_those_without_weights_answer(laptop: Place) -> None:
    for template in EXAMPLES:
        said = listed(laptop, f"kingpost init made/{template} --template {template} --json")
        assert said["model"] == template and len(said["files"]) >= 2
        assert all((laptop.folder / file).exists() for file in said["files"])
    assert "ready: http" in laptop.types("kingpost push made/custom-server")
    said = laptop.types("kingpost predict custom-server -i name=Ada")
    assert "Ada" in said


def test_a_push_says_why_a_model_does_not_load(laptop: Place) -> None:
    laptop.types("kingpost init broken && echo 'import nothing_like_it' >> broken/model/model.py")
    said = laptop.refuses("kingpost", "push", "broken")
    assert "No module named 'nothing_like_it'" in said
    laptop.types("kingpost rm broken --force --yes")


def test_a_push_ends_with_a_line_for_curl(laptop: Place) -> None:
    said = laptop.types("kingpost push hello --promote")
    (line,) = re.findall(r"^\s*(curl .*)$", said, re.M)
    assert json.loads(laptop.types(line)) == {"text": "Hello, Ada!"}


def test_models_run(laptop: Place) -> None:
    (laptop.folder / "order.json").write_text('{"name": "File"}')
    assert listed(laptop, "kingpost predict hello -i @order.json") == {"text": "Hello, File!"}
    assert listed(laptop, "kingpost predict hello -i @- < order.json") == {"text": "Hello, File!"}
    given = "-i name=Eve --async --priority 1"
    assert listed(laptop, f"kingpost predict hello {given}") == {"text": "Hello, Eve!"}
    for how in ("", " --async"):
        laptop.types(f"kingpost predict painter -i what=bytes -o out.png{how}")
        assert (laptop.folder / "out.png").read_bytes() == PNG
        (laptop.folder / "out.png").unlink()
    assert laptop.types("kingpost predict counter -i upto=3") == "1, 2, 3.\n"
    assert laptop.types("kingpost predict counter -i upto=3 --async") == "1, 2, 3.\n"
    (laptop.folder / "big.bin").write_bytes(PNG * 1000)
    assert "File" in laptop.types("kingpost predict hello -i name=File -i image=@@big.bin")


def test_jobs_are_seen_and_steered(laptop: Place) -> None:
    line = "kingpost predict hello -i name=Ada --async --detach"
    with paused(laptop, "hello"):
        first, second, third = (laptop.types(line).strip() for _ in range(3))
        found = listed(laptop, "kingpost jobs ls --status QUEUED --model hello --json")
        assert [row["request_id"] for row in found] == [first, second, third]
        said = laptop.types("kingpost jobs ls --model hello")
        assert first in said and max(map(len, said.splitlines())) <= 80
        assert "paused" in laptop.types(f"kingpost jobs show {first}")
        assert listed(laptop, f"kingpost jobs input {first}") == {"name": "Ada"}
        laptop.types(f"kingpost jobs move {first} --to-level 2")
        assert listed(laptop, f"kingpost jobs show {first} --json")["priority"] == 2
        laptop.types(f"kingpost jobs cancel {second[:8]}")
        move = "kingpost jobs move --model hello --status QUEUED --to-level 0"
        counted = listed(laptop, f"{move} --dry-run --json")
        assert (counted["matched"], counted["done"]) == (2, 0)
        laptop.types(f"{move} --yes")
        assert listed(laptop, "kingpost queue hello --json")["num_queued_requests"] == 2
    assert "SUCCEEDED" in laptop.types(f"kingpost jobs watch {first}").upper()
    assert listed(laptop, f"kingpost jobs result {third}") == {"text": "Hello, Ada!"}
    again = listed(laptop, f"kingpost jobs retry {first} -i name=Bob --json")
    said = laptop.types(f"EDITOR='sed -i s/Ada/Zoe/' kingpost jobs retry {first} --edit")
    edited = re.findall(r"[0-9a-f]{32}", said)[-1]
    for request_id, name in ((_new(again), "Bob"), (edited, "Zoe")):
        assert listed(laptop, f"kingpost jobs result {request_id}") == {"text": f"Hello, {name}!"}
    laptop.types(f"kingpost jobs purge {third} --yes")
    said = laptop.refuses("kingpost", "jobs", "show", third)
    assert "Traceback" not in said and said.count("\n") == 1, said
    laptop.types("kingpost jobs cancel --all --yes")
    assert listed(laptop, "kingpost jobs ls --status CANCELED --json")[0]["request_id"] == second


def _new(said: Any) -> str:
    (row,) = said if isinstance(said, list) else [said]
    return str(row["request_id"])


def test_what_operators_look_at(laptop: Place) -> None:
    for line in (
        "status", "models", "deployments", "nodes", "top", "doctor", "queue hello", "key", "contexts", "jobs ls",
        "keys list", "webhook-secret list", "webhooks list", "open", "logs hello",
    ):  # fmt: skip
        said = laptop.types(f"kingpost {line} --json")
        assert all(json.loads(part) is not None for part in said.splitlines()), line
    assert "hello" in laptop.types("kingpost top --once")
    assert laptop.types("kingpost open docs --no-browser").strip().endswith("/docs")
    assert " fail " not in laptop.types("kingpost doctor")
    entries = laptop.types("kingpost audit --export --action key").splitlines()
    assert json.loads(entries[0])["action"] == "key.create"


def test_a_model_is_held_changed_and_deleted(laptop: Place) -> None:
    laptop.types("kingpost init gone && kingpost push gone")
    laptop.types("echo '# another version' >> gone/model/model.py && kingpost push gone")
    rows = [row for row in listed(laptop, "kingpost deployments --json") if row["model"] == "gone"]
    old, new = (row["deployment"] for row in sorted(rows, key=lambda row: "production" not in row["environments"]))  # fmt: skip
    laptop.types(f"kingpost promote gone {new}")
    laptop.types("kingpost rollback gone")
    laptop.types(f"kingpost deactivate {new}")
    laptop.types(f"kingpost activate {new}")
    laptop.types(f"kingpost rm gone --deployment {new} --yes")
    left = [row["deployment"] for row in listed(laptop, "kingpost deployments --json") if row["model"] == "gone"]  # fmt: skip
    assert left == [old]
    laptop.types("kingpost rm gone --force --yes")
    assert "gone" not in [row["model"] for row in listed(laptop, "kingpost models --json")]


def test_keys_are_made_limited_emptied_and_revoked(laptop: Place) -> None:
    plain = laptop.types("kingpost keys create --name ci").strip()
    identity = plain.removeprefix("kp_").partition(".")[0]
    laptop.types(f"KINGPOST_URL=http://127.0.0.1:8000 KINGPOST_API_KEY={plain} kingpost predict hello -i name=ci --async")  # fmt: skip
    laptop.types(f"kingpost keys limits {identity} --max-running 2")
    rows = {row["id"]: row for row in listed(laptop, "kingpost keys list --json")}
    assert rows[identity]["limits"]["max_running"] == 2
    assert rows[identity]["kept_requests"] == 1
    laptop.types(f"kingpost keys purge {identity} --yes")
    rows = {row["id"]: row for row in listed(laptop, "kingpost keys list --json")}
    assert rows[identity]["kept_requests"] == 0
    laptop.types(f"kingpost keys revoke {identity}")
    assert listed(laptop, f"kingpost jobs ls --key {identity} --json") == []


def test_webhooks_are_tried_without_a_way_in(laptop: Place, hook: str) -> None:
    (secret,) = re.findall(r"whsec_\S+", laptop.types("kingpost webhook-secret create || kingpost webhook-secret rotate"))  # fmt: skip
    assert listed(laptop, f"kingpost webhooks test {hook} --json")["status"] == 200
    assert len(Hook.got) == 1
    (laptop.folder / "receiver.py").write_text(RECEIVER)
    forward = f"--forward-to http://127.0.0.1:3000/hook --secret {secret} --json"
    script = f"python -P receiver.py & exec kingpost webhooks listen {forward}"
    laptop.starts("listen", script)
    laptop.until_it_says("listen", "Listening at http")
    request_id = laptop.types("kingpost predict hello -i name=Ada --async --detach").strip()
    laptop.until_it_says("listen", '"answer": 202')
    (row,) = [json.loads(line) for line in laptop.said("listen").splitlines() if line[:1] == "{"]
    assert (row["request_id"], row["signature"]) == (request_id, "ok")
    received = json.loads((laptop.folder / "received.json").read_text())
    assert (received["request_id"], received["data"]) == (request_id, {"text": "Hello, Ada!"})
    laptop.stop()


def test_webhooks_that_were_given_up_go_again(laptop: Place, hook: str) -> None:
    line = "kingpost predict hello -i name=Ada --async --detach --webhook http://127.0.0.1:9/hook"
    request_id = laptop.types(line).strip()
    laptop.types(f"kingpost jobs watch {request_id}")
    assert "No webhook was given up." in laptop.types("kingpost webhooks resend --all")
    assert "on its way" in laptop.types(f"kingpost webhooks resend {request_id}")
    delivered = laptop.types(line.replace("http://127.0.0.1:9/hook", hook)).strip()
    wait_until(lambda: delivered in [each["request_id"] for each in Hook.got], 30, "no webhook")


def test_logs_are_followed(laptop: Place) -> None:
    """The line of the failure comes after the last one there was, with which the follower has begun."""
    laptop.starts("follow", "exec kingpost logs counter -f -n 1")
    wait_until(lambda: laptop.said("follow").strip(), 60, "no line of before")
    before = laptop.said("follow").count("lost count")
    laptop.refuses("kingpost", "predict", "counter", "-i", "upto=3", "-i", "fail_at=2")
    wait_until(lambda: laptop.said("follow").count("lost count") > before, 60, "not followed")
    laptop.stop()


def test_top_is_live_until_q(laptop: Place) -> None:
    parent, child = pty.openpty()
    process = laptop.on_terminal("exec kingpost top --every 0.5", child)
    os.close(child)
    try:
        seen = read_until(parent, lambda said: said.count(b"replicas ready:") >= 2)
        os.write(parent, b"q")
        seen += read_until(parent, lambda said: LEFT in said)
        assert process.wait(20) == 0
    finally:
        process.kill()
        os.close(parent)
    assert b"hello" in seen and b"Traceback" not in seen


def test_a_shell_completes_commands(laptop: Place) -> None:
    words = "_KINGPOST_COMPLETE=complete_bash COMP_CWORD=2 COMP_WORDS='kingpost jobs ca' kingpost"
    assert laptop.types(words).split() == ["cancel"]
    assert "complete" in laptop.types("bash -c 'kingpost --show-completion; true'")
