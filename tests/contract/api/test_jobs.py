"""Requests by a filter, retries and purges over HTTP: a key's own, and everybody's for the scope admin."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit

FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "EXPIRED")
ECHO = "/models/echo/production/async_predict"
ONCE = {"max_attempts": 1}


@pytest.fixture(scope="module")
def alice(live: Live) -> Iterator[httpx.Client]:
    with live.client(live.new_key(name="alice", scope="inference")) as client:
        yield client


@pytest.fixture(scope="module")
def admin(live: Live) -> Iterator[httpx.Client]:
    with live.client(live.new_key(name="operator", scope="admin")) as client:
        yield client


def key_id(client: httpx.Client) -> str:
    return client.headers["authorization"].removeprefix("Api-Key kp_").partition(".")[0]


def final(client: httpx.Client, request_id: str) -> dict[str, Any]:
    said: dict[str, Any] = client.get(f"/async_request/{request_id}", params={"wait": 30}).json()
    assert said["status"] in FINAL, said
    return said


def listed(client: httpx.Client, **query: Any) -> list[str]:
    """The ids on all pages."""
    seen: list[str] = []
    cursor = None
    while True:
        params = query | ({"cursor": cursor} if cursor else {})
        answer = client.get("/v1/jobs", params=params)
        assert answer.status_code == 200, answer.text
        seen += [row["request_id"] for row in answer.json()["jobs"]]
        cursor = answer.json()["cursor"]
        if cursor is None:
            return seen


def operate(client: httpx.Client, action: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/jobs/{action}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["finished"]
    return answer.json()


@pytest.fixture
def held(live: Live, http: httpx.Client) -> Iterator[str]:
    """The id of the echo model's deployment, whose queue is paused meanwhile."""
    from tasks.store import verbs
    from tasks.store.job_store import JobStore

    deployment, store = live.deployment("echo").id, JobStore(live.settings)
    store.run(verbs.pause(deployment, True))
    yield deployment
    operate(http, "cancel", deployment=deployment)
    store.run(verbs.pause(deployment, False))
    store.close()


def test_a_list_holds_what_matches_in_stable_pages(live: Live) -> None:
    with live.client(live.new_key(scope="inference")) as client:
        ids = [submit(client, n, ECHO) for n in range(5)]
        failed = [
            submit(client, {"fail": "boom"}, ECHO, inference_retry_config=ONCE) for _ in range(2)
        ]
        for request_id in ids + failed:
            final(client, request_id)
        page = client.get("/v1/jobs", params={"limit": 3}).json()
        submit(client, "later", ECHO)
        rest = client.get("/v1/jobs", params={"limit": 100, "cursor": page["cursor"]}).json()
        rows = page["jobs"] + rest["jobs"]
        assert [row["request_id"] for row in rows] == [*failed[::-1], *ids[::-1]]
        assert rest["cursor"] is None
        assert listed(client, status="FAILED", limit=1) == failed[::-1]
        assert listed(client, error_code="MODEL_PREDICT_ERROR") == failed[::-1]
        assert listed(client, error_text="internal SERVER error") == failed[::-1]
        assert listed(client, error_text="boom") == []  # only a full key reads that
        assert listed(client, model="talker") == listed(client, priority=2) == []
        assert len(listed(client, model="echo", environment="production")) == 8
        counts = client.get("/v1/jobs/counts", params={"model": "echo"}).json()
        assert counts["cursor"] is None
        assert counts["counts"]["FAILED"] == 2
        cut = rows[2]["created_at"]
        assert set(listed(client, created_before=cut)).isdisjoint(failed)
        assert set(failed) <= set(listed(client, created_after=rows[1]["created_at"]))


