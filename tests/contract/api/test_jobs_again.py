"""A request's input, a retry with another one, a move to another deployment, and a count that changes nothing."""

import httpx
import pytest
import redis

from deployments.registry import verbs as registry
from tasks.api_keys import key_id
from tasks.store import keys
from tasks.store.job_store import JobStore
from tests.contract.api.conftest import Live, submit
from tests.contract.api.test_jobs import ECHO, final, held, operate

__all__ = ["held"]  # the fixture


@pytest.mark.parametrize("size", [10, 100_000])
def test_an_input_is_read_by_its_owner_and_by_an_admin_whose_look_is_in_the_audit_log(
    live: Live, size: int
) -> None:
    plain = {scope: live.new_key(scope=scope) for scope in ("inference", "full", "admin")}
    alice, stranger, admin = (live.client(key) for key in plain.values())
    given = {"text": "x" * size}
    path = f"/v1/jobs/{submit(alice, given, ECHO)}/input"
    found = {name: client.get(path) for name, client in (("own", alice), ("admin", admin))}
    for answer in found.values():
        assert answer.json() == given
        assert answer.headers["content-type"] == "application/json"
    assert stranger.get(path).status_code == 404
    assert stranger.get(f"/v1/jobs/{'0' * 32}/input").json() == stranger.get(path).json()
    query = {"action": "request.read_input"}
    (entry, *_) = admin.get("/v1/audit", params=query).json()["entries"]
    assert (entry["actor"], entry["target"]) == (key_id(plain["admin"]), path.split("/")[3])
    for client in (alice, stranger, admin):
        client.close()


def test_an_input_that_is_not_kept_is_410(live: Live, http: httpx.Client, held: str) -> None:
    request_id = submit(http, 1, ECHO)
    with redis.Redis.from_url(live.settings.redis_url) as client:
        client.hdel(keys.keyed("job", request_id), "input")
    gone = http.get(f"/v1/jobs/{request_id}/input")
    assert (gone.status_code, gone.json()["error_code"]) == (410, "application_error")


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_retry_with_another_input_is_a_new_request_of_the_same_key(live: Live, size: int) -> None:
    with live.client(live.new_key(scope="inference")) as client:
        old = submit(client, {"text": "old"}, ECHO, priority=2)
        final(client, old)
        path, edit = f"/async_request/{old}/retry", {"model_input": {"text": "y" * size}}
        headers = {"Idempotency-Key": "edited"}
        new = client.post(path, json=edit, headers=headers).json()["request_id"]
        assert client.post(path, json=edit, headers=headers).json()["request_id"] == new
        other = client.post(path, json={"model_input": None}, headers=headers)
        assert other.status_code == 409
        said = final(client, new)
        assert (said["status"], said["priority"], said["retry_of"]) == ("SUCCEEDED", 2, old)
        assert client.get(f"/v1/jobs/{new}/input").json() == edit["model_input"]
        empty = client.post(path, json={"model_input": None}).json()["request_id"]
        assert client.get(f"/v1/jobs/{empty}/input").json() is None
        wrong = client.post(path, json={"modle_input": 1})
        assert wrong.status_code == 400 and "Did you mean model_input?" in wrong.text


def test_one_request_is_moved_to_another_deployment_of_its_model(
    live: Live, http: httpx.Client, held: str
) -> None:
    store, request_id = JobStore(live.settings), submit(http, 1, ECHO)
    echo, talker = live.deployment("echo"), live.deployment("talker")
    other = store.run(registry.push(echo.model_name, "0" * 64, echo.slots)).id
    path = f"/async_request/{request_id}"
    moved = http.patch(path, json={"deployment_id": other, "priority": 2})
    assert moved.status_code == 200, moved.text
    assert (moved.json()["deployment_id"], moved.json()["priority"]) == (other, 2)
    foreign = http.patch(path, json={"deployment_id": talker.id})
    assert (foreign.status_code, foreign.json()["error_code"]) == (409, "client_error")
    assert http.patch(path, json={"deployment_id": "nothing1"}).status_code == 410
    nothing = http.patch(path, json={})
    assert nothing.status_code == 400 and "deployment_id or both" in nothing.text
    http.delete(path)
    store.close()


def test_a_dry_run_makes_no_entry_in_the_audit_log(live: Live) -> None:
    plain = live.new_key(scope="admin")
    with live.client(plain) as admin:
        operate(admin, "cancel", dry_run=True, key="nobody01")
        query = {"actor": key_id(plain)}
        assert admin.get("/v1/audit", params=query).json()["entries"] == []
        operate(admin, "cancel", key="nobody01")
        assert len(admin.get("/v1/audit", params=query).json()["entries"]) == 1
