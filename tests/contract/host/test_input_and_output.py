"""What comes in, what goes out; as sync calls and as jobs."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack
import numpy
import pytest

from tests.contract.host.conftest import StartHost
from tests.contract.host.running import RunningHost
from workers.host.model.codec import pack, unpack

OCTETS = {"content-type": "Application/Octet-Stream; x=1"}
MODEL = """
import dataclasses, datetime, uuid
import numpy
import pydantic
from fastapi.responses import JSONResponse, PlainTextResponse

@dataclasses.dataclass
class Point:
    x: int = 1

class Out(pydantic.BaseModel):
    name: str
    at: datetime.datetime

OUT = Out(name="é", at=datetime.datetime(2026, 1, 2))
VALUES = {
    "datetime": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    "uuid": uuid.UUID(int=7),
    "numpy": {"a": numpy.arange(3), "f": numpy.float32(0.5), "i": numpy.int64(3)},
    "pydantic": OUT,
    "tuple": (1, 2),
    "nan": [float("nan"), float("inf")],
    "text": "é",
    "none": None,
    "bytes": b"raw",
    "nested bytes": [b"raw"],
    "set": {1},
    "complex": numpy.complex64(1),
    "numpy bytes": [numpy.bytes_(b"x")],
    "dataclass": Point(),
    "long": 10**30,
    "zoned time": datetime.time(1, tzinfo=datetime.timezone.utc),
    "created": JSONResponse({"x": 1}, 201, {"x-mine": "yes"}),
    "teapot": PlainTextResponse("no", 418, {"x-mine": "yes"}),
}

class Model:
    def predict(self, model_input):
        if isinstance(model_input, dict) and "value" in model_input:
            return VALUES[model_input["value"]]
        return {"type": type(model_input).__name__, "text": repr(model_input)}
