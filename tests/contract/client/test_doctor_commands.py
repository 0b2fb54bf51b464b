"""`kingpost doctor`, `open` and `login` on a real stack, from its machine and from a laptop."""

import json
from pathlib import Path

import pytest

from kingpost import Client
from tasks.settings import Settings
from tests.api_keys import ApiKeys
from tests.contract.client.conftest import Shell, Stack

pytestmark = pytest.mark.stack


def test_the_doctor_finds_nothing_wrong_with_a_new_stack(stack: Stack, far: Shell) -> None:
    said = far.type(f"kingpost doctor --state {stack.shell.folder / '.kingpost'}")
    lines = [line for line in said.splitlines() if line[:4] in ("ok  ", "fail")]
    assert not [line for line in lines if line.startswith("fail")]
    for words in ("appendonly yes", "appendfsync always", "noeviction", f"{stack.url} answers."):
        assert any(words in line for line in lines), said


def test_the_doctor_of_a_laptop_says_what_the_key_may(stack: Stack, logged_in: Shell) -> None:
    found = {row["name"]: row for row in json.loads(logged_in.type("kingpost doctor --json"))}
    assert {row["level"] for row in found.values()} == {"ok"}
    assert stack.url in found["server"]["said"] and "scope admin" in found["key"]["said"]
    wrong = logged_in.run("kingpost doctor", KINGPOST_API_KEY="kp_wrong")
    assert wrong.returncode == 1 and "fail  key" in wrong.stdout
    gone = logged_in.run("kingpost doctor --url http://127.0.0.1:9", KINGPOST_API_KEY="k")
    assert gone.returncode == 1 and "cannot be reached" in gone.stdout


def test_a_login_says_what_a_key_for_metrics_may_not(stack: Stack, far: Shell) -> None:
    up = json.loads((stack.shell.folder / ".kingpost" / "up.json").read_text())
    settings = Settings(redis_url=up["redis_url"], state_dir=Path(stack.shell.folder))
    plain = ApiKeys(settings).create(scope="metrics", models=["hello"])
    said = far.type(f"kingpost login {stack.url}", given=plain)
    assert "the key has the scope metrics, so it may neither run models nor manage" in said
    with Client(stack.url, plain) as client:
        key = client.key()
        assert (key.scope, key.state, key.models) == ("metrics", "valid", ("hello",))
    assert "It is for hello alone." in far.type("kingpost doctor")


def test_the_pages_of_a_server_are_printed(stack: Stack, far: Shell) -> None:
    local = f"--state {stack.shell.folder / '.kingpost'}"
    assert far.type(f"kingpost open {local}") == f"{stack.url}/ui\n"
    assert far.type(f"kingpost open docs {local}") == f"{stack.url}/docs\n"
    assert "runs without Flower" in far.refused(f"kingpost open flower {local}")
    assert "there are console, docs, flower" in far.refused(f"kingpost open page {local}")
    far.type(f"kingpost login {stack.url}", given=stack.key)
    assert far.type("kingpost open") == f"{stack.url}/ui\n"
    assert "on the machine of the stack" in far.refused("kingpost open flower")
