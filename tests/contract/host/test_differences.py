"""Where Kingpost's host differs from Truss's server, each time with the answers of both.

Every other test that is not marked kingpost_only passes on both, so this file is the whole list. The mark names
the difference; DECISIONS.md says why there is one.
"""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from tests.contract.host.running import PREDICT, RunningHost
from workers.wire.messages import MODEL_ERROR

ENCODED = """
import datetime, decimal, enum, uuid
import numpy
import pydantic

class Colour(enum.Enum):
    RED = "red"

class Out(pydantic.BaseModel):
    at: datetime.date

VALUES = {
    "datetime": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    "date": [datetime.date(2026, 1, 2)],
    "time": datetime.time(3, 4),
    "timedelta": {"took": datetime.timedelta(minutes=1.5)},
    "Decimal": decimal.Decimal("1.50"),
    "UUID": [uuid.UUID(int=7)],
    "bool_": {"b": numpy.bool_(True)},
    "bool": numpy.bool_(False),
    "datetime64": numpy.datetime64("2026-01-02"),
    "Colour": [Colour.RED],
    "Out": {"model": Out(at=datetime.date(2026, 1, 2))},
}

class Model:
    def predict(self, name):
        return VALUES[name]
"""


@pytest.fixture(scope="module")
def encoding(start_host: StartHost) -> RunningHost:
    return start_host(ENCODED)


@pytest.mark.differs("JSON outputs also accept datetime, Decimal, UUID, numpy, Enum, pydantic")
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("datetime", '"2026-01-02T00:00:00+00:00"'),
        ("date", '["2026-01-02"]'),
        ("time", '"03:04:00"'),
        ("timedelta", '{"took": 90.0}'),
        ("Decimal", '"1.50"'),
        ("UUID", '["00000000-0000-0000-0000-000000000007"]'),
        ("bool_", '{"b": true}'),
        ("bool", "false"),
        ("datetime64", '"2026-01-02"'),
        ("Colour", '["red"]'),
        ("Out", '{"model": {"at": "2026-01-02"}}'),
    ],
)
def test_encoding(encoding: RunningHost, name: str, body: str) -> None:
    for answer in encoding.answers(name):
        if encoding.name == "kingpost":
            assert (answer.status_code, answer.content.decode()) == (200, body)
        else:
            assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (500, "500")
            error = answer.json()["error"]
            assert error.startswith("Unhandled exception: TypeError: Object of type ")
            assert error.endswith(" is not JSON serializable")


def loads(host: RunningHost, complaint: str) -> bool:
    """True if the model loads; Truss's server must refuse it with this complaint."""
    if host.name == "kingpost":
        host.wait("ready")
        return True
    host.wait("failed")
    assert complaint in host.text()
    return False


@pytest.mark.differs("models with only /v1 methods load")
def test_a_model_with_only_v1_methods_loads(start_host: StartHost) -> None:
    host = start_host("class Model:\n    def embeddings(self, x): return [x]", state=None)
    if loads(host, "Truss model must have a `predict` or `websocket` method."):
        assert host.http.post("/v1/embeddings", json=1).json() == [1]
        missing = host.predict(1)
        assert missing.status_code == 404
        assert missing.json() == {"error": "`predict` must only be called if model has it."}
        assert host.job(1).status_code == 404


@pytest.mark.differs(
    "0.1: a generator on /v1 that a body asks to stream is of the type text/event-stream"
)
def test_the_type_of_a_stream_on_v1(start_host: StartHost) -> None:
    events = """
    async def chat_completions(self, body):
        yield "data: {}\\n\\n"
    def embeddings(self, body):
        yield "x"
    """
    host = start_host(f"class Model:\n    def predict(self, x): yield x['a']{events}")

    def kind(path: str, body: object) -> str:
        return host.http.post(path, json=body).headers["content-type"]

    chat, octets = "/v1/chat/completions", "application/octet-stream"
    ours = "text/event-stream" if host.name == "kingpost" else octets
    assert kind(chat, {"stream": True}) == ours
    assert [kind(chat, {"stream": False}), kind("/v1/embeddings", {"stream": True})] == [octets] * 2
    assert kind(PREDICT, {"a": "data: 1\n\n", "stream": True}) == octets


@pytest.mark.differs("a second argument named `request` needs no annotation")
@pytest.mark.parametrize("annotation", ["", ": 'Request'"])
def test_an_unannotated_request(start_host: StartHost, annotation: str) -> None:
    source = (
        f"class Model:\n    def predict(self, x, request{annotation}): return [x, request.method]"
    )
    host = start_host(source, state=None)
    if loads(host, "must have request as second argument"):
        assert host.predict(1).json() == [1, "POST"]


