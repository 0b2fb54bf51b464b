"""API keys over REST: an admin makes, lists and revokes them, and never sees a hash."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tasks.api_keys import key_id, sha256
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
        "'full', 'inference', 'metrics', 'deploy' or 'admin'": {"scope": "root"},
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
