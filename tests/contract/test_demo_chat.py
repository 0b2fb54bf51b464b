"""`kingpost demo --chat`: a stack with a chat model, spoken to through its input, with Ctrl-C in the middle of an answer."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import wait_until
from tests.contract.host.running import write_package

pytestmark = pytest.mark.stack

CHATS = """
import asyncio, json, os
from fastapi import HTTPException

class Model:
    async def chat_completions(self, body):
        messages = body["messages"]
        if messages[-1]["content"] == "refuse":
            raise HTTPException(400, {"message": "messages: no \\x1b[31m.", "param": "messages"})
        if messages[-1]["content"] == "always" or messages[-1]["content"] == "too long" and len(messages) > 1:
            raise HTTPException(400, {"message": "too long", "code": "context_length_exceeded"})
        return self.events([message["content"] for message in messages])

    async def events(self, contents):
        for word in (f"{len(contents)} messages,", f" first {contents[0]},", f" before {contents[-2:-1]}"):
            yield "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": word}}]}) + "\\n\\n"
            while contents[-1] == "wait":
                await asyncio.sleep(0.05)
        yield "data: [DONE]\\n\\n"
"""


@pytest.fixture
def said(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """The command as it runs, and the file of what it says."""
    package = tmp_path / "models" / "extra" / "chat"
    write_package(package, CHATS, "model_name: chat\n", {"data/chat/config.json": "{}"})
    out = tmp_path / "said.txt"
    with out.open("w") as said:
        command = [sys.executable, "-m", "cli.main", "demo", "--chat", "--models", str(tmp_path / "models")]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        yield process, out
    finally:
        process.terminate()
        process.wait(120)


def test_a_chat_line_by_line(said: tuple["subprocess.Popen[str]", Path]) -> None:
    process, out = said

    def write(line: str, until: str) -> None:
        assert process.stdin
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        wait_until(lambda: until in out.read_text(), 60, f"{until} is not in {out.read_text()}")

    wait_until(lambda: "Ctrl-D ends the chat" in out.read_text(), 120)
    assert "/v1/chat/completions -H" in out.read_text()
    write("hello", "1 messages, first hello, before []\n")
    write("again", "3 messages, first hello, before ['1 messages, first hello, before []']\n")
    write("wait", "5 messages,")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "5 messages, [stopped]" in out.read_text(), 30)
    write("on", "7 messages, first hello, before ['5 messages,']\n")  # what was shown counts
    write("refuse", "messages: no \\x1b[31m.\n")  # and the chat goes on without it
    write("too long", "it begins anew.\n1 messages, first too long, before []\n")
    write("always", "it begins anew.\n\ntoo long\n")  # a refusal of the second try is said
    assert process.stdin
    process.stdin.close()
    assert process.wait(120) == 0
    assert out.read_text().rstrip().endswith("Stopping.")
