"""API keys over REST: an admin makes, lists, limits and revokes them, and never sees a hash."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import redis

from tasks.api_keys import key_id, sha256
from tasks.files.transfers import open_transfer
from tasks.files.transfers import transfer as find_transfer
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit


@pytest.fixture(scope="module")
def admin(live: Live) -> Iterator[httpx.Client]:
    with live.client(live.new_key(scope="admin")) as client:
        yield client


def made(admin: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = admin.post("/v1/keys", json=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def listed(admin: httpx.Client, identity: str) -> dict[str, Any]:
    (found,) = [key for key in admin.get("/v1/keys").json()["keys"] if key["id"] == identity]
    return found


def test_a_key_is_made_used_listed_and_revoked(live: Live, admin: httpx.Client) -> None:
    limits = {"submits_per_minute": 60, "max_running": 2}
    key = made(
        admin, scope="inference", name="CI", models=["echo"], expires_in_days=1, limits=limits
    )
    plain = key.pop("key")
    assert (key["id"], key["name"], key["scope"], key["state"]) == (
        key_id(plain),
        "CI",
        "inference",
        "valid",
    )
    left = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    with live.client(plain) as client:
        request_id = submit(client, {"delay": 60}, "/models/echo/production/async_predict")
        shown = listed(admin, key["id"])
        assert shown == key | {"unfinished_requests": 1, "kept_requests": 1}
        assert {k: v for k, v in shown["limits"].items() if v is not None} == limits
        assert client.post("/models/talker/production/predict", json={}).status_code == 403
        client.delete(f"/async_request/{request_id}")
        for _ in range(2):  # revoking again changes nothing
            answer = admin.delete(f"/v1/keys/{key['id']}")
            assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
        wait_until(lambda: client.get("/async_requests").status_code == 401)
    assert listed(admin, key["id"])["state"] == "revoked"


def test_limits_of_a_key_change_and_hold_for_what_already_waits(
    live: Live, admin: httpx.Client
) -> None:
    key = made(admin, scope="inference", models=["talker"], limits={"max_unfinished": 1})
    path, queue = f"/v1/keys/{key['id']}", "/models/talker/production/async_predict"

    def limited(**limits: int | None) -> dict[str, Any]:
        answer = admin.patch(path, json={"limits": limits})
        assert answer.status_code == 200, answer.text
        assert answer.json()["limits"] == listed(admin, key["id"])["limits"]
        return {name: n for name, n in answer.json()["limits"].items() if n is not None}

    with live.client(key["key"]) as client:

        def status(request_id: str) -> dict[str, Any]:
            return client.get(f"/async_request/{request_id}").json()

        running = submit(client, {"stream": ["x"], "gate": str(live.folder / "limited")}, queue)
        wait_until(lambda: status(running)["status"] == "IN_PROGRESS")
        assert client.post(queue, json={"model_input": {}}).status_code == 429
        assert limited(max_unfinished=5, max_running=1) == {"max_unfinished": 5, "max_running": 1}
        wait_until(lambda: client.post(queue, json={"model_input": {}}).status_code == 201)
        waiting = client.get("/async_requests").json()["requests"][0]["request_id"]
        wait_until(lambda: status(waiting)["waiting_for"] == "key_limit")
        assert limited(max_running=None) == {"max_unfinished": 5}
        assert client.get(f"/async_request/{waiting}?wait=20").json()["status"] == "SUCCEEDED"
        assert status(running)["status"] == "IN_PROGRESS"
        (live.folder / "limited.0").touch()
    assert limited() == {"max_unfinished": 5}
    assert listed(admin, key["id"])["models"] == ["talker"]  # nothing else has changed
    entries = admin.get("/v1/audit", params={"action": "key.limit"}).json()["entries"]
    targets = [entry["target"] for entry in entries if entry["target"].startswith(key["id"])]
    assert targets[1:] == [
        f"{key['id']} max_running=default",
        f"{key['id']} max_unfinished=5 max_running=1",
    ]


def test_everything_of_a_key_is_deleted(live: Live, admin: httpx.Client) -> None:
    plain = live.new_key(scope="inference")
    identity = key_id(plain)
    gate = {"stream": ["x"], "gate": str(live.folder / "everything")}
    with live.client(plain) as client, redis.Redis.from_url(live.settings.redis_url) as store:
        files = [_uploaded(client, size, b"x" * 9) for size in (9, 9, 99)]  # the last is cut
        talker, echo = (f"/models/{name}/production/async_predict" for name in ("talker", "echo"))
        ids = [submit(client, {"big": "x" * 100_000}, echo)]
        ids.append(submit(client, {"file": {"$ref": files[0]["ref"]}}, talker))
        hook = {"model_input": 1, "webhook_endpoint": "https://nowhere.invalid/hook"}
        ids.append(client.post(echo, json=hook).json()["request_id"])
        for request_id in ids:
            client.get(f"/async_request/{request_id}?wait=20")
        wait_until(lambda: client.get(f"/async_request/{ids[2]}/webhook").json()["attempts"])
        ids.append(submit(client, gate, talker))
        wait_until(lambda: client.get(f"/async_request/{ids[3]}").json()["status"] == "IN_PROGRESS")
        admin.patch(f"/v1/keys/{identity}", json={"limits": {"max_running": 1}})
        wait_until(lambda: submit(client, {}, talker) and _held(client))
        assert admin.post("/v1/jobs/purge", json={"key": identity}).json()["finished"]
        rest = client.get("/async_requests").json()["requests"]
        assert [row["request_id"] for row in rest] in ([], ids[3:4])  # until its call has ended
        (live.folder / "everything.0").touch()
        wait_until(lambda: listed(admin, identity)["kept_requests"] == 0, 60)
        gone = admin.delete(f"/v1/keys/{identity}/files")
        assert (gone.status_code, gone.json()) == (200, {"deleted": 3, "cursor": None}), gone.text
        for file in files:
            assert client.get(f"/v1/uploads/{file['id']}").status_code == 404
        ids += [file["id"] for file in files]

        def left() -> set[bytes]:
            """Keys of the store that name the API key, a request or a file."""
            named = {key for key in store.scan_iter() for each in ids if each.encode() in key}
            return named | {key for key in store.scan_iter() if identity.encode() in key}

        wait_until(lambda: not left(), 20, "something is left")
    payloads = live.folder / "payloads"
    wait_until(lambda: not [p for p in payloads.rglob("*") for each in ids if each in str(p)])
    entry = admin.get("/v1/audit", params={"action": "key.delete_files"}).json()["entries"][0]
    assert entry["target"] == f"{identity} 3 files"
    assert admin.delete("/v1/keys/nobody/files").status_code == 404
    assert admin.delete(f"/v1/keys/{identity}/files?cursor=x").status_code == 400


def test_unfinished_uploads_of_packages_go_with_the_files_of_a_key(
    live: Live, admin: httpx.Client
) -> None:
    plain, others = (live.new_key(scope="deploy") for _ in range(2))
    asked = {"content_hash": "a" * 64, "size": 999}
    with live.client(plain) as client, live.client(others) as other:
        upload, kept = (
            each.post("/v1/packages", json=asked).json()["upload"]["id"] for each in (client, other)
        )
        path, headers = f"/v1/packages/uploads/{upload}", {"Upload-Offset": "0"}
        assert client.patch(path, content=b"x" * 9, headers=headers).is_success
        store = JobStore(live.settings)
        store.run(open_transfer("t" * 32, key_id(plain), "s", "package", live.settings))
        gone = admin.delete(f"/v1/keys/{key_id(plain)}/files").json()
        assert gone == {"deleted": 2, "cursor": None}
        assert client.head(path).status_code == 404
        assert other.head(f"/v1/packages/uploads/{kept}").status_code == 200
        assert store.run(find_transfer("t" * 32)).ended
        other.delete(f"/v1/packages/uploads/{kept}")
    pieces = [path for path in (live.folder / "payloads").rglob("*") if upload in str(path)]
    assert not [path for path in pieces if path.is_file()]


def _held(client: httpx.Client) -> bool:
    rows = client.get("/v1/jobs", params={"status": "QUEUED"}).json()["jobs"]
    return any(
        client.get(f"/async_request/{row['request_id']}").json()["waiting_for"] == "key_limit"
        for row in rows
    )


def _uploaded(client: httpx.Client, size: int, content: bytes) -> dict[str, Any]:
    file = client.post("/v1/uploads", json={"size": size}).json()
    headers = {"Upload-Offset": "0", "content-type": "application/octet-stream"}
    answer = client.patch(f"/v1/uploads/{file['id']}", content=content, headers=headers)
    assert answer.is_success, answer.text
    return answer.json()


def test_a_change_of_limits_that_cannot_be_is_refused_with_a_sentence(admin: httpx.Client) -> None:
    identity = made(admin, scope="inference", limits={"max_running": 3})["id"]
    refused = {
        "limits": {},
        "Did you mean limits?": {"limit": {}},
        "there is no such field. Did you mean max_running?": {"limits": {"max_runing": 1}},
        "limits.max_running": {"limits": {"max_running": -1}},
        "whole number": {"limits": {"max_running": True}},
        "scope": {"limits": {}, "scope": "admin"},
    }
    for sentence, body in refused.items():
        answer = admin.patch(f"/v1/keys/{identity}", json=body)
        assert (answer.status_code, sentence in answer.json()["error"]) == (400, True), answer.text
    assert listed(admin, identity)["limits"]["max_running"] == 3
    missing = admin.patch("/v1/keys/nobody", json={"limits": {}})
    assert (missing.status_code, "no API key with the id nobody" in missing.text) == (404, True)
    admin.delete(f"/v1/keys/{identity}")
    revoked = admin.patch(f"/v1/keys/{identity}", json={"limits": {"max_running": 4}})
    assert (revoked.status_code, "is revoked for good" in revoked.json()["error"]) == (400, True)
    assert listed(admin, identity)["state"] == "revoked"


def test_no_answer_has_a_key_or_its_hash(live: Live, admin: httpx.Client) -> None:
    plain = made(admin, scope="inference")["key"]
    texts = [admin.get("/v1/keys").text, admin.get("/v1/audit").text]
    texts.append(admin.delete(f"/v1/keys/{key_id(plain)}").text)
    for text in texts:
        assert key_id(plain) in text
        assert plain.split(".")[1] not in text and sha256(plain) not in text


def test_what_is_no_key_is_refused_with_a_sentence(admin: httpx.Client) -> None:
    refused = {
        "scope": {},
        "must be full, inference, metrics, deploy or admin, not 'root'": {"scope": "root"},
        "there is no such field. Did you mean models?": {"scope": "full", "model": ["a"]},
        "A key with the scope deploy may manage every model": {"scope": "deploy", "models": ["a"]},
        "A key with the scope admin may manage every": {"scope": "admin", "environments": ["a"]},
        "expires_in_days": {"scope": "full", "expires_in_days": 0},
        "limits.max_running": {"scope": "full", "limits": {"max_running": -1}},
        "whole number": {"scope": "full", "limits": {"max_running": False}},
    }
    before = len(admin.get("/v1/keys").json()["keys"])
    for sentence, body in refused.items():
        answer = admin.post("/v1/keys", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "client_error")
        assert sentence in answer.json()["error"]
    missing = admin.delete("/v1/keys/nobody")
    assert missing.json()["error_code"] == "client_error"
    assert (missing.status_code, "no API key with the id nobody" in missing.text) == (404, True)
    assert len(admin.get("/v1/keys").json()["keys"]) == before


def test_an_expired_key_says_so(live: Live, admin: httpx.Client) -> None:
    identity = key_id(live.new_key(expires_in_seconds=0.001))
    assert listed(admin, identity)["state"] == "expired"
