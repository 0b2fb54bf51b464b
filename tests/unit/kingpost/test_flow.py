"""What a call does about lost connections and refusals, step by step and without a network."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kingpost import (
    ApiError,
    JobFailed,
    NotConfigured,
    NotFinished,
    NotFound,
    OutOfMemory,
    RateLimited,
    Unauthorized,
    Unavailable,
    Unreachable,
    calls,
)
from kingpost.files import download
from kingpost.flow import Conversation, Emit, Open, Pause, Read, Request, Retries, Send

URL = httpx.URL("http://host:8000/x")
Outcome = httpx.Response | Exception | bytes


def answer(status: int, said: object = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, json=said, request=httpx.Request("GET", URL))


def lost(kind: Callable[..., httpx.RequestError], text: str = "gone") -> httpx.RequestError:
    return kind(text, request=httpx.Request("GET", URL))


class Led:
    """A flow that got these outcomes, one after the other; what it sent, how long it paused, and what came out."""

    def __init__(self, flow: Any, *outcomes: Outcome, retries: int = 4) -> None:
        self.sent: list[Request] = []
        self.pauses: list[float] = []
        self.emitted: list[Any] = []
        given: Iterator[Outcome] = iter(outcomes)
        talk: Conversation[Any] = Conversation(flow)
        while (step := talk.step()) is not None:
            match step:
                case Send(request) | Open(request):
                    self.sent.append(request)
                    self._give(talk, next(given))
                case Read():
                    self._give(talk, next(given))
                case Pause(seconds):
                    self.pauses.append(seconds)
                    talk.answer(None)
                case Retries():
                    talk.answer(retries)
                case Emit(value):
                    self.emitted.append(value)
                    talk.answer(None)
        assert next(given, None) is None, "an outcome was not used"
        self.result = talk.result

    def _give(self, talk: Conversation[Any], outcome: Outcome) -> None:
        if isinstance(outcome, Exception):
            talk.fail(outcome)
        else:
            talk.answer(outcome)


ACCEPTED = answer(201, {"request_id": "r", "warnings": ["slow"]})


def test_a_submission_is_sent_again_with_the_same_key_and_the_same_bytes() -> None:
    busy = answer(503, {"error": "The store is away."}, retry_after="2")
    led = Led(calls.submit("m", {"a": 1}), lost(httpx.ReadError), busy, ACCEPTED)
    assert (led.result.request_id, led.result.warnings) == ("r", ("slow",))
    first, second, third = led.sent
    assert first == second == third and len(first.headers["idempotency-key"]) == 32
    assert led.pauses[1] == 2 and 0 < led.pauses[0] < 1
    other = Led(calls.submit("m", {"a": 1}), ACCEPTED).sent[0]
    assert other.headers["idempotency-key"] != first.headers["idempotency-key"]
    own = Led(calls.submit("m", 1, idempotency_key="mine"), ACCEPTED).sent[0]
    assert own.headers["idempotency-key"] == "mine"


def test_it_gives_up_after_its_retries() -> None:
    with pytest.raises(Unreachable, match="connection to http://host:8000 broke off: gone"):
        Led(calls.submit("m", 1), *[lost(httpx.ReadError)] * 3, retries=2)
    busy = answer(503, {"error": "The store is away."}, retry_after="2")
    with pytest.raises(Unavailable, match=r"^The store is away; tried 2 times in 0 s\.$") as caught:
        Led(calls.submit("m", 1), busy, busy, retries=1)
    with pytest.raises(Unavailable, match=r"^The store is away\.$"):
        Led(calls.submit("m", 1), busy, retries=0)
    assert (caught.value.status, caught.value.retry_after) == (503, 2)


def test_a_page_of_another_web_server_is_one_sentence() -> None:
    page = httpx.Response(404, html="<h1>404</h1>", request=httpx.Request("GET", URL))
    no = r"^http://host:8000 is not a Kingpost server: it answered with an HTML page \(404\)\.$"
    with pytest.raises(NotFound, match=no):
        Led(calls.own_key(), page)
    welcome = httpx.Response(200, html="<h1>Welcome</h1>", request=httpx.Request("GET", URL))
    with pytest.raises(ApiError, match=r"is not a Kingpost server: .* \(200\)"):
        Led(calls.own_key(), welcome)
    page.headers["x-baseten-request-id"] = "r"
    with pytest.raises(NotFound, match="<h1>404</h1>"):
        Led(calls.run("m", 1), page)  # of a model


def test_a_model_that_may_have_begun_is_not_called_again() -> None:
    output = answer(200, {"text": "hi"})
    assert Led(calls.run("m", 1), lost(httpx.ConnectError), output).result == {"text": "hi"}
    assert Led(calls.run("m", 1), answer(503, {}, retry_after="1"), output).pauses == [1]
    with pytest.raises(Unreachable):
        Led(calls.run("m", 1), lost(httpx.ReadError))
    with pytest.raises(Unreachable, match="did not answer in time"):
        Led(calls.run("m", 1), lost(httpx.ReadTimeout))


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (answer(404, {"error": "No model.", "error_code": "c"}), NotFound, "No model."),
        (answer(401, {"error": "check the key"}), Unauthorized, "refuses this key: check the key"),
        (
            answer(429, {"error": {"message": "Too many.", "code": "rate"}}),
            RateLimited,
            "Too many.",
        ),
        (answer(503, {"error": "Loading."}), Unavailable, "Loading."),
        (answer(503, {"error": "Later."}, retry_after="3600"), Unavailable, "Later."),
        (answer(500, {"error": {"why": 1}}), ApiError, '{"why": 1}'),
        (answer(418, ["odd"]), ApiError, '["odd"]'),
        (answer(200, ["odd"]), ApiError, "answers something that is not Kingpost's"),
        (
            httpx.Response(502, text="<h1>Bad</h1>", request=httpx.Request("GET", URL)),
            Unavailable,
            "<h1>Bad</h1>",
        ),
        (
            answer(301, location="https://host/x"),
            NotConfigured,
            "http://host:8000 redirects to https://host; use that address.",
        ),
    ],
)
def test_a_refusal_is_the_servers_sentence(
    said: httpx.Response, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        Led(calls.status("r"), said)
    assert text in str(caught.value)


def test_a_target_is_an_environment_or_a_deployment_and_a_name_is_one_segment() -> None:
    def path(model: str, **target: str) -> str:
        return Led(calls.queue(model, **target), answer(200, {"deployment_id": "d"})).sent[0].path

    assert (
        path("m")
        == path("m", environment="production")
        == "/models/m/production/async_queue_status"
    )
    assert path("m", environment="development") == "/models/m/development/async_queue_status"
    assert path("m", environment="staging") == "/models/m/environments/staging/async_queue_status"
    assert (
        path("zai/GLM 5", deployment="d") == "/models/zai%2FGLM%205/deployment/d/async_queue_status"
    )
    with pytest.raises(NotConfigured, match="not both"):
        path("m", environment="e", deployment="d")
    for name in ("", "..", "."):
        with pytest.raises(NotConfigured, match="not the name or id"):
            path(name)


RUNNING, DONE = ({"request_id": "r", "status": status} for status in ("IN_PROGRESS", "SUCCEEDED"))
FAILED = {"request_id": "r", "status": "FAILED", "errors": [{"code": "E", "message": "why"}]}


def test_a_result_is_waited_for() -> None:
    led = Led(calls.result("r"), answer(200, RUNNING), answer(200, DONE), answer(200, [1]))
    assert led.result == [1]
    assert [request.params for request in led.sent[:2]] == [{"wait": "60"}] * 2
    with pytest.raises(JobFailed, match="has no result: E: why") as caught:
        Led(calls.result("r"), answer(200, FAILED))
    assert caught.value.errors == (("E", "why"),)
    full = {**FAILED, "errors": [{"code": "MODEL_OUT_OF_MEMORY", "message": "why"}]}
    with pytest.raises(OutOfMemory):
        Led(calls.result("r"), answer(200, full))
    with pytest.raises(NotFinished, match="is IN_PROGRESS after 0 s; it goes on"):
        Led(calls.wait("r", timeout=0), answer(200, RUNNING))


def event(id_: str, kind: str) -> bytes:
    return f"id: {id_}\nevent: {kind}\ndata: {{}}\n\n".encode()


def test_events_go_on_after_the_last_one_that_came() -> None:
    opened = answer(200)
    led = Led(
        calls.events("r"),
        *(opened, event("1", "status"), event("2", "progress")[:-1], lost(httpx.ReadError)),
        *(opened, event("2", "progress"), b""),
        *(opened, event("3", "status") + event("3", "done")),
    )
    assert [(seen.id, seen.kind) for seen in led.emitted] == [
        ("1", "status"), ("2", "progress"), ("3", "status"), ("3", "done"),
    ]  # fmt: skip
    assert [request.headers.get("last-event-id") for request in led.sent] == [None, "1", "2"]


def test_events_that_never_come_are_given_up() -> None:
    opened = answer(200)
    with pytest.raises(Unreachable, match="broke off"):
        Led(calls.events("r"), *(opened, lost(httpx.ReadError)) * 3, retries=2)
    with pytest.raises(Unreachable, match="end before it is final"):
        Led(calls.events("r"), *(opened, b"") * 3, retries=2)


def test_a_character_that_is_cut_between_chunks_is_whole_in_the_text() -> None:
    led = Led(calls.stream("m", 1), answer(200), b"gr\xc3", b"\xbcn", b"")
    assert led.emitted == ["gr", "ün"]
    with pytest.raises(Unreachable, match="broke off"):
        Led(calls.stream("m", 1), answer(200), b"gr", lost(httpx.RemoteProtocolError))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v1/files/x",
        "/v1/files/../keys",
        "/v1/files/",
        "/v1/files/..",
        "/v1/files/x?y",
        "/v1/files/a/b",
    ],
)
def test_only_a_file_of_an_output_is_downloaded_whatever_a_model_writes(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(NotConfigured, match="not the URL of a file"):
        next(download({"url": url}, tmp_path / "out"))
    assert not list(tmp_path.iterdir())