def test_queued_requests_are_listed_as_they_will_run(
    live: Live, held: str, admin: httpx.Client
) -> None:
    with live.client(live.new_key(scope="inference")) as client:
        low, first, second = (submit(client, n, ECHO, priority=n and 1) for n in (1, 0, 0))
        moved = [second, first, low]
        assert client.patch(f"/async_request/{first}", json={"priority": 1}).status_code == 200
        assert client.patch(f"/async_request/{low}", json={"priority": 2}).status_code == 200
        assert listed(client, order="next", limit=1) == moved
        assert listed(client, order="next", status="QUEUED", model="echo") == moved
        assert listed(client, order="newest") == [second, first, low]
        positions = [
            client.get(f"/async_request/{each}").json()["queue_position"] for each in moved
        ]
        assert positions == sorted(positions)
        everyone = listed(admin, order="next", deployment=held)
        assert [each for each in everyone if each in moved] == moved
        page = client.get("/v1/jobs", params={"order": "next", "limit": 1}).json()
        other = client.get("/v1/jobs", params={"cursor": page["cursor"]})
        assert other.status_code == 400 and "cursor" in other.json()["error"]


@pytest.mark.parametrize(
    "query",
    ["stauts=FAILED", "order=oldest", "order=next&status=FAILED", "model=nobody", "cursor=3", "limit=0", "created_after=yesterday", "created_after=2026-01-01T00:00:00", "error_text=", "status=DONE"],
)  # fmt: skip
def test_a_wrong_query_is_refused(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/v1/jobs?{query}")
    unknown = query == "model=nobody"
    expected = (404, "model_does_not_exist") if unknown else (400, "client_error")
    assert (answer.status_code, answer.json()["error_code"]) == expected
    name, _, value = query.partition("&")[0].partition("=")
    assert (value if unknown else name) in answer.json()["error"]


def test_a_wrong_query_is_a_plain_sentence(http: httpx.Client) -> None:
    def said(query: str) -> str:
        return http.get(f"/v1/jobs?{query}").json()["error"]

    assert re.fullmatch(r"status: must be QUEUED, [\w, ]+, not 'RUNNING'", said("status=RUNNING"))
    queued = "order=next is for queued requests: leave out `status`, or say QUEUED"
    assert said("order=next&status=FAILED") == queued
    batch = {"input_file_id": "file-nope", "endpoint": "/v1/embeddings", "completion_window": "1h"}
    error = http.post("/v1/batches", json=batch).json()["error"]["message"]
    assert error.startswith("input_file_id: 'file-nope' is not the id of a file")


def test_a_model_without_the_method_is_said_to_have_none(http: httpx.Client) -> None:
    error = http.post("/v1/chat/completions", json={"model": "echo", "messages": []}).json()[
        "error"
    ]
    assert (
        error["message"]
        == "This model has no method `chat_completions`, so it does not answer here."
    )


@pytest.mark.parametrize("wanted", [{"stauts": "FAILED"}, {"model": "nobody"}])
def test_lists_counts_and_operations_refuse_in_the_same_words(
    http: httpx.Client, wanted: dict[str, str]
) -> None:
    answers = [http.get(f"/v1/jobs{path}", params=wanted) for path in ("", "/counts")]
    answers.append(http.post("/v1/jobs/cancel", json=wanted))
    (said,) = {(answer.status_code, answer.text) for answer in answers}
    assert "Did you mean status?" in said[1] or "There is no model 'nobody'" in said[1]


def test_an_admin_reads_and_steers_what_others_cannot_see(
    live: Live, alice: httpx.Client, admin: httpx.Client, http: httpx.Client, held: str
) -> None:
    mine = submit(alice, "mine", ECHO, webhook_endpoint="https://example.com/hook")
    key = key_id(alice)
    assert mine in listed(admin, key=key, status="QUEUED")
    assert mine in listed(admin, deployment=held)
    (row,) = (row for row in admin.get("/v1/jobs").json()["jobs"] if row["request_id"] == mine)
    assert row["key"] == key
    stranger = http.get("/v1/jobs", params={"key": key})
    assert (stranger.status_code, stranger.json()["error_code"]) == (403, "unauthorized")
    assert mine not in listed(http)
    path = f"/async_request/{mine}"
    for client, allowed in ((http, False), (admin, True)):
        found = {
            "status": client.get(path).status_code,
            "result": client.get(path + "/result").status_code,
            "priority": client.patch(path, json={"priority": 0}).status_code,
            "retry": client.post(path + "/retry").status_code,
            "redeliver": client.post(path + "/webhook/redeliver").status_code,
            "cancel": client.delete(path).status_code,
        }
        expected = dict.fromkeys(found, 404)
        if allowed:
            expected = {"status": 200, "result": 409, "priority": 200, "retry": 409}
            expected |= {"redeliver": 409, "cancel": 200}
        assert found == expected
    with admin.stream("GET", path + "/events") as events:
        assert "CANCELED" in "".join(events.iter_text())
    assert http.post(path + "/purge").status_code == 404
    assert alice.get(path).json()["priority"] == 0
    assert alice.get(path).json()["status"] == "CANCELED"


def test_what_an_operator_does_to_a_request_is_in_the_audit_log_and_what_its_owner_does_not(
    alice: httpx.Client, admin: httpx.Client, held: str
) -> None:
    mine = submit(alice, 1, ECHO)
    alice.patch(f"/async_request/{mine}", json={"priority": 2})
    operate(admin, "move", to_priority=1, key=key_id(alice), operation="log1")
    admin.delete(f"/async_request/{mine}")
    query = {"actor": key_id(admin), "action": "request"}
    entries = admin.get("/v1/audit", params=query).json()["entries"]
    assert [(entry["action"], entry["target"]) for entry in entries[:1]] == [
        ("request.cancel", mine)
    ]
    query["action"] = "requests"
    (entry, *_) = admin.get("/v1/audit", params=query).json()["entries"]
    assert entry["action"] == "requests.move"
    assert key_id(alice) in entry["target"] and "log1" in entry["target"]
    query = {"actor": key_id(alice)}
    assert admin.get("/v1/audit", params=query).json()["entries"] == []


def test_an_admin_is_limited_by_its_own_rate(live: Live, alice: httpx.Client) -> None:
    from tasks.api_keys import Limits

    mine = submit(alice, 1, ECHO)
    key = live.new_key(scope="admin", limits=Limits(status_calls_per_minute=2))
    with live.client(key) as limited:
        statuses = [limited.get(f"/async_request/{mine}").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert alice.get(f"/async_request/{mine}").status_code == 200


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_retry_runs_the_same_input_for_the_same_key(
    alice: httpx.Client, admin: httpx.Client, size: int
) -> None:
    more = {"priority": 2, "max_time_in_queue_seconds": 1234}
    old = submit(alice, {"text": "x" * size}, ECHO, **more)
    final(alice, old)
    answer = admin.post(f"/async_request/{old}/retry")
    assert (answer.status_code, answer.json()["retry_of"]) == (201, old)
    new = answer.json()["request_id"]
    said = final(alice, new)
    assert (said["status"], said["priority"], said["retry_of"]) == ("SUCCEEDED", 2, old)
    assert alice.get(f"/async_request/{old}").json()["retried_as"] == new
    results = [alice.get(f"/async_request/{request_id}/result").json() for request_id in (old, new)]
    assert results[0] == results[1]


def test_a_retry_can_be_repeated_under_its_key(alice: httpx.Client) -> None:
    first, second = (submit(alice, n, ECHO) for n in range(2))
    for request_id in (first, second):
        final(alice, request_id)
    headers = {"Idempotency-Key": "again"}
    answers = [alice.post(f"/async_request/{first}/retry", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert alice.post(f"/async_request/{second}/retry", headers=headers).status_code == 409


def test_a_retry_of_what_is_gone_is_410_and_of_what_runs_409(
    live: Live, alice: httpx.Client, held: str
) -> None:
    import redis

    from tasks.store import keys

    queued = submit(alice, 1, ECHO)
    assert alice.post(f"/async_request/{queued}/retry").status_code == 409
    alice.delete(f"/async_request/{queued}")
    with redis.Redis.from_url(live.settings.redis_url) as client:
        client.hdel(keys.keyed("job", queued), "input")
    gone = alice.post(f"/async_request/{queued}/retry")
    assert (gone.status_code, gone.json()["error_code"]) == (410, "application_error")
    assert "input" in gone.json()["error"]


def test_a_purged_request_leaves_nothing(live: Live, alice: httpx.Client) -> None:
    import redis

    request_id = submit(alice, {"text": "x" * 100_000}, ECHO)
    final(alice, request_id)
    with redis.Redis.from_url(live.settings.redis_url) as client:
        assert any(request_id.encode() in key for key in client.scan_iter())
        answer = alice.post(f"/async_request/{request_id}/purge")
        assert answer.json() == {"request_id": request_id, "purged": True}
        assert not any(request_id.encode() in key for key in client.scan_iter())
    assert alice.get(f"/async_request/{request_id}").status_code == 404
    assert request_id not in listed(alice)
    files = live.folder / "payloads"
    wait_until(lambda: not any(request_id in path.name for path in files.rglob("*")))


def test_bulk_operations_do_what_a_dry_run_counts(
    live: Live, admin: httpx.Client, held: str
) -> None:
    keys = [live.new_key(scope="inference") for _ in range(2)]
    with live.client(keys[0]) as client, live.client(keys[1]) as other:
        ids = [submit(client, n, ECHO, priority=1) for n in range(70)]
        theirs = submit(other, 1, ECHO, priority=1)
        wanted = {"priority": 1, "deployment": held, "key": key_id(client)}
        dry = operate(admin, "cancel", dry_run=True, **wanted)
        assert (dry["matched"], dry["done"]) == (70, 0)
        moved = operate(admin, "move", to_priority=2, **wanted)
        assert (moved["matched"], moved["done"]) == (70, 70)
        assert len(listed(client, priority=2)) == 70
        cancelled = operate(admin, "cancel", operation="c1", **(wanted | {"priority": 2}))
        assert (cancelled["matched"], cancelled["done"]) == (70, 70)
        again = operate(admin, "cancel", operation="c1", **(wanted | {"priority": 2}))
        assert again == cancelled
        conflict = admin.post("/v1/jobs/cancel", json={"operation": "c1", **wanted})
        assert conflict.status_code == 409
        retried = operate(client, "retry", status="CANCELED", operation="r1")
        assert (retried["matched"], retried["done"], retried["failed"]) == (70, 70, 0)
        assert operate(client, "retry", status="CANCELED", operation="r1") == retried
        queued = listed(client, status="QUEUED")
        assert len(queued) == 70
        status = client.get(f"/async_request/{queued[0]}").json()
        assert status["retry_of"] in ids
        assert listed(other, status="QUEUED") == [theirs]
        assert operate(client, "move", priority=0, to_priority=1)["matched"] == 0
        purged = operate(client, "purge", all=True)
        assert (purged["matched"], purged["done"]) == (140, 140)
        assert listed(client) == []
        assert listed(other) == [theirs]


@pytest.mark.parametrize(
    ("action", "body", "status", "word"),
    [
        ("cancel", {}, 400, "all"),
        ("cancel", {"all": False, "status": []}, 400, "all"),
        ("cancel", {"model": "echo", "status": "FAILED"}, 409, "QUEUED"),
        ("cancel", {"modle": "echo"}, 400, "modle"),
        ("cancel", {"created_after": 1764412345}, 400, "created_after"),
        ("move", {"model": "echo"}, 400, "to_priority"),
        ("move", {"model": "echo", "to_priority": 7}, 400, "to_priority"),
        ("retry", {"model": "echo", "operation": "a b"}, 400, "operation"),
    ],
)
def test_a_wrong_bulk_operation_is_refused(
    http: httpx.Client, action: str, body: dict[str, Any], status: int, word: str
) -> None:
    answer = http.post(f"/v1/jobs/{action}", content=json.dumps(body))
    assert (answer.status_code, answer.json()["error_code"]) == (status, "client_error")
    assert word in answer.json()["error"]
