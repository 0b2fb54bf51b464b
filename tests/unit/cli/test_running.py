"""How commands find the stack: by --state, before or after the command, by variables, or by the folder they are in."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.running import NoStack
from cli.stack.ports import free_port
from cli.stack.state_lock import RUNNING, STARTING, STOPPING, locked
from tasks.errors import StoreUnavailable
from tasks.settings import Settings
from tests.unit.cli.test_found import package

READERS = [
    ["models"], ["deployments"], ["keys", "list"], ["webhooks", "list"], ["webhook-secret", "list"],
    ["promote", "m", "d"], ["rollback", "m"], ["activate", "d"], ["deactivate", "d"], ["pause", "m"],
    ["resume", "m"], ["logs", "m"], ["keys", "create"], ["keys", "revoke", "k"], ["webhooks", "resend", "r"],
    ["webhook-secret", "create"], ["webhook-secret", "rotate"],
]  # fmt: skip
Say = Callable[..., str]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable that says where a stack is."""
    for name in ("KINGPOST_REDIS_URL", "KINGPOST_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def refusal(*arguments: str) -> str:
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, NoStack | StoreUnavailable), error
    return str(error)


@pytest.mark.parametrize("command", [*READERS, ["push", "m"], ["watch", "m"]], ids=" ".join)
def test_without_a_stack_it_is_one_sentence_and_nothing_is_left_behind(
    command: list[str], elsewhere: Path
) -> None:
    package(elsewhere / "m")
    said = refusal(*command)
    assert f"in {elsewhere / '.kingpost'}; start one with `kingpost up`, or name another" in said
    assert "--state" in said and "6379" not in said
    assert [path.name for path in elsewhere.iterdir()] == ["m"]


@pytest.fixture
def stack(settings: Settings) -> Path:
    """The state folder of an `up` that runs, as far as a command sees."""
    (settings.state_dir / "logs").mkdir(parents=True)
    (settings.state_dir / "up.json").write_text(json.dumps({"redis_url": settings.redis_url}))
    return settings.state_dir


def test_the_option_stands_before_or_after_the_command(elsewhere: Path, stack: Path) -> None:
    for arguments in (["--state", str(stack), "models"], ["models", "--state", str(stack)]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0 and "No model is deployed yet" in done.stdout
    done = CliRunner().invoke(app, ["models"], env={"KINGPOST_STATE_DIR": str(stack)})
    assert "No model is deployed yet" in done.stdout
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("command", [*READERS, ["push", "m"], ["watch", "m"]], ids=" ".join)
def test_every_command_has_it(command: list[str]) -> None:
    names = command[:2] if command[0] in ("keys", "webhooks", "webhook-secret") else command[:1]
    assert "--state" in CliRunner().invoke(app, [*names, "--help"]).stdout


def test_a_folder_whose_stack_has_stopped_says_so(elsewhere: Path, tmp_path: Path) -> None:
    state = tmp_path / "stopped"
    (state / "valkey").mkdir(parents=True)
    (state / "valkey" / "port").write_text(str(free_port()))
    (state / "valkey" / "password").write_text("secret")
    assert f"No stack runs in {state}" in refusal("models", "--state", str(state))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (STARTING, "is starting; try again"),
        (RUNNING, "does not answer, although `kingpost up` runs"),
        (STOPPING, "is stopping; start it again when it has ended"),
        ("", "is held by `kingpost repair`"),
    ],
)
@pytest.mark.parametrize("embedded", [True, False])
def test_a_stack_whose_store_is_silent_says_what_it_does(
    elsewhere: Path, tmp_path: Path, word: str, said: str, embedded: bool
) -> None:
    state = tmp_path / "silent"
    if embedded:
        (state / "valkey").mkdir(parents=True)
        (state / "valkey" / "port").write_text(str(free_port()))
        (state / "valkey" / "password").write_text("secret")
    with locked(state) as note:
        note(word)
        told = refusal("models", "--state", str(state))
    assert f"{state} {said}" in told and "kingpost up`, or name" not in told
    assert "start one with `kingpost up`" in refusal("models", "--state", str(state))


def test_nothing_is_stored_for_a_store_that_is_not_there_or_where_no_node_looks(
    elsewhere: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(elsewhere / "m")
    monkeypatch.setenv("KINGPOST_REDIS_URL", settings.redis_url)
    assert "would find the package; name one with --state" in refusal("push", "m")
    monkeypatch.setenv("KINGPOST_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("KINGPOST_STORE_TIMEOUT_SECONDS", "0.2")
    refusal("push", "m", "--state", str(elsewhere / "state"))
    assert [path.name for path in elsewhere.iterdir()] == ["m"]


def test_a_push_from_another_folder_reaches_the_stack(elsewhere: Path, stack: Path) -> None:
    package(elsewhere / "m")
    done = CliRunner().invoke(app, ["push", "m", "--state", str(stack)])
    assert done.exit_code == 0 and "points at it" in done.stdout, done
    assert list((stack / "payloads" / "packages").glob("*/*.tar"))
    assert [path.name for path in elsewhere.iterdir()] == ["m"]
