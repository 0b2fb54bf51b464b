"""What a command logs at a terminal is one short line of each event; a file has the rest."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

FAILS = """
import asyncio, sys
from pathlib import Path
from tasks.process.logs import configure_command
from tasks.process.loops import Guard
if len(sys.argv) > 1:
    configure_command(Path(sys.argv[1]), own_words=("store.unavailable",))
from tasks.errors import StoreUnavailable
from tasks.process.logs import get_logger
def work(password="hunter2-hunter2"):
    raise ValueError("broken\\n\\x1b[2Jdisk")
with Guard("up.json").round():
    work()
with Guard("other").round():
    raise StoreUnavailable("it is away")
get_logger("x").info("thing.done")
async def main():
    asyncio.get_running_loop().call_exception_handler({"message": "Task went wrong", "exception": ValueError("unseen")})
asyncio.run(main())
"""


def at_terminal(*arguments: str, **variables: str) -> str:
    """What is shown on a terminal of 80 columns by a command that fails inside."""
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "80"} | variables
    command = [sys.executable, "-c", FAILS, *arguments]
    subprocess.run(command, stdout=theirs, stderr=theirs, env=env, check=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65_536)
        except OSError:  # the end of a terminal's output
            os.close(ours)
            return shown.decode()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "up.log"


@pytest.fixture(scope="module")
def shown(log: Path) -> str:
    return at_terminal(str(log)).replace("\r\n", "\n")


def test_a_failure_inside_a_command_is_one_line_at_the_terminal(log: Path, shown: str) -> None:
    assert shown == (
        "\x1b[31merror: round failed loop=up.json error=ValueError('broken\\n\\x1b[2Jdisk') failed=1;"
        f" {log} has more\x1b[0m\n"
        f"\x1b[31merror: Task went wrong; {log} has more\x1b[0m\n"
    )


def test_the_file_has_every_event_with_its_frames(log: Path, shown: str) -> None:
    events = [json.loads(line) for line in log.read_text().splitlines()]
    names = [event["event"] for event in events]
    assert names[:4] == ["round.failed", "store.unavailable", "thing.done", "Task went wrong"]
    assert "in work" in events[0]["exception"] and "unseen" in events[3]["exception"]


def test_a_dumb_terminal_gets_no_colour(tmp_path: Path) -> None:
    shown = at_terminal(str(tmp_path / "up.log"), TERM="dumb")
    assert shown.startswith("error: round failed") and "\x1b" not in shown


def test_a_command_that_sets_nothing_up_shows_no_values_of_variables() -> None:
    shown = at_terminal(NO_COLOR="1")
    lines = shown.splitlines()
    assert lines[0].startswith("error: round failed loop=up.json") and "hunter2" not in shown
    assert lines[1] == "warning: store unavailable loop=other error=it is away"
    assert "thing" not in shown