"""


@pytest.fixture(scope="module")
def host(start_host: StartHost) -> RunningHost:
    return start_host(MODEL)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"a": 1, "a": 2}', "{'a': 2}"),
        (b"[NaN, Infinity]", "[nan, inf]"),
        (b"3", "3"),
        (b'"x"', "'x'"),
        (b"null", "None"),
    ],
)
def test_any_json_whatever_the_content_type(host: RunningHost, content: bytes, text: str) -> None:
    for content_type in ("application/json", "text/plain", "image/png"):
        for answer in host.answers(content=content, headers={"content-type": content_type}):
            assert (answer.status_code, answer.json()["text"]) == (200, text)


@pytest.mark.parametrize("content", [b"", b"{", b"{'a': 1}"])
def test_bad_json_is_400(host: RunningHost, content: bytes) -> None:
    with pytest.raises(json.JSONDecodeError) as decoder:
        json.loads(content)
    for answer in host.answers(content=content):
        assert answer.status_code == 400
        assert answer.json() == {"error": f"Invalid JSON payload: {decoder.value}"}
        assert answer.headers["x-baseten-error-code"] == "700"
        assert answer.headers["x-baseten-error-source"] == "04"


def test_invalid_utf8_is_500(host: RunningHost) -> None:
    for answer in host.answers(content=b'"\xff"'):
        assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (500, "500")
        assert answer.json()["error"].startswith("Unhandled exception: UnicodeDecodeError")


def test_octet_stream_is_msgpack_both_ways(host: RunningHost) -> None:
    given = {"at": datetime(2026, 1, 2, tzinfo=UTC), "n": Decimal("1.5"), "d": timedelta(1, 2, 3)}
    for answer in host.answers(content=pack(given), headers=OCTETS):
        assert answer.headers["content-type"] == "application/octet-stream"
        text = msgpack.unpackb(answer.content)["text"]
        assert "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)" in text
        assert "Decimal('1.5')" in text
        assert "datetime.timedelta(days=1, seconds=2, microseconds=3)" in text


def test_numpy_arrays_travel_in_msgpack(host: RunningHost) -> None:
    array = numpy.arange(4, dtype="int16").reshape(2, 2)
    answer = host.predict(content=pack([array, numpy.float64(2.5)]), headers=OCTETS)
    text = msgpack.unpackb(answer.content)["text"]
    assert "array([[0, 1]" in text
    assert "2.5" in text
    returned: Any = unpack(host.predict(content=pack({"value": "numpy"}), headers=OCTETS).content)
    assert returned["a"].tolist() == [0, 1, 2]


def test_malformed_msgpack_and_object_arrays_are_400(host: RunningHost) -> None:
    assert host.predict(content=b"\xc1", headers=OCTETS).status_code == 400
    pickled = {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": b"x"}
    answer = host.predict(content=msgpack.packb(pickled), headers=OCTETS)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported payload")


def tagged(**content: Any) -> bytes:
    return msgpack.packb({name.encode(): value for name, value in content.items()})


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"\x01\x01", 400, "unpack(b) received extra data."),
        (b"\x92\x01", 400, "Unpack failed: incomplete input"),
        (tagged(nd=True, kind=b"O"), 400, "unsupported payload"),
        (tagged(__uuid__=True, data="x"), 400, "badly formed hexadecimal UUID string"),
        (tagged(__dt_timedelta__=True, data=[1]), 400, "not enough values to unpack (expected 3, got 1)"),
        (tagged(__dt_date_iso__=True, data=5), 500, "Unhandled exception: TypeError: fromisoformat: argument must be str"),
        (tagged(nd=True, type="zz", kind=b"", shape=[1], data=b"x"), 500, "Unhandled exception: TypeError: data type 'zz' not understood"),
    ],
)  # fmt: skip
def test_what_msgpack_may_not_say(
    host: RunningHost, content: bytes, status: int, error: str
) -> None:
    for answer in host.answers(content=content, headers=OCTETS):
        assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_a_tag_without_its_data_is_a_dict(host: RunningHost) -> None:
    answer = host.predict(content=tagged(__uuid__=True), headers=OCTETS)
    assert msgpack.unpackb(answer.content)["text"] == "{b'__uuid__': True}"


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("numpy", '{"a": [0, 1, 2], "f": 0.5, "i": 3}'),
        ("pydantic", '{"name":"é","at":"2026-01-02T00:00:00"}'),
        ("tuple", "[1, 2]"),
        ("nan", "[NaN, Infinity]"),
        ("text", '"\\u00e9"'),
        ("none", "null"),
    ],
)
def test_json_output(host: RunningHost, value: str, body: str) -> None:
    for answer in host.answers({"value": value}):
        assert (answer.status_code, answer.content.decode()) == (200, body)
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("bytes", "bytes"),
        ("nested bytes", "bytes"),
        ("set", "set"),
        ("complex", "complex64"),
        ("numpy bytes", "bytes_"),
        ("dataclass", "Point"),
    ],
)
def test_what_json_cannot_say_is_a_500_that_names_the_type(
    host: RunningHost, value: str, name: str
) -> None:
    error = f"Unhandled exception: TypeError: Object of type {name} is not JSON serializable"
    for answer in host.answers({"value": value}):
        assert (answer.status_code, answer.headers["x-baseten-error-code"]) == (500, "500")
        assert answer.json() == {"error": error}


def test_octet_stream_output(host: RunningHost) -> None:
    def out(value: str) -> bytes:
        return host.predict(content=pack({"value": value}), headers=OCTETS).content

    assert out("bytes") == b"raw"
    assert unpack(out("uuid")) == UUID(int=7)
    assert unpack(out("pydantic")) == {"name": "é", "at": datetime(2026, 1, 2)}
    assert msgpack.unpackb(out("datetime"))[b"data"] == "2026-01-02T00:00:00Z"
    for value, error in (
        ("set", "TypeError: can not serialize 'set' object"),
        ("long", "OverflowError: Integer value out of range"),
        ("zoned time", "ValueError: Cannot represent timezone-aware times."),
    ):
        answer = host.predict(content=pack({"value": value}), headers=OCTETS)
        assert answer.json() == {"error": f"Unhandled exception: {error}"}
        assert answer.headers["content-type"] == "application/json"


def test_a_response_goes_out_as_it_is(host: RunningHost) -> None:
    for answer in host.answers({"value": "created"}):
        assert answer.headers["x-mine"] == "yes"
        assert (answer.status_code, answer.json()) == (201, {"x": 1})
        assert "x-baseten-error-code" not in answer.headers


def test_a_response_of_300_and_above_gets_the_error_headers(host: RunningHost) -> None:
    for answer in host.answers({"value": "teapot"}):
        assert answer.headers["x-baseten-error-code"] == "700"
        assert answer.headers["x-baseten-error-source"] == "04"
        assert answer.headers["x-mine"] == "yes"
        assert answer.content == b"no"


@pytest.mark.kingpost_only("jobs")
def test_a_large_result_comes_in_pieces(host: RunningHost) -> None:
    job = host.job("x" * 700_000)
    assert job.kinds == "RBBBE"
    assert len(job.json()["text"]) == 700_002


TYPED = """
from typing import Union, Generator
from fastapi import Request
import pydantic