@pytest.mark.differs("`async def load` is awaited")
def test_an_async_load_is_awaited(start_host: StartHost) -> None:
    host = start_host("""
        class Model:
            loaded = False
            async def load(self): self.loaded = True
            def predict(self, x): return self.loaded
    """)
    assert host.predict(1).json() is (host.name == "kingpost")


@pytest.mark.differs("`async def load` is awaited; so is setup_environment before it")
def test_an_async_setup_environment_is_awaited_before_the_load(
    start_host: StartHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("config") / "environment"
    file.write_text('{"name": "staging"}')
    model = """
        class Model:
            told = None
            async def setup_environment(self, environment): self.told = environment
            def load(self): self.at_load = self.told
            def predict(self, x): return self.at_load
    """
    host = start_host(model, arguments=("--environment-file", str(file)))
    expected = {"name": "staging"} if host.name == "kingpost" else None
    assert host.predict(1).json() == expected


@pytest.mark.differs("a model that is falsy loads")
def test_a_falsy_model_loads(start_host: StartHost) -> None:
    source = "class Model:\n    def __len__(self): return 0\n    def predict(self, x): return x"
    host = start_host(source, state=None)
    if loads(host, "Model with name model is not ready."):
        assert host.predict(1).json() == 1


@pytest.mark.differs("a failed load is told and its requests wait; the process stays")
def test_the_process_outlives_a_failed_load(start_host: StartHost) -> None:
    source = "class Model:\n    def load(self): raise OSError\n    def predict(self, x): return x"
    host = start_host(source, state="failed")
    if host.name == "truss":
        assert host.process.wait(10) in (0, -9)  # by itself, or killed when asked for its health
        return
    for answer in (host.predict(1), host.http.get("/v1/models/model"), host.http.get("/ping")):
        assert answer.status_code == 503
        assert answer.json() == {"error": "Model with name model is not ready."}
    assert host.http.get("/").json() is True
    assert host.process.poll() is None


@pytest.mark.differs("sys.exit while loading fails the load; there it loads for ever")
def test_sys_exit_fails_the_load(start_host: StartHost) -> None:
    host = start_host(
        """
        import sys
        class Model:
            def load(self):
                print("leaves", flush=True)
                sys.exit(3)
            def predict(self, x): return x
        """,
        state=None,
    )
    wait_until(lambda: "leaves" in host.text())
    host.wait("failed" if host.name == "kingpost" else "loading")
    assert host.http.get("/v1/models/model").status_code == 503
    assert host.process.poll() is None


@pytest.mark.differs("no pickled arrays in msgpack, neither in nor out")
def test_no_array_is_pickled(start_host: StartHost) -> None:
    host = start_host("""
        import numpy
        class Model:
            def predict(self, x): return numpy.array([object()], dtype=object)
    """)
    headers = {"content-type": "application/octet-stream"}
    answer = host.predict(content=b"\x01", headers=headers)
    if host.name == "kingpost":
        error = "TypeError: can not serialize a numpy array of objects"
        assert answer.json() == {"error": f"Unhandled exception: {error}"}
    else:
        assert answer.status_code == 200
        assert b"_reconstruct" in answer.content  # of a pickle


@pytest.mark.differs("any other route is a 404; FastAPI adds one that tells the routes")
def test_no_openapi_document(start_host: StartHost) -> None:
    host = start_host("class Model:\n    def predict(self, x): return x")
    status = host.http.get("/openapi.json").status_code
    assert status == (404 if host.name == "kingpost" else 200)


LEFT_ALONE = """
import asyncio, pathlib, time
from starlette.responses import StreamingResponse
FOLDER = pathlib.Path("data")

def at_end(name):
    (FOLDER / f"closed-{name}").touch()

async def ticks(name):
    try:
        while not (FOLDER / f"go-{name}").exists():
            yield "tick "
            await asyncio.sleep(0.01)
        (FOLDER / f"whole-{name}").touch()
    finally:
        at_end(name)

def sync_ticks(name):
    try:
        while not (FOLDER / f"go-{name}").exists():
            yield "tick "
            time.sleep(0.01)
        (FOLDER / f"whole-{name}").touch()
    finally:
        at_end(name)

class Model:
    async def predict(self, name):
        if name == "async":
            return ticks(name)
        if name == "sync":
            return sync_ticks(name)
        try:
            while not (FOLDER / f"go-{name}").exists():
                (FOLDER / f"run-{name}").touch()
                await asyncio.sleep(0.01)
            (FOLDER / f"whole-{name}").touch()
        finally:
            at_end(name)
"""


@contextlib.contextmanager
def left(host: RunningHost, name: str) -> Iterator[None]:
    """A call whose client leaves in the middle."""
    if name in ("async", "sync"):
        with host.http.stream("POST", PREDICT, json=name) as answer:
            assert next(answer.iter_raw()).startswith(b"tick ")
    else:
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(host.http.post, PREDICT, json=name, timeout=1)
            wait_until((host.package / "data" / f"run-{name}").exists)
            with pytest.raises(httpx.ReadTimeout):
                call.result()
    yield


@pytest.mark.differs(
    "1.5: work whose client left is cancelled after its grace, also async code that never looks"
)
@pytest.mark.parametrize("name", ["async", "sync", "predict"])
def test_1_5_work_of_a_client_that_left_is_cancelled(start_host: StartHost, name: str) -> None:
    host = start_host(LEFT_ALONE)
    data = host.package / "data"
    with left(host, name):
        if host.name == "kingpost":
            wait_until((data / f"closed-{name}").exists)
            assert not (data / f"whole-{name}").exists()
            host.settle(busy=0)
        else:
            host.settle()
            assert not (data / f"closed-{name}").exists()
            (data / f"go-{name}").touch()
            wait_until((data / f"whole-{name}").exists)


ASKED = """
from fastapi import Request
from pydantic import BaseModel

class In(BaseModel):
    stream: bool = False

class Model:
    def predict(self, {takes}):
        yield from ("a", "b")
    def messages(self, {takes}):
        yield from ("a", "b")
"""


@pytest.mark.differs("on /v1 routes, `stream: true` in the body always streams")
@pytest.mark.parametrize("takes", ["model_input", "model_input: In", "request: Request"])
def test_a_client_that_asks_for_a_stream_on_v1_gets_one(start_host: StartHost, takes: str) -> None:
    host = start_host(ASKED.format(takes=takes))

    def post(path: str, stream: bool) -> str:
        headers = {"accept": "application/json", "user-agent": "Anthropic/JS 1.0"}
        return host.http.post(path, json={"stream": stream}, headers=headers).text

    assert post("/v1/messages", True) == ("ab" if host.name == "kingpost" else '"ab"')
    assert post("/v1/messages", False) == post(PREDICT, True) == '"ab"', "as on Truss's server"


BREAKS = """
from fastapi import HTTPException

def broken(body):
    yield 'data: {"choices": []}\\n\\n' if body.get("events", True) else "text"
    yield 'data: {"odd'
    raise HTTPException(*body["raise"]) if "raise" in body else ValueError("secret")

class Model:
    def predict(self, body):
        return broken(body)
    def chat_completions(self, body):
        return broken(body)
    def messages(self, body):
        return broken(body)
"""


@pytest.mark.differs("a stream of events on a /v1 route that fails ends with an error event")
def test_a_stream_on_v1_that_fails_says_so(start_host: StartHost) -> None:
    host = start_host(BREAKS)

    def last(path: str, **body: object) -> str:
        text = host.http.post(path, json={"stream": True, **body}).text
        return text.partition('data: {"odd')[2]

    chat, messages = "/v1/chat/completions", "/v1/messages"
    if host.name != "kingpost":
        assert last(chat) == last(messages) == last(PREDICT) == ""
        return
    general = {"message": MODEL_ERROR, "type": "server_error"}
    assert said_in(last(chat)) == {"error": {**general, "param": None, "code": None}}
    told = said_in(last(chat, **{"raise": [422, "too long"]}))["error"]
    assert (told["message"], told["type"]) == ("too long", "invalid_request_error")
    own = {"message": "m", "type": "t", "param": "p", "code": "c"}
    for raised in (own, {"error": own}):
        assert said_in(last(chat, **{"raise": [400, raised]})) == {"error": own}
    error = {"type": "api_error", "message": MODEL_ERROR}
    assert last(messages).startswith("\n\nevent: error\n")
    assert said_in(last(messages)) == {"type": "error", "error": error}
    assert last(PREDICT) == last(chat, events=False) == "", "as on Truss's server"


def said_in(event: str) -> Any:
    assert event.endswith("\n\n")
    return json.loads(event.partition("data: ")[2])
