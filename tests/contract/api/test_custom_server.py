"""A custom server behind the gateway: it hears who called and how, and no address of ours leaves in its answers."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.contract.api.conftest import KEY, Live, custom_server

SERVER = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

async def seen(request):
    body = await request.body()
    said = {"method": request.method, "url": str(request.url), "headers": request.headers.items(),
            "body": body.decode()}
    return JSONResponse(said, headers={"x-method": request.method, "allow": "GET, PURGE"})

async def moved(request):
    to = request.query_params["to"].replace("PORT", sys.argv[1])
    named = request.query_params.get("header", "location")
    return Response(b"moved", 302, {named: to})

app = Starlette(routes=[
    Route("/ready", lambda _: Response(), methods=["GET"]),
    Route("/moved", moved, methods=["GET", "POST"]),
    Route("/slash/", seen),
    Route("/seen", seen, methods=["GET", "HEAD", "OPTIONS", "POST", "DELETE"]),
])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture(scope="module")
def base(live: Live) -> Iterator[str]:
    with custom_server(live, "custom", SERVER, "/moved", liveness="/seen"):
        yield "/models/custom/production"


def ask(live: Live, method: str, path: str, body: str = "", **headers: str) -> tuple[Any, str]:
    """As it is on the wire: a client library adds and hides too much."""
    wire = HTTPConnection(urlsplit(live.url).netloc, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"Host": "api.example.com", "Authorization": f"Api-Key {KEY}"} | named
    wire.request(method, path, body or None, named)
    answer = wire.getresponse()
    text = answer.read().decode()
    wire.close()
    return answer, text


@pytest.mark.parametrize(
    ("to", "seen"),
    [
        ("http://127.0.0.1:PORT/a%20b?c=d", "/sync/a%20b?c=d"),
        ("http://localhost:PORT/", "/sync/"),
        ("/login", "/sync/login"),
        ("http://api.example.com/login", "http://api.example.com{base}/sync/login"),
        ("https://elsewhere.example/", None),
    ],
)
@pytest.mark.parametrize("header", ["location", "content-location", "link"])
def test_an_address_of_the_server_becomes_the_caller_s(
    live: Live, base: str, header: str, to: str, seen: str | None
) -> None:
    expected = to if seen is None else seen.format(base=base)
    if expected.startswith("/"):
        expected = base + expected
    shown = "<{}>; rel=next" if header == "link" else "{}"
    for path, method in ((f"{base}/sync/moved", "GET"), (f"{base}/predict", "POST")):
        query = httpx.QueryParams(to=shown.format(to), header=header)
        answer, body = ask(live, method, f"{path}?{query}")
        assert (answer.status, body) == (302, "moved")
        assert answer.getheader(header) == shown.format(expected)


def test_a_redirect_that_a_framework_makes_can_be_followed(live: Live, base: str) -> None:
    with live.client() as http:
        answer = http.get(f"{base}/sync/slash", follow_redirects=True)
        assert (answer.status_code, len(answer.history)) == (200, 1)
        assert answer.json()["url"].endswith("/slash/")
        truss = http.get("/models/echo/production/sync/metrics")
        assert truss.headers["location"] == f"{live.url}/models/echo/production/sync/metrics/"


def test_the_server_hears_who_called_and_how(live: Live, base: str) -> None:
    forged = {
        "X_Forwarded_For": "10.9.9.9",
        "X_Forwarded_Host": "evil.example",
        "X_Forwarded_Proto": "gopher",
        "X_Baseten_Chain_Request_Id": "forged",
        "X_Kingpost_Path": "/kingpost/state",
        "Connection": "close, X-Hop",
        "X_Hop": "1",
        "X_Debug_ID": "debug-7",
    }
    _, body = ask(live, "GET", f"{base}/sync/seen?a=%2F", **forged)
    said = json.loads(body)
    headers = [tuple(pair) for pair in said["headers"]]
    assert said["url"] == "http://api.example.com/seen?a=%2F"
    assert [value for name, value in headers if name == "x-forwarded-for"] == ["127.0.0.1"]
    assert [value for name, value in headers if name == "x-forwarded-host"] == ["api.example.com"]
    assert [value for name, value in headers if name == "x-forwarded-proto"] == ["http"]
    assert ("x-debug-id", "debug-7") in headers
    names = {name for name, _ in headers}
    assert not names & {"x-hop", "authorization", "x-baseten-chain-request-id", "x-kingpost-path"}
    assert KEY not in body and "forged" not in body


def test_head_and_options_keep_their_meaning_and_their_body(live: Live, base: str) -> None:
    _, body = ask(live, "GET", f"{base}/sync/seen")
    head, nothing = ask(live, "HEAD", f"{base}/sync/seen")
    assert (head.status, nothing, head.getheader("x-method")) == (200, "", "HEAD")
    assert int(head.getheader("content-length")) == len(body) - len("GET") + len("HEAD")
    for method in ("OPTIONS", "GET", "DELETE"):
        answer, text = ask(live, method, f"{base}/sync/seen", "what I ask")
        assert (answer.status, answer.getheader("allow")) == (200, "GET, PURGE")
        assert (json.loads(text)["method"], json.loads(text)["body"]) == (method, "what I ask")
    _, text = ask(live, "OPTIONS", f"{base}/sync/seen")
    assert "content-length" not in dict(json.loads(text)["headers"])
    root, _ = ask(live, "HEAD", f"{base}/sync/")
    assert root.getheader("x-method") == "HEAD", "the root is the liveness endpoint, as in nginx"