class Item(pydantic.BaseModel):
    value: int

class In(pydantic.BaseModel):
    name: str
    items: list[Item] = []

class Model:
    def preprocess(self, model_input: In):
        return model_input.name
    def predict(self, name):
        return name
    def postprocess(self, name) -> Union[Item, Generator]:
        return {"name": name}
    def embeddings(self, model_input: dict):
        return type(model_input).__name__
"""


def test_pydantic_input_is_validated(start_host: StartHost) -> None:
    host = start_host(TYPED)
    assert host.predict({"name": "a"}).json() == {"name": "a"}
    refused = host.predict({"name": "a", "items": [{"value": 1}, {"value": "x"}]})
    assert refused.status_code == 400
    assert refused.json()["error"] == (
        "Input Parsing Error:\n  `items[1].value`: Input should be a valid integer, unable to parse "
        "string as an integer."
    )
    assert host.predict({"items": 1}).json()["error"].splitlines()[:2] == [
        "Input Parsing Errors:",
        "  `name`: Field required.",
    ]
    for content, fault in (
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'\xef\xbb\xbf{"name": "a"}', "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ):  # fmt: skip
        refused = host.predict(content=content)
        assert refused.json() == {"error": f"Input Parsing Error:\n  `__root__`: {fault}."}
    assert host.predict(content=pack({"name": 5}), headers=OCTETS).status_code == 400
    assert {answer.status_code for answer in host.answers({"items": 1})} == {400}
    schema = host.http.get("/v1/models/model/schema").json()
    assert schema["input_schema"]["required"] == ["name"]
    assert schema["output_schema"]["title"] == "Item"
    assert schema["supports_streaming"] is True
    v1 = host.http.post("/v1/embeddings", json={"x": 1})
    assert v1.status_code == 400  # predict's input type counts for the /v1 methods, too


REQUEST_ONLY = """
from fastapi import Request
class Model:
    async def predict(self, request: Request):
        return [request.method, request.url.path, len(await request.body()), request.headers["x-baseten-request-id"]]
    def embeddings(self, model_input):
        return model_input
"""


def test_a_request_only_predict_skips_parsing_everywhere(start_host: StartHost) -> None:
    host = start_host(REQUEST_ONLY)
    answer = host.predict(content=b"\xff\xff", headers={"x-baseten-request-id": "r1"})
    assert answer.json() == ["POST", "/v1/models/model:predict", 2, "r1"]
    assert host.http.post("/v1/embeddings", content=b"{").json() is None


@pytest.mark.kingpost_only("jobs")
def test_a_job_looks_like_a_predict_to_a_model_that_reads_its_request(
    start_host: StartHost,
) -> None:
    host = start_host(REQUEST_ONLY)
    job = host.job(content=b"\xff", name="r2", headers={"x-kingpost-keep-slot": "1"})
    assert job.json() == ["POST", "/v1/models/model:predict", 1, "r2"]


def test_a_predict_without_arguments_still_needs_a_body(start_host: StartHost) -> None:
    host = start_host("class Model:\n    def predict(self): return 1")
    assert host.predict(content=b"").status_code == 400
    assert host.predict(0).json() == 1
