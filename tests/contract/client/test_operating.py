"""Keys, webhooks and models that are held back, from a laptop with a key of the scope `admin`."""

import json
from typing import Any

import httpx
import pytest

from kingpost import Client, Conflict, Forbidden, NotFound
from tests.contract.client.conftest import COUNTER, Shell, Stack

pytestmark = pytest.mark.stack


@pytest.fixture
def admin(stack: Stack, far: Shell) -> Shell:
    key = stack.shell.type("kingpost keys create --scope admin --name laptop").strip()
    far.type(f"kingpost login {stack.url} --key {key}")
    return far


WAITS = "its queue waits for: kingpost resume hello"


def _rows(shell: Shell, line: str, model: str, inside: str = "") -> list[dict[str, Any]]:
    """What a command says of a model, as JSON."""
    said = json.loads(shell.type(f"{line} --json"))
    return [row for row in (said[inside] if inside else said) if row["model"] == model]


def test_a_model_is_held_back_and_let_go(stack: Stack, logged_in: Shell) -> None:
    assert "hello is paused. Requests that wait: 0." in logged_in.type("kingpost pause hello")
    local = f"--state {stack.shell.folder / '.kingpost'}"
    for where in ("", local):
        (row,) = _rows(logged_in, f"kingpost models {where}", "hello")
        assert (row["state"], row["remark"]) == ("paused", WAITS)
    (row,) = _rows(logged_in, "kingpost status", "hello", "models")
    assert (row["status"], row["paused"]) == ("ACTIVE", True)
    assert "PAUSED" in (said := logged_in.type("kingpost status")) and WAITS in said
    with Client(stack.url, stack.key) as client:
        job = client.submit("hello", {"name": "Late"})
        assert job.status().waiting_for == "paused"
        shown = logged_in.type(f"kingpost jobs show {job.id[:8]}")
        assert "  resume: kingpost resume hello\n" in shown
        assert client.models.pause("hello") == 1
        assert logged_in.type("kingpost resume hello").startswith("hello runs again.")
        assert job.result() == {"text": "Hello, Late!"}
        with pytest.raises(NotFound):
            client.models.resume("nobody")
    assert "There is no model 'nobody'" in logged_in.refused("kingpost pause nobody")
    assert "hello runs again." in stack.shell.type("kingpost resume hello")


def test_keys_are_made_listed_and_revoked(stack: Stack, admin: Shell) -> None:
    made = admin.type(
        "kingpost keys create --name ci --scope inference --model hello --max-running 2"
    )
    plain = made.strip()
    listed = admin.type("kingpost keys list")
    assert listed == stack.shell.type("kingpost keys list")
    key_id = plain.removeprefix("kp_").partition(".")[0]
    (row,) = [line for line in listed.splitlines() if line.startswith(key_id)]
    assert "ci" in row and "inference" in row and "valid" in row
    assert "hello, max_running=2" in listed and plain not in listed
    rows = json.loads(admin.type("kingpost keys list --json"))
    assert [row["limits"]["max_running"] for row in rows if row["id"] == key_id] == [2]
    with Client(stack.url, plain) as client:
        assert client.run("hello", {"name": "Ci"}) == {"text": "Hello, Ci!"}
        job = client.submit("hello", {"name": "Ci"})
    as_ci = {"KINGPOST_URL": stack.url, "KINGPOST_API_KEY": plain}
    shown = admin.run(f"kingpost jobs show {job.id}", **as_ci).stdout
    assert "  model: hello (" in shown  # by name, though the key only runs models
    assert admin.type(f"kingpost keys revoke {key_id}") == f"The key {key_id} is revoked.\n"
    assert f"{key_id}  ci" in admin.type("kingpost keys list")
    refused = admin.refused("kingpost keys revoke nobody")
    assert refused == "There is no API key with the id nobody."
    assert "scope" in admin.refused("kingpost keys create --scope everything")
    audit = [entry["action"] for entry in _audit(stack, admin)]
    assert audit.count("key.revoke") == 2 and "key.create" in audit


