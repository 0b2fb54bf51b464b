"""Every kind of bad package beside a healthy model, on one `kingpost up`: the healthy one never notices.

The bad ones of tests/unit/bad_packages.py lie in the folder of models, with others that only break when they are
loaded; those, and generated names, are pushed, too.
"""

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from deployments.packages.names import check_model_name
from kingpost.packing.config_file import PackageError
from tests.conditions import wait_until
from tests.contract.test_up import Up
from tests.unit.bad_packages import BAD, GOOD_MODEL, Bad

pytestmark = pytest.mark.slow

SECONDS = 300.0  # for all of them, two loads at a time
SETTINGS = {
    "KINGPOST_LOAD_FAILURES": "2",
    "KINGPOST_LOAD_TIMEOUT_SECONDS": "60",
    "KINGPOST_NODE_SLOTS": "12",
}


def loading(body: str) -> str:
    """A model whose load does that."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return f"import os, signal, sys, threading, time\n\n\nclass Model:\n    def load(self):\n{lines}\n\n{GOOD_MODEL.partition(chr(10))[2]}"


# Accepted by a push, and never loaded; `said` is in the reason.
UNLOADABLE = [
    Bad("raises", "OSError: no weights", model=loading("raise OSError('no weights')")),
    Bad("raises_lines", "ValueError: first", model=loading("raise ValueError('first\\nsecond\\n\\x1b[31m')")),
    Bad("raises_nothing", "RuntimeError", model=loading("raise RuntimeError")),
    Bad("raises_much", "ValueError", model=loading("raise ValueError('\\ud800' + 'x' * 100_000)")),
    Bad("raises_oddly", "Odd", model=loading("class Odd(Exception):\n    def __str__(self): raise self\nraise Odd")),
    Bad("interrupts", "KeyboardInterrupt", model=loading("raise KeyboardInterrupt")),
    Bad("leaves", "SystemExit: 3", model=loading("sys.exit(3)")),
    Bad("exits", "exit code 7", model=loading("os._exit(7)")),
    Bad("exits_well", "exit code 0", model=loading("os._exit(0)")),
    Bad("killed", "SIGKILL", model=loading("os.kill(os.getpid(), signal.SIGKILL)")),
    Bad("segfaults", "SIGSEGV", model=loading("os.kill(os.getpid(), signal.SIGSEGV)")),
    Bad("recurses", "RecursionError", model=loading("self.load()")),
    Bad("shouts", "OSError: enough", model=loading("for _ in range(20_000): print('x' * 100)\nraise OSError('enough')")),
    Bad("closes", "", model=loading("os.closerange(0, 3)\nraise OSError('closed')")),
    Bad("removes", "", model=loading("import shutil\nshutil.rmtree(os.getcwd())\nraise OSError('gone')")),
    Bad("hangs", "60 s", model=loading("threading.Event().wait()")),
    Bad("wheel", "nowhere.whl", "requirements: ['./nowhere.whl']"),
    Bad("conflict", "virtualenv could not be built", "requirements: ['pip<1', 'pip>1']"),
    Bad("server", "exit code 127", "docker_server: {start_command: /nonexistent, server_port: 9, predict_endpoint: /, readiness_endpoint: /, liveness_endpoint: /}"),
]  # fmt: skip
WORK_IN_PLACE = (
    "outer_folder",
    "outer_link",
    "outermost",
)  # only a push could not carry what they need
BAD_IN_PLACE = [package for package in BAD if package.kind not in WORK_IN_PLACE]
IN_THE_FOLDER = BAD_IN_PLACE + UNLOADABLE[:4]
ODD_NAMES = [
    "zai-org/GLM-5",
    "..",
    "100% \u2603 'once' \"twice\"",
    "[red]x[/red]",
    "-rf",
    "é" * 200,
]


def generated_names() -> list[str]:
    """Of any characters that a name may have."""
    chance, found = random.Random(5), list[str]()
    while len(found) < 4:
        name = "".join(chr(chance.randrange(0x20, 0x3000)) for _ in range(chance.randrange(1, 20)))
        try:
            check_model_name(name)
        except PackageError:
            continue
        found.append(name)
    return found


class Neighbour(threading.Thread):
    """Asks the healthy model all the time, as its clients do."""

    def __init__(self, up: Up) -> None:
        super().__init__(daemon=True)
        self._url = f"http://127.0.0.1:{up.port}/models/echo/production/predict"
        self._headers = {"Authorization": f"Api-Key {(up.state / 'api_key').read_text().strip()}"}
        self._ends = threading.Event()
        self.answers, self.failures = 0, list[str]()
        self.start()

    def run(self) -> None:
        with httpx.Client(timeout=60, headers=self._headers) as client:
            while not self._ends.wait(0.1):
                try:
                    said = client.post(self._url, json={"n": self.answers})
                    if said.text != json.dumps({"n": self.answers}):
                        self.failures.append(f"{said.status_code} {said.text}")
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                self.answers += 1

    def served(self) -> None:
        """Ends it: it was answered each time."""
        self._ends.set()
        self.join(90)
        assert self.answers > 0
        assert not self.failures, (self.answers, self.failures)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("neighbours"))
    up.env |= SETTINGS
    for bad in IN_THE_FOLDER:
        bad.write(up.models / bad.kind)
    yield up
    if up.process and up.process.poll() is None:
        up.stop()


def served_from_now_on(up: Up) -> Neighbour:
    """Starts it, and asks its healthy model from its first moment on."""
    up.start("--no-flower")
    wait_until(lambda: "echo is ready." in up.said(), 120, "the healthy model is not ready")
    neighbour = Neighbour(up)
    wait_until(lambda: "Kingpost is ready" in up.said(), SECONDS, "it does not settle")
    return neighbour


def sentence_of(up: Up, kind: str) -> str:
    """Why `up` has left it out: one sentence, which an excerpt may follow."""
    (reason,) = [broken["reason"] for broken in up.up_json()["broken"] if broken["name"] == kind]
    assert "Traceback" not in reason
    return reason.splitlines()[0]


def push_all(up: Up, folder: Path) -> dict[str, str]:
    """What cannot be loaded, and good ones of odd names that cannot be loaded either; by name, what is in the reason."""
    wanted = {bad.kind: bad.said for bad in UNLOADABLE if bad not in IN_THE_FOLDER}
    folders = [bad.write(folder / bad.kind) for bad in UNLOADABLE if bad.kind in wanted]
    for number, name in enumerate(ODD_NAMES + generated_names()):
        odd = Bad("", "", yaml.safe_dump({"model_name": name}), UNLOADABLE[0].model)
        folders.append(odd.write(folder / str(number)))
        wanted[name] = UNLOADABLE[0].said
    up.says("push", "--no-wait", *map(str, folders))
    return wanted


def reasons(up: Up) -> dict[str, str]:
    """Of all deployments that failed, by the name of their model, as the management API says them."""
    found: dict[str, str] = {}
    for model in up.call("GET", "/v1/models")["models"]:
        path = f"/v1/models/{model['id']}/deployments"
        for deployment in up.call("GET", path)["deployments"]:
            if deployment["status"] == "DEPLOY_FAILED":
                found[model["name"]] = deployment["status_reason"].splitlines()[-1]
    return found


def shown_whole(up: Up, wanted: dict[str, str]) -> None:
    """Both tables name each with its reason."""
    models, deployments = (up.says(command) for command in ("models", "deployments"))
    for said in (models, deployments):
        assert "Traceback" not in said
        for name, reason in wanted.items():
            assert name in said
            assert reason in " ".join(said.split())


def left_for_others(up: Up) -> list[str]:
    """The lines of the node's log that say so of the healthy model."""
    lines = (up.state / "logs" / "node.log").read_text().splitlines()
    return [line for line in lines if '"model": "echo"' in line and '"why": "room for' in line]


def test_the_healthy_one_answers_all_along_and_each_bad_one_says_why(
    up: Up, tmp_path: Path
) -> None:
    neighbour = served_from_now_on(up)
    for bad in IN_THE_FOLDER:
        assert bad.said in sentence_of(up, bad.kind), bad.kind
    wanted = push_all(up, tmp_path)
    wait_until(lambda: wanted.keys() <= reasons(up).keys(), SECONDS, "not all have failed")
    for name, said in wanted.items():
        assert said in reasons(up)[name], name
    shown_whole(up, wanted)
    neighbour.served()
    assert up.stop() == 1  # some never came up
    assert "Traceback" not in up.said() and "\x1b" not in up.said()

    neighbour = served_from_now_on(up)
    for bad in IN_THE_FOLDER:
        assert bad.said in sentence_of(up, bad.kind), bad.kind
    wait_until(lambda: wanted.keys() <= reasons(up).keys(), SECONDS, "a reason was lost")
    neighbour.served()
    assert up.stop() == 1
    assert "Traceback" not in up.said()
    assert not left_for_others(up)
