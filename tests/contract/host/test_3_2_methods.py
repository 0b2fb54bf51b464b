"""contract 3.2 and 3.4: the method set, signature rules and the /v1 methods."""

import textwrap
from typing import Any

import pytest

from tests.contract.host.conftest import StartHost
from workers.host_errors import ModelDefinitionError
from workers.model_methods import Methods

PRELUDE = "from __future__ import annotations\nfrom fastapi import Request\nfrom typing import *\n"


def methods(body: str, prelude: str = PRELUDE) -> Methods:
    space: dict[str, Any] = {}
    source = prelude + "class Model:\n" + textwrap.indent(textwrap.dedent(body), "    ")
    exec(source, space)
    return Methods.of(space["Model"]())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def load(self): pass", "must have a `predict` or `websocket` method"),
        ("def predict(self, x): pass\nasync def websocket(self, w): pass", "cannot have both"),
        ("def postprocess(self, x): pass\nasync def websocket(self, w): pass", "cannot have both"),
        ("def websocket(self, w): pass", "must be async"),
        ("async def websocket(self, w, request: Request): pass", "only one argument"),
        ("def predict(self, x, temperature=0.5): pass", "must have request as second argument"),
        ("def predict(self, x, y, z): pass", "more than two arguments"),
        ("def predict(self, r: Request, x): pass", "request must be second"),
        (
            "def predict(self, r: Request): pass\ndef preprocess(self, x): pass",
            "would be discarded",
        ),
        ("def predict(self, x): pass\ndef postprocess(self, r: Request): pass", "be discarded"),
        ("def predict(self, x): pass\ndef is_healthy(self, x): pass", "only one argument: `self`"),
        ("def predict_batch(self, a, request): pass", "only one argument, the list of inputs"),
    ],
)
def test_3_2_violations_are_refused(body: str, message: str) -> None:
    for prelude in (PRELUDE, PRELUDE.split("\n", 1)[1]):  # annotations as texts and as types
        with pytest.raises(ModelDefinitionError, match=message):
            methods(body, prelude)


@pytest.mark.parametrize(
    ("body", "takes"),
    [
        ("def predict(self): pass", "nothing"),
        ("def predict(self, x): pass", "inputs"),
        ("def predict(self, request): pass", "inputs"),
        ("def predict(self, x: Request): pass", "request"),
        ("def predict(self, x, y: Request): pass", "both"),
        ("def predict(self, x: list[int], request): pass", "both"),
    ],
)
def test_3_2_what_a_method_takes(body: str, takes: str) -> None:
    predict = methods(body).predict
    assert predict
    assert predict.takes.value == takes


def test_3_2_a_violation_fails_the_load(start_host: StartHost) -> None:
    host = start_host("class Model:\n    def predict(self, x, y=1): pass", state="failed")
    assert host.state()["error"]["message"].startswith("ModelDefinitionError: `predict` method")


V1 = """
class Model:
    def chat_completions(self, model_input, request):
        return ["chat", model_input, request.url.path]
    async def completions(self, model_input):
        for word in ("a", "b"):
            yield word
    async def messages(self, model_input):
        return "messages"
    def responses(self):
        raise ValueError("private")
"""


def test_3_4_a_model_with_only_v1_methods_is_served(start_host: StartHost) -> None:
    host = start_host(V1)

    def post(route: str, value: object = 1) -> Any:
        return host.http.post(f"/v1/{route}", json=value)

    assert post("chat/completions").json() == ["chat", 1, "/v1/chat/completions"]
    assert post("messages").json() == "messages"
    assert post("completions").text == "ab"
    missing = post("embeddings")
    assert missing.status_code == 404
    assert missing.json() == {"error": "`embeddings` must only be called if model has it."}
    assert missing.headers["x-baseten-error-code"] == "700"
    failed = post("responses")
    assert failed.json() == {"error": "Internal Server Error (in model/chainlet)."}
    assert "private" not in failed.text
    assert "ValueError: private" in host.text()
    assert host.http.get("/v1/completions").status_code == 405


def test_3_4_v1_methods_run_as_jobs(start_host: StartHost) -> None:
    host = start_host(V1)
    chat = host.job(1, headers={"x-kingpost-path": "/v1/chat/completions"})
    assert chat.json() == ["chat", 1, "/v1/chat/completions"]
    words = host.job(1, headers={"x-kingpost-path": "/v1/completions"})
    assert (words.output, words.head["text"]) == ([b"a", b"b"], True)
    assert host.job(1, headers={"x-kingpost-path": "/v1/embeddings"}).status_code == 404
    assert host.job(1).status_code == 404  # no predict
