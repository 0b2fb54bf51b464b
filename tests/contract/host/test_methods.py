"""The method set, signature rules and the /v1 methods."""

import re
import textwrap
from typing import Any

import pytest

from tests.contract.host.conftest import StartHost
from tests.contract.host.running import RunningHost
from tests.effort import repeated
from workers.host.errors import ModelDefinitionError
from workers.host.model.methods import Methods

PRELUDE = "from fastapi import Request\nfrom typing import *\n"
LATE_ANNOTATIONS = "from __future__ import annotations\n"


def source(body: str, prelude: str = PRELUDE) -> str:
    return prelude + "class Model:\n" + textwrap.indent(textwrap.dedent(body), "    ")


def methods(body: str) -> Methods:
    space: dict[str, Any] = {}
    exec(source(body), space)
    return Methods.of(space["Model"]())


def at_once(start_host: StartHost, sources: list[str], state: str) -> list[RunningHost]:
    """A host for each source, all started before the first is waited for."""
    hosts = [start_host(text, state=None) for text in sources]
    return [host.wait(state) for host in hosts]


VIOLATIONS = [
    ("def load(self): pass", "must have a `predict` or `websocket` method"),
    ("def predict(self, x): pass\nasync def websocket(self, w): pass", "cannot have both"),
    ("def postprocess(self, x): pass\nasync def websocket(self, w): pass", "cannot have both"),
    ("def websocket(self, w): pass", "must be async"),
    ("async def websocket(self, w, request: Request): pass", "only one argument"),
    ("def predict(self, x, temperature=0.5): pass", "must have request as second argument"),
    ("def predict(self, x, y, z): pass", "more than two arguments"),
    ("def predict(self, r: Request, x): pass", "request must be second"),
    ("def predict(self, r: Request): pass\ndef preprocess(self, x): pass", "discarded"),
    ("def predict(self, x): pass\ndef postprocess(self, r: Request): pass", "discarded"),
    ("def predict(self, x): pass\ndef is_healthy(self, x): pass", "only one argument: `self`"),
    (
        "def predict(self, x): pass\ndef embeddings(self, x, y): pass",
        "`embeddings` method with two",
    ),
]


@pytest.mark.kingpost_only("it reads the methods in this process")
@pytest.mark.parametrize(("body", "message"), VIOLATIONS)
def test_violations_are_found(body: str, message: str) -> None:
    with pytest.raises(ModelDefinitionError, match=re.escape(message)):
        methods(body)


def test_violations_fail_the_load(start_host: StartHost, request: pytest.FixtureRequest) -> None:
    """Each in a host of its own; in `make test` only the first two, since all raise the same exception there."""
    compares = request.config.getoption("--server")
    violations = VIOLATIONS if compares else VIOLATIONS[: repeated(2, len(VIOLATIONS))]
    hosts = at_once(start_host, [source(body) for body, _ in violations], "failed")
    for (body, message), host in zip(violations, hosts, strict=True):
        assert "ModelDefinitionError: " in host.text(), body
        assert message in host.text(), body


@pytest.mark.kingpost_only("batching")
def test_a_batch_takes_the_list_of_inputs_only() -> None:
    with pytest.raises(ModelDefinitionError, match="only one argument, the list of inputs"):
        methods("def predict_batch(self, a, request): pass")


TAKES = [
    ("def predict(self): return 'nothing'", "nothing"),
    ("def predict(self, x): return x", "in"),
    ("def predict(self, request): return request", "in"),
    ("def predict(self, x: 'Request'): return x", "in"),
    ("def predict(self, x: Request): return x.method", "POST"),
    ("def predict(self, x, y: Request): return [x, y.method]", ["in", "POST"]),
    ("def predict(self, x: List[int], y: Request): return [x, y.method]", ["in", "POST"]),
    ("@staticmethod\ndef predict(x): return x", "in"),
    ("@classmethod\nasync def predict(cls, x): return x", "in"),
]


def test_what_a_method_takes(start_host: StartHost) -> None:
    hosts = at_once(start_host, [source(body) for body, _ in TAKES], "ready")
    for (body, result), host in zip(TAKES, hosts, strict=True):
        assert host.predict("in").json() == result, body


OUTPUTS: list[tuple[str, tuple[str | None, bool | None] | None]] = [
    ("-> Out", ("Out", False)),
    ("-> Awaitable[Out]", ("Out", False)),
    ("-> Iterator[str]", (None, True)),
    ("-> Union[Awaitable[Out], AsyncGenerator]", ("Out", True)),
    ("-> Out | Generator[str, None, None]", ("Out", True)),  # typing makes it a Union
    ("-> Out | collections.abc.Generator[str, None, None]", None),  # this is none
    ("-> Optional[Out]", None),
    ("-> Union[Out, str]", None),
    ("-> list[Out]", None),
]


