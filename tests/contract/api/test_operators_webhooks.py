"""Webhooks over REST: an admin makes the secrets that sign them, and sends again what was given up."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tasks.api_keys import key_id
from tasks.job import Outcome, RequestId, Submission
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.webhooks.secrets import signing
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit

ECHO = "/models/echo/production/async_predict"


@pytest.fixture(scope="module")
def key(live: Live) -> str:
    return live.new_key(scope="admin")


@pytest.fixture(scope="module")
def admin(live: Live, key: str) -> Iterator[httpx.Client]:
    with live.client(key) as client:
        yield client


def test_secrets_are_rotated_and_listed_without_their_middle(
    live: Live, admin: httpx.Client
) -> None:
    first, second = (admin.post("/v1/webhook_secrets") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    plain = [answer.json()["secret"] for answer in (second, first)]
    known = JobStore(live.settings).run(signing())
    assert [secret.secret for secret in known[:2]] == plain
    answer = admin.get("/v1/webhook_secrets")
    newest, older = answer.json()["webhook_secrets"][:2]
    assert newest["secret"] == f"{plain[0][:10]}...{plain[0][-4:]}"
    assert (newest["signs_until"], bool(older["signs_until"])) == (None, True)
    assert not [secret for secret in plain if secret in answer.text + admin.get("/v1/audit").text]


def finished(store: JobStore, hook: str = "https://127.0.0.1/hook") -> RequestId:
    """A request with a webhook. This address is private, so it is given up at once."""
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(request_id, "nowhere", "model001", b"{}", webhook=hook)
    store.run(verbs.submit([job], "k", 10**6))
    claim = store.run(verbs.claim("nowhere", "r:0", uuid.uuid4().hex[:16], "r"))
    assert claim is not None
    store.run(verbs.finish(claim.lease, Outcome(Status.SUCCEEDED, 1.0, b"1", "application/json")))
    return request_id


def on_their_way(admin: httpx.Client, limit: int = 1000) -> list[dict[str, Any]]:
    return admin.get("/v1/webhooks", params={"limit": limit}).json()["on_their_way"]


def test_a_webhook_that_is_tried_again_says_why_and_when(
    live: Live, admin: httpx.Client, key: str
) -> None:
    hook = "https://nowhere.invalid/hook"
    request_id = finished(JobStore(live.settings), hook)
    path = f"/async_request/{request_id}/webhook"
    wait_until(lambda: admin.get(path).json()["attempts"], 20, "it was never tried")
    said = admin.get(path).json()
    assert (said["url"], said["webhook_status"]) == (hook, "PENDING")
    assert "nowhere.invalid" in said["attempts"][0]["error"] and said["next_attempt_at"]
    admin.post("/ui/login", data={"key": key}, headers={"origin": live.url})
    page = admin.get(f"/ui/jobs/{request_id}").text
    assert "attempt 1: " in page and "The next attempt is due" in page
    (listed,) = [row for row in on_their_way(admin) if row["request_id"] == request_id]
    assert listed["url"] == hook and listed["attempts"][:1] == said["attempts"][:1]
    assert "next_attempt_at" in listed  # null while an attempt runs
    assert "no connection: its name is not known here" in admin.get("/ui/webhooks").text
    assert len(on_their_way(admin, limit=0)) == 0
    assert admin.get("/async_request/nobody/webhook").status_code == 404
    with live.client() as other:
        assert other.get(path).status_code == 404  # another key's
        assert other.get(f"/async_request/{submit(other, 1, ECHO)}/webhook").status_code == 409


def test_what_was_given_up_is_listed_and_sent_again(live: Live, admin: httpx.Client) -> None:
    request_id = finished(JobStore(live.settings))

    def given_up() -> dict[str, Any] | None:
        latest = admin.get("/v1/webhooks").json()["latest"]
        return next((hook for hook in latest if hook["request_id"] == request_id), None)

    wait_until(lambda: given_up() is not None)
    first = given_up()
    assert first and first["url"] == "https://127.0.0.1/hook"
    assert "refused" in first["attempts"][0]["error"]
    answer = admin.post("/v1/webhooks/redrive", json={"request_ids": [request_id, "nobody"]})
    assert answer.json() == {"results": {request_id: "queued", "nobody": "missing"}}
    entry = admin.get("/v1/audit", params={"action": "webhook", "limit": 1}).json()["entries"][0]
    assert entry["target"] == f"1 of 2 requests: {request_id}, nobody"

    def again() -> bool:
        found = given_up()
        return bool(found and found["given_up_at"] > first["given_up_at"])

    wait_until(again)
    assert admin.get("/v1/webhooks?limit=0").json()["latest"] == []
    for body in ({}, {"request_ids": []}, {"request_ids": [1]}, {"ids": ["a"]}):
        assert admin.post("/v1/webhooks/redrive", json=body).status_code == 400


def test_all_that_were_given_up_are_sent_again_in_one_operation(
    live: Live, admin: httpx.Client, key: str
) -> None:
    """The stack is shared, so others may be given up, too."""
    store, path = JobStore(live.settings), "/v1/webhooks/redrive_all"
    query = {"action": "webhook.redeliver_all", "actor": key_id(key)}
    ids = {finished(store) for _ in range(3)}

    def given_up() -> dict[str, str]:
        latest = admin.get("/v1/webhooks?limit=1000").json()["latest"]
        return {row["request_id"]: row["given_up_at"] for row in latest if row["request_id"] in ids}

    wait_until(lambda: set(given_up()) == ids)
    first = given_up()
    count = admin.post(path, json={"dry_run": True}).json()
    assert count["finished"] and (count["matched"] >= 3, count["done"]) == (True, 0)
    assert given_up() == first
    assert admin.get("/v1/audit", params=query).json()["entries"] == []
    said = admin.post(path, json={"operation": "again"}).json()
    assert (said["operation"], said["finished"], said["failed"]) == ("again", True, 0)
    assert said["matched"] == said["done"] >= 3
    (entry,) = admin.get("/v1/audit", params=query).json()["entries"]
    assert entry["target"] == f"operation=again: {said['done']} sent again"
    wait_until(lambda: set(given_up()) == ids and not first.items() & given_up().items())
    second = given_up()
    assert admin.post(path, json={"operation": "again"}).json() == said  # all of it is done
    assert given_up() == second
    admin.post("/v1/jobs/cancel", json={"operation": "cancels", "key": "nobody", "dry_run": True})
    assert admin.post(path, json={"operation": "cancels"}).status_code == 409
    for wrong in ({"dry_run": 1}, {"operation": "no/name"}, {"all": True}, []):
        assert admin.post(path, json=wrong).status_code == 400