def test_limits_of_a_key_are_changed(stack: Stack, admin: Shell) -> None:
    plain = admin.type("kingpost keys create --max-running 2 --max-unfinished 9").strip()
    key_id = plain.removeprefix("kp_").partition(".")[0]
    said = admin.type(f"kingpost keys limits {key_id} --max-running default --submits-per-minute 0")
    assert said == (
        f"The key {key_id} has these limits of its own: submits_per_minute=0, max_unfinished=9.\n"
    )
    local = f"--state {stack.shell.folder / '.kingpost'}"
    line = f"kingpost keys limits {key_id} --queue-status-calls-per-minute 7 --json {local}"
    said = json.loads(admin.type(line))
    (row,) = [
        row for row in json.loads(admin.type("kingpost keys list --json")) if row["id"] == key_id
    ]
    assert said == {"id": key_id, "limits": row["limits"]}
    assert row["limits"]["queue_status_calls_per_minute"] == 7
    for where in ("", local):
        refused = admin.refused(f"kingpost keys limits nobody --max-running 1 {where}")
        assert refused == "There is no API key with the id nobody."
    for wrong in ("", "--max-running -1", "--max-running many", f"--max-running {'9' * 5000}"):
        assert admin.run(f"kingpost keys limits {key_id} {wrong}").returncode == 2
    entries = json.loads(admin.type("kingpost audit --action key.limit --json"))
    assert [entry["target"] for entry in entries if entry["target"].startswith(key_id)] == [
        f"{key_id} queue_status_calls_per_minute=7",
        f"{key_id} submits_per_minute=0 max_running=default",
    ]
    with Client(stack.url, admin.type("kingpost key").strip()) as client:
        assert client.keys.limit(key_id, {"max_unfinished": None}).limits["max_unfinished"] is None


def test_everything_of_a_key_is_deleted_by_one_command(stack: Stack, admin: Shell) -> None:
    plain = admin.type("kingpost keys create --scope inference").strip()
    key_id = plain.removeprefix("kp_").partition(".")[0]
    file = admin.folder / "a.bin"
    file.write_bytes(b"x" * 100)
    with Client(stack.url, plain) as client:
        used, _ = client.upload(file), client.upload(file)
        job = client.submit("weigher", {"file": used})
        assert job.result() == {"bytes": 100}
        client.submit("hello", {"name": "Gone"}).result()
        refused = admin.refused(f"kingpost keys purge {key_id}")
        assert (
            refused == f"This would delete all requests and files of the key {key_id}; add --yes."
        )
        said = admin.type(f"kingpost keys purge {key_id} --yes")
        assert said.startswith("Deleted: requests 2, files 2. Its idempotency keys are remembered")
        assert not list(client.jobs.every())
        with pytest.raises(NotFound):
            job.status()
        said = json.loads(admin.type(f"kingpost keys purge {key_id} --yes --json"))
        assert said == {"id": key_id, "requests": 0, "files": 0, "kept_requests": 0}
    refused = admin.refused("kingpost keys purge nobody --yes")
    assert refused == "There is no API key with the id nobody."


def _audit(stack: Stack, admin: Shell) -> list[dict[str, str]]:
    headers = {"authorization": f"Api-Key {admin.type('kingpost key').strip()}"}
    return httpx.get(f"{stack.url}/v1/audit?limit=50", headers=headers).json()["entries"]


