"""Which headers pass between a caller and a model host, and what becomes of the addresses in them."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection

from api.addressing import Addressed
from api.upstream.passing import SANDBOX, PublicAddress, answered, forwarded
from deployments.registry.resolver import Target
from workers.host.docker_server.redirects import from_root


def connection(*headers: tuple[str, str], host: str = "api.example.com", **more: Any) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in (("host", host), *headers)]
    scope = {"type": "http", "headers": raw, "scheme": "https", "client": ("192.0.2.7", 5), **more}
    return HTTPConnection(scope)


def passed(*headers: tuple[str, str], **more: Any) -> dict[str, str]:
    pairs = forwarded(connection(*headers, **more), "r1")
    assert len({name for name, _ in pairs}) == len(pairs), "nothing is said twice"
    return {name.decode(): value.decode() for name, value in pairs}


OURS = {
    "host": "api.example.com",
    "x-forwarded-for": "192.0.2.7",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "api.example.com",
    "x-baseten-request-id": "r1",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "Api-Key k"), ("x-api-key", "k"), ("cookie", "a=b"),
        ("x-baseten-request-id", "mine"), ("x-baseten-chain-request-id", "mine"),
        ("x-baseten-anything", "1"), ("x-kingpost-path", "/kingpost/state"), ("x-kingpost-token", "t"),
        ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "evil"),
        ("x-forwarded-prefix", "/x"), ("x-forwarded-port", "1"), ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"), ("te", "trailers"), ("keep-alive", "1"), ("upgrade", "h2c"),
        ("proxy-authorization", "x"), ("trailer", "x"), ("expect", "100-continue"),
    ],
)  # fmt: skip
def test_what_the_service_says_and_what_ends_here_does_not_pass(name: str, value: str) -> None:
    assert passed((name, value)) == OURS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-debug-id", "7"), ("traceparent", "00-1-2-01"), ("accept", "application/json"), ("user-agent", "me"),
        ("content-type", "text/plain"), ("x-basetenish", "1"), ("idempotency-key", "k"), ("origin", "https://x"),
    ],
)  # fmt: skip
def test_everything_else_passes(name: str, value: str) -> None:
    assert passed((name, value)) == OURS | {name: value}


def test_headers_that_connection_names_end_here() -> None:
    said = passed(("connection", "close, X-Secret"), ("x-secret", "1"), ("x-open", "2"))
    assert said == OURS | {"x-open": "2"}


def test_a_websocket_s_scheme_is_the_web_s_and_nobody_known_is_unknown() -> None:
    said = passed(scheme="wss", client=None)
    assert (said["x-forwarded-proto"], said["x-forwarded-for"]) == ("https", "unknown")


@pytest.mark.parametrize(
    ("kind", "active"),
    [
        (b"text/html", True), (b" TEXT/HTML ;charset=utf-8", True), (b"image/svg+xml", True), (b"text/xml", True),
        (b"application/xml;a=b", True), (b"application/xhtml+xml", True), (b"application/json", False),
        (b"text/plain", False), (b"text/event-stream", False), (b"text/htmlx", False), (b"image/png", False),
        (b"application/vnd.xml-like", False),
    ],
)  # fmt: skip
def test_documents_that_run_scripts_get_a_sandbox(kind: bytes, active: bool) -> None:
    def nowhere() -> PublicAddress:
        raise AssertionError

    kept = answered([(b"content-type", kind)], nowhere)
    assert (SANDBOX in kept) == active


BASE = "https://api.example.com/models/m/production/sync"


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("/login?next=%2Fa#b", "/models/m/production/sync/login?next=%2Fa#b"),
        ("http://api.example.com/login", f"{BASE}/login"),
        ("http://host/v1/models/model", f"{BASE}/v1/models/model"),
        ("http://api.example.com", f"{BASE}/"),
        ("next", "next"), ("?page=2", "?page=2"), ("#top", "#top"), ("", ""),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("//elsewhere.example/x", "//elsewhere.example/x"),
        ("mailto:me@api.example.com", "mailto:me@api.example.com"),
        ("/models/m/production/sync/told", "/models/m/production/sync/told"),
        ("http://[::bad/x", "http://[::bad/x"),
        ("/caf\u00e9", "/models/m/production/sync/caf\u00e9"),
    ],
)  # fmt: skip
def test_a_host_s_address_becomes_the_caller_s(said: str, seen: str) -> None:
    address = PublicAddress.of(connection(), Addressed("m", prefix="/models/m"), Target())
    assert address.of_location(said) == seen
    (location, link) = answered(
        [(b"location", said.encode("latin-1")), (b"link", f"<{said}>; rel=next".encode("latin-1"))],
        lambda: address,
    )
    assert location[1].decode("latin-1") == seen
    assert link[1].decode("latin-1") == f"<{seen}>; rel=next"


@pytest.mark.parametrize(
    ("addressed", "target", "prefix"),
    [
        (Addressed(), Target(), "/production/sync"),
        (Addressed("abcd1234"), Target("development"), "/development/sync"),
        (Addressed("abcd1234", environment="staging"), Target("staging"), "/sync"),
        (Addressed("a/b", prefix="/models/a%2Fb"), Target("qa"), "/models/a%2Fb/environments/qa/sync"),
        (Addressed("m", prefix="/models/m"), Target(None, "d1"), "/models/m/deployment/d1/sync"),
    ],
)  # fmt: skip
def test_each_way_to_address_a_model_has_its_own_prefix(
    addressed: Addressed, target: Target, prefix: str
) -> None:
    assert PublicAddress.of(connection(), addressed, target).of_location("/x") == f"{prefix}/x"


def test_an_answer_keeps_its_headers_but_those_of_the_connection_and_of_the_service() -> None:
    headers = [
        (b"connection", b"close, x-hop"), (b"x-hop", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"),
        (b"x-baseten-request-id", b"forged"), (b"x-baseten-error-code", b"700"), (b"content-length", b"3"),
    ]  # fmt: skip
    kept = answered(headers, lambda: pytest.fail("nothing to rewrite"))
    assert kept == [headers[2], headers[3], headers[5], headers[6]]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("http://127.0.0.1:9001/x?y=1", "/x?y=1"), ("http://localhost:9001", "/"), ("http://0.0.0.0:9001/x", "/x"),
        ("https://[::1]:9001/x", "/x"), ("http://127.0.0.1:9002/x", "http://127.0.0.1:9002/x"),
        ("next", "/v2/next"), ("../up", "/up"), ("?page=2", "/v2/generate?page=2"), ("/x", "/x"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("http://127.0.0.1:99999/x", "http://127.0.0.1:99999/x"),
    ],
)  # fmt: skip
def test_a_custom_server_s_own_address_becomes_a_path(said: str, seen: str) -> None:
    headers = [(b"location", said.encode()), (b"link", f'<{said}>; rel="a", <{said}>'.encode())]
    assert from_root(headers, 9001, "/v2/generate?a=1") == [
        (b"location", seen.encode()),
        (b"link", f'<{seen}>; rel="a", <{seen}>'.encode()),
    ]
