"""Who may do what: keys, scopes, strangers, and bodies that only want to hurt."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from tasks.api_keys import key_id
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.api.all_routes import MISSING, every_route
from tests.contract.api.conftest import KEY, Live, submit
from tests.contract.private_routes import ATTEMPTS, ask
from tests.processes import Process, variables
from workers.hosting.client import state
from workers.hosting.sockets import worker_address

ROUTES = [route for route in every_route() if route.method != "WEBSOCKET"]


@pytest.fixture(scope="module")
def keys(live: Live) -> dict[str, str | None]:
    revoked = live.new_key()
    ApiKeys(live.settings).revoke(key_id(revoked))
    return {
        "none": None,
        "bad": "kp_00000000.nonsense",
        "wrong secret": revoked.split(".")[0] + ".wrong",
        "revoked": revoked,
        "expired": live.new_key(expires_in_seconds=0.001),
    }


@pytest.mark.parametrize("which", ["none", "bad", "wrong secret", "revoked", "expired"])
def test_no_route_answers_without_a_valid_key(
    live: Live, keys: dict[str, str | None], which: str
) -> None:
    with live.client(keys[which]) as client:
        for route in ROUTES:
            answer = client.request(route.method, route.path)
            assert answer.status_code == 401, f"{route}: {answer.status_code}"
            if route.method != "HEAD":
                said = answer.json()[
                    "error"
                ]  # on the Model APIs an object, as their clients read it
                message = said if isinstance(said, str) else said["message"]
                assert message == "please check the api-key you provided"


def test_metrics_say_what_waits_and_what_runs(live: Live) -> None:
    with live.client(live.new_key(scope="metrics")) as client:
        text = client.get("/metrics").text
    deployment = live.deployment("echo")
    labels = f'{{deployment_id="{deployment.id}",model="echo"}}'
    assert f"kingpost_queued_requests{labels} 0.0" in text
    assert f"kingpost_slots{labels} 8.0" in text
    ready = f'kingpost_replicas{{deployment_id="{deployment.id}",model="echo",state="ready"}} 1.0'
    assert ready in text
    assert "kingpost_switches_total 0.0" in text


@pytest.mark.parametrize("scheme", ["Api-Key", "Bearer", "api-key", "BEARER"])
def test_both_schemes_are_read(live: Live, scheme: str) -> None:
    key = live.new_key(scope="inference")
    answer = httpx.get(live.url + "/v1/models", headers={"Authorization": f"{scheme} {key}"})
    assert answer.status_code == 200


@pytest.fixture
def strangers(live: Live) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    with live.client(live.new_key()) as owner, live.client(live.new_key()) as stranger:
        yield owner, stranger


def test_a_strangers_request_looks_like_one_that_does_not_exist(
    strangers: tuple[httpx.Client, httpx.Client],
) -> None:
    owner, stranger = strangers
    request_id = submit(owner, {"delay": 30}, "/models/echo/production/async_predict")
    own_routes = [r for r in ROUTES if r.path.startswith("/async_request/") and r.method != "HEAD"]
    assert len(own_routes) >= 6
    for route in own_routes:
        body = {"priority": 1} if route.method == "PATCH" else None
        path = route.path.replace(MISSING, request_id)
        theirs = stranger.request(route.method, path, json=body)
        missing = stranger.request(route.method, route.path, json=body)
        assert (theirs.status_code, theirs.content) == (missing.status_code, missing.content)
        assert theirs.status_code == 404, str(route)
    assert stranger.get("/async_requests").json()["requests"] == []
    assert owner.delete(f"/async_request/{request_id}").json()["canceled"] is True


def test_a_key_can_be_restricted_to_models(live: Live) -> None:
    with live.client(live.new_key(models=("echo",))) as client:
        assert client.post("/models/echo/production/predict", json=1).status_code == 200
        answer = client.post("/models/talker/production/predict", json={})
        assert (answer.status_code, answer.json()["error_code"]) == (403, "unauthorized")


def test_keys_are_stored_hashed(live: Live) -> None:
    key = live.new_key()
    stored = str(ApiKeys(live.settings).list())
    assert key.split(".")[1] not in stored


@pytest.mark.parametrize(
    "body", [b'{"model_input": ' + b"9" * 100_000 + b"}", b'{"model_input": 1e999999}']
)
def test_monstrous_numbers_are_no_500(http: httpx.Client, body: bytes) -> None:
    assert http.post("/models/echo/production/async_predict", content=body).status_code in (
        201,
        400,
    )


def test_a_compressed_body_is_refused(http: httpx.Client) -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = http.post("/models/echo/production/async_predict", content=b"x", headers=headers)
    assert answer.status_code == 415


def test_a_preset_key_that_was_revoked_stays_revoked(settings: Settings) -> None:
    keys = ApiKeys(settings)
    assert keys.install(KEY)
    keys.revoke(key_id(KEY))
    assert not keys.install(KEY)  # as the next start of the API does
    assert [key.revoked for key in keys.list()] == [True]


def test_a_public_address_without_any_key_is_refused(settings: Settings) -> None:
    from api.server.serve import check_callers_have_a_key
    from tasks.errors import SettingsError

    with pytest.raises(SettingsError, match="kingpost keys create"):
        check_callers_have_a_key(settings, "0.0.0.0")
    check_callers_have_a_key(settings, "127.0.0.1")
    ApiKeys(settings).create()
    check_callers_have_a_key(settings, "0.0.0.0")


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(live: Live) -> None:
    port = free_port()
    env = variables(live.settings, KINGPOST_RECEIVE_TIMEOUT_SECONDS="1", KINGPOST_DRAIN_SECONDS="3")
    process = Process(["api", "--port", str(port)], env, live.folder / "slow-api.log").start()
    try:
        url = f"http://127.0.0.1:{port}/health/live"
        wait_until(lambda: _answers(url), 20)
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        for i, connection in enumerate(slow):
            connection.setblocking(False)
            if i % 2:
                connection.send(
                    b"POST /production/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab"
                )
        wait_until(lambda: all(_is_over(connection) for connection in slow), 20)
        assert _answers(url)
    finally:
        process.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _is_over(connection: socket.socket) -> bool:
    """Sends one more byte, as a slow client would; true when the other side has hung up."""
    try:
        connection.send(b"x")
        return connection.recv(4096, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_fast_upload_is_not_cut_off(http: httpx.Client) -> None:
    body = (b" " * 1000 for _ in range(100))
    answer = http.post("/models/echo/production/predict", content=(part for part in [*body, b"1"]))
    assert answer.json() == 1


WAYS_IN = (
    "/models/echo/production/sync/",
    "/models/echo/production/",
    "/models/echo/deployment/{}/sync/",
    "/models/echo/",
    "/v1/",
    "/v1/models/",
    "/",
)


@pytest.mark.parametrize("way", WAYS_IN)
def test_no_key_reaches_the_worker_s_own_routes_of_a_model_host(live: Live, way: str) -> None:
    deployment = live.deployment("echo")
    host, _, port = live.url.removeprefix("http://").partition(":")
    for method, target in ATTEMPTS:
        written = way.format(deployment.id) + target
        said = ask((host, int(port)), method, written, f"Authorization: Api-Key {KEY}")
        assert (said.status in (307, 400, 404, 405), said.is_private) == (True, False), written
    replica = next(
        r for r in JobStore(live.settings).run(registry.replicas()) if r.model_name == "echo"
    )
    at_rest = state(worker_address(replica.address))
    assert at_rest
    assert (at_rest.busy, at_rest.state) == (0, "ready")


def test_a_document_that_a_model_makes_cannot_act_as_a_page_of_ours(
    live: Live, tmp_path: Path
) -> None:
    def order(kind: str) -> dict[str, object]:
        odd = {"status": 200, "headers": [["content-type", kind]]}
        return {"tally": str(tmp_path / "tally"), "odd": odd}

    with live.client() as client:
        for kind in ("text/html", "image/svg+xml; charset=utf-8", "Application/XML", "text/plain"):
            active = kind != "text/plain"
            answer = client.post("/models/talker/production/predict", json=order(kind))
            path = "/models/talker/production/async_predict"
            result = _result(client, submit(client, order(kind), path))
            for said in (answer, result):
                assert said.headers["x-content-type-options"] == "nosniff"
                policy = said.headers.get("content-security-policy", "")
                assert policy.startswith("sandbox") == active, kind
                assert "allow-same-origin" not in policy
            assert result.headers["content-type"] == kind
            assert ("content-disposition" in result.headers) == active


def _result(client: httpx.Client, request_id: str) -> httpx.Response:
    assert client.get(f"/async_request/{request_id}?wait=30").json()["status"] == "SUCCEEDED"
    return client.get(f"/async_request/{request_id}/result")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_our_pages_say_what_they_load_and_let_nobody_frame_them(live: Live, path: str) -> None:
    page = httpx.get(live.url + path)
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    allowed = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    found = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)', page.text)
    assert len(found) > 1
    assert all(path.startswith("/docs/files/") for path in found), found
    assert all(httpx.get(live.url + path).status_code == 200 for path in found)
    assert httpx.get(f"{live.url}/docs/files/..%2fcore.py").status_code == 404
    assert not [
        name for name, sources in allowed.items() if any(":/" in source for source in sources)
    ]
    assert "connect-src" in allowed  # for /openapi.json and `Try it out`


@pytest.mark.parametrize(
    "path", ["/", "/health/live", "/openapi.json", "/nowhere", "/async_requests"]
)
def test_every_answer_of_ours_says_that_its_type_is_meant(live: Live, path: str) -> None:
    assert httpx.get(live.url + path).headers["x-content-type-options"] == "nosniff"


def test_half_a_character_in_a_query_is_an_answer(live: Live) -> None:
    query = "query($n: String) { model(name: $n) { id } }"
    body = b'{"query": "%s", "variables": {"n": "\\ud800"}}' % query.encode()
    with live.client(live.new_key(scope="deploy")) as client:
        answer = client.post("/graphql/", content=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["errors"][0]["extensions"]["code"] == "RESOURCE_NOT_FOUND"