def test_the_schema_of_what_comes_out(start_host: StartHost) -> None:
    prelude = (
        PRELUDE + "import collections.abc, pydantic\nclass Out(pydantic.BaseModel):\n    a: int\n"
    )
    sources = [source(f"def predict(self, x) {text}: pass", prelude) for text, _ in OUTPUTS]
    for (text, expected), host in zip(OUTPUTS, at_once(start_host, sources, "ready"), strict=True):
        answer = host.http.get("/v1/models/model/schema")
        if expected is None:
            assert (answer.status_code, answer.json()) == (404, {"error": "No schema found"}), text
            continue
        schema = answer.json()
        title = schema["output_schema"] and schema["output_schema"]["title"]
        assert (title, schema["supports_streaming"]) == expected, text
        assert schema["input_schema"] is None


def test_annotations_that_are_texts_declare_nothing(start_host: StartHost) -> None:
    body = """
        import pydantic
        class In(pydantic.BaseModel):
            name: str
        def predict(self, x: In) -> In:
            return type(x).__name__
    """
    host = start_host(source(body, LATE_ANNOTATIONS + PRELUDE))
    assert host.predict({"other": 1}).json() == "dict"
    assert host.http.get("/v1/models/model/schema").status_code == 404


V1 = """
from fastapi import Request
class Model:
    def predict(self, model_input):
        return "predict"
    def preprocess(self, model_input):
        return "preprocessed"
    def chat_completions(self, model_input, request: Request):
        return ["chat", model_input, request.url.path]
    async def completions(self, model_input):
        for word in ("a", "b"):
            yield word
    async def messages(self, model_input):
        return "messages"
    def responses(self):
        raise ValueError("private")
"""


def test_v1_methods_have_their_routes(start_host: StartHost) -> None:
    host = start_host(V1)

    def post(route: str, **how: Any) -> Any:
        return host.http.post(f"/v1/{route}", json=1, **how)

    assert post("chat/completions").json() == ["chat", 1, "/v1/chat/completions"]
    assert post("messages").json() == "messages"
    assert post("completions").text == "ab"
    wants_json = {"accept": "application/json"}
    assert post("completions", headers=wants_json).json() == "ab"
    missing = post("embeddings")
    assert missing.status_code == 404
    assert missing.json() == {"error": "`embeddings` must only be called if model has it."}
    assert missing.headers["x-baseten-error-code"] == "700"
    failed = post("responses")
    assert failed.json() == {"error": "Internal Server Error (in model/chainlet)."}
    assert "private" not in failed.text
    assert "ValueError: private" in host.text()
    assert host.http.get("/v1/completions").status_code == 405
    assert host.http.post("/v1/messages", content=b"{").status_code == 400


@pytest.mark.kingpost_only("jobs")
def test_v1_methods_run_as_jobs(start_host: StartHost) -> None:
    host = start_host(V1)
    chat = host.job(1, headers={"x-kingpost-path": "/v1/chat/completions"})
    assert chat.json() == ["chat", 1, "/v1/chat/completions"]
    words = host.job(1, headers={"x-kingpost-path": "/v1/completions"})
    assert (words.output, words.head.text) == ([b"a", b"b"], True)
    assert host.job(1, headers={"x-kingpost-path": "/v1/embeddings"}).status_code == 404


MORE = """
class Model:
    def predict(self, model_input):
        return "predict"
    def rerank(self, body):
        return [len(text) for text in body["documents"]]
    def images_generations(self, body, top, crop, scale):
        return "a helper of the author's, of whatever signature"
    def audio_speech(self, body):
        return b"RIFF" + body["input"].encode()
    async def audio_transcriptions(self, form):
        sound = await form["file"].read()
        return {"text": sound.decode(), "name": form["file"].filename, "kind": form["file"].content_type,
                "language": form["language"], "grains": form["timestamp_granularities"]}
    def audio_translations(self, form):
        return (word for word in ("a", "b"))
"""


@pytest.mark.kingpost_only("routes that Truss's server has not")
def test_issue_17_7_further_methods_of_openai_s_api(start_host: StartHost) -> None:
    host = start_host(MORE)
    asked = {"documents": ["a", "bb"], "query": "x"}
    assert host.http.post("/v1/rerank", json=asked).json() == [1, 2]
    assert host.http.post("/v1/images/generations", json={}).status_code == 404
    said = host.http.post("/v1/audio/speech", json={"input": "x", "response_format": "wav"})
    assert (said.content, said.headers["content-type"]) == (b"RIFFx", "audio/wav")
    form = {"language": "en", "timestamp_granularities[]": ["word", "segment"]}
    file = {"file": ("a.wav", b"hello", "audio/wav")}
    heard = host.http.post("/v1/audio/transcriptions", data=form, files=file)
    assert heard.json() == {
        "text": "hello",
        "name": "a.wav",
        "kind": "audio/wav",
        "language": "en",
        "grains": ["word", "segment"],
    }
    wants_json = {"accept": "application/json"}
    streamed = host.http.post(
        "/v1/audio/translations", data={"stream": "true"}, files=file, headers=wants_json
    )
    assert streamed.text == "ab"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    broken = host.http.post("/v1/audio/transcriptions", content=b"nothing", headers=kind)
    assert broken.status_code == 400 and "Invalid form" in broken.json()["error"]