def test_models_and_deployments_are_deleted_and_the_audit_log_says_who_did(
    stack: Stack, admin: Shell
) -> None:
    folder = stack.package("passing", COUNTER)
    first = json.loads(admin.type(f"kingpost push {folder} --json"))["deployment_id"]
    (folder / "model" / "model.py").write_text(f"{COUNTER}\n# changed\n")
    second = json.loads(admin.type(f"kingpost push {folder} --json"))["deployment_id"]
    which = f"kingpost rm passing --deployment {second}"
    assert admin.refused(which) == (
        f"This would delete the deployment {second} of passing; add --yes."
    )
    said = admin.type(f"{which} --yes")
    assert said == f"The deployment {second} of passing is deleted.\n"
    refused = admin.refused(f"kingpost rm passing --deployment {first} -y")
    assert f"production points at {first}" in refused
    admin.type("kingpost pause passing")
    admin.type("kingpost predict passing -i upto=1 --async --detach")
    assert "has 1 request that wait" in admin.refused("kingpost rm passing --yes")
    said = json.loads(admin.type("kingpost rm passing --force --yes --json"))
    assert (said["model"], said["canceled_requests"]) == ("passing", 1)
    assert "There is no model 'passing'" in admin.refused("kingpost rm passing -y")
    entries = json.loads(admin.type("kingpost audit --action model.delete --since 1h --json"))
    assert {entry["result"][:4] for entry in entries} == {"done", "409:"}
    lines = admin.type("kingpost audit --export").splitlines()
    assert len(lines) > 5 and json.loads(lines[0])["action"] == "model.delete"
    shown = admin.type("kingpost audit --action model -n 5")
    assert "laptop" in shown and "refused: 4" in shown
    assert max(map(len, shown.splitlines()[:1])) <= 80
    assert "There are no such entries." in admin.type("kingpost audit --actor nobody")


def test_a_key_that_may_not_is_told_what_it_lacks(stack: Stack, far: Shell) -> None:
    far.type(f"kingpost login {stack.url}", given=stack.shell.type("kingpost keys create"))
    said = far.refused("kingpost keys list")
    assert said.startswith("This key has the scope full; this call needs admin. On the machine of")
    assert far.type(f"kingpost keys list --state {stack.shell.folder / '.kingpost'}")


def test_secrets_and_webhooks(stack: Stack, admin: Shell) -> None:
    first = admin.type("kingpost webhook-secret create").strip()
    assert first.startswith("whsec_")
    again = admin.refused("kingpost webhook-secret create")
    assert again.startswith("There is a secret already; `kingpost webhook-secret rotate`")
    assert again in stack.shell.refused("kingpost webhook-secret create")
    second = admin.type("kingpost webhook-secret rotate").strip()
    listed = admin.type("kingpost webhook-secret list")
    assert listed == stack.shell.type("kingpost webhook-secret list")
    assert [line[:10] for line in listed.splitlines()] == [second[:10], first[:10]]
    assert "signs until" in listed.splitlines()[1] and first not in listed
    assert admin.type("kingpost webhooks list") == stack.shell.type("kingpost webhooks list")
    assert json.loads(admin.type("kingpost webhooks list --json"))["latest"] == []
    job = json.loads(admin.type("kingpost jobs ls -n 1 --json"))[0]["request_id"]
    assert admin.refused(f"kingpost webhooks resend {job}").endswith("has no webhook.")
    assert admin.type("kingpost webhooks resend --all") == "No webhook was given up.\n"
    assert "or --all" in admin.refused("kingpost webhooks resend")
    for shell in (admin, stack.shell):  # by the API, and on the store of the machine
        assert shell.refused(f"kingpost webhooks resend {job[:8]}").endswith(
            f"{job} has no webhook."
        )
        assert "is not the id of a request" in shell.refused("kingpost webhooks resend nobody")


def test_the_client_has_the_same_calls(stack: Stack, admin: Shell) -> None:
    with Client(stack.url, admin.type("kingpost key").strip()) as client:
        made = client.keys.create("inference", name="py", limits={"max_running": 1})
        assert made.key.startswith("kp_") and made.limits["max_running"] == 1
        assert made.key not in repr(made)
        assert client.keys.revoke(made.id).state == "revoked"
        assert "py" in [key.name for key in client.keys.list()]
        assert client.webhooks.new_secret() and client.webhooks.secrets()
        with pytest.raises(Conflict):
            client.webhooks.new_secret(first=True)
        assert client.webhooks.list(5).given_up == 0
        with pytest.raises(NotFound):
            client.webhooks.resend("nobody")
    plain = admin.type("kingpost keys create").strip()
    with Client(stack.url, plain) as client, pytest.raises(Forbidden):
        client.keys.list()
