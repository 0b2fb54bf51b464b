"""A command that changes something makes an entry in the audit log, as a route of the API does."""

import os
import pwd
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from cli.lazily import OF_A_STACK
from cli.main import app
from deployments.registry import verbs as registry
from tasks.access.audit import COMMAND_LINE, read_audit
from tasks.errors import KingpostError
from tasks.settings import Settings
from tasks.store.job_store import JobStore

Run = Callable[..., str]
# Commands that use the store itself, some only when no server is chosen. `push` and `watch` are tried in tests/contract/deployments, the others here.
CHANGING = {
    "push", "watch", "promote", "rollback", "activate", "deactivate", "pause", "resume", "keys", "webhook-secret", "webhooks",
}  # fmt: skip
READING = {"logs"}
OF_THIS_MACHINE = {"repair", "virtualenvs"}  # they change files, and no store runs or is asked


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("KINGPOST_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("KINGPOST_STATE_DIR", str(settings.state_dir))

    def kingpost(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments)
        if done.exception and not isinstance(done.exception, KingpostError | SystemExit):
            raise done.exception
        return done.stdout

    return kingpost


def test_every_command_that_uses_the_store_is_known_to_change_it_or_not() -> None:
    assert set(OF_A_STACK) <= CHANGING | READING | OF_THIS_MACHINE


def entries(store: JobStore) -> list[tuple[str, str, str]]:
    page = store.run(read_audit(100))
    user = pwd.getpwuid(os.getuid()).pw_name
    assert {(entry.actor, entry.name) for entry in page.entries} <= {(COMMAND_LINE, user)}
    return [(entry.action, entry.target, entry.result) for entry in reversed(page.entries)]


def test_commands_on_deployments_make_entries(store: JobStore, run: Run) -> None:
    old, new = (store.run(registry.push("m", content, 1)) for content in ("hash1", "hash2"))
    run("promote", "m", new.id)
    run("rollback", "m")
    run("deactivate", new.id)
    run("activate", new.id)
    run("pause", "m")
    run("resume", "m")
    run("pause", "nobody")
    assert entries(store) == [
        ("deployment.promote", f"m/{new.id} to production", "done"),
        ("deployment.rollback", f"m/{old.id} to production", "done"),
        ("deployment.deactivate", f"m/{new.id}", "done"),
        ("deployment.activate", f"m/{new.id}", "done"),
        ("model.pause", "m", "done"),
        ("model.resume", "m", "done"),
        ("model.pause", "nobody", "There is no model 'nobody' (deployed: m)."),
    ]


def test_commands_on_keys_and_secrets_make_entries_without_secrets(
    store: JobStore, run: Run
) -> None:
    plain = run("keys", "create", "--scope", "admin", "--name", "ops").splitlines()[0]
    identity, _, secret = plain.removeprefix("kp_").partition(".")
    run("keys", "revoke", identity)
    run("keys", "revoke", "nobody")
    run("keys", "create", "--scope", "deploy", "--model", "m")
    signing = [run("webhook-secret", word).strip() for word in ("create", "rotate")]
    missing = "0" * 32
    run("webhooks", "resend", missing)
    made = entries(store)
    refused = "A key with the scope deploy may manage every model"
    assert made[3][0] == "key.create" and made[3][2].startswith(refused)
    assert made[:3] + made[4:] == [
        ("key.create", f"{identity} admin ops", "done"),
        ("key.revoke", identity, "done"),
        ("key.revoke", "nobody", "There is no API key with the id nobody."),
        ("webhook_secret.rotate", "", "done"),
        ("webhook_secret.rotate", "", "done"),
        ("webhook.redeliver", missing, f"The request {missing} does not exist."),
    ]
    told = str(made)
    assert not [hidden for hidden in (secret, *signing) if hidden in told]


def test_what_only_reads_makes_no_entry(store: JobStore, run: Run) -> None:
    for words in (["keys", "list"], ["models"], ["webhooks", "list"], ["webhook-secret", "list"]):
        run(*words)
    assert entries(store) == []


@pytest.mark.parametrize("option", ["--expires-in-days=1e9", "--expires-in-days=0", "--scope=all"])
def test_a_key_that_cannot_be_is_refused_and_the_list_of_keys_can_still_be_read(
    store: JobStore, run: Run, option: str
) -> None:
    run("keys", "create", option)
    assert run("keys", "list", "--json").strip() == "[]"
    ((action, _, result),) = entries(store)
    assert action == "key.create" and ("at most 36,500 days" in result or "--scope must" in result)
