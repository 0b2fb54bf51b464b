"""Clients report an error of Kingpost as they report OpenAI's own: the same class, status, code, type and param, with our message.

OpenAI's answers are those of its error guide. A small server says them, each client asks both servers, and its two reports are compared.
"""

import contextlib
import fcntl
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI

from tests.contract.api.conftest import KEY, ROOT, Live
from tests.contract.js.run import said_by

LITELLM = "1.110.2"
TOO_LONG = {
    "message": "This model's maximum context length is 8192 tokens.",
    "type": "invalid_request_error",
    "param": "messages",
    "code": "context_length_exceeded",
}
TOO_MANY = {
    "message": "Rate limit reached for requests.",
    "type": "requests",
    "param": None,
    "code": "rate_limit_exceeded",
}
BUSY = {
    "message": "The engine is overloaded.",
    "type": "server_error",
    "param": None,
    "code": "overloaded",
}
ASKED: dict[str, dict[str, Any]] = {
    "wrong key": {"key": "wrong", "model": "talker"},
    "unknown model": {"key": KEY, "model": "nobody"},
    "a model's own": {"key": KEY, "model": "talker", "raise": [400, {"error": TOO_LONG}]},
    "too many": {"key": KEY, "model": "talker", "raise": [429, TOO_MANY]},
    "busy": {"key": KEY, "model": "talker", "raise": [503, BUSY]},
}
OPENAI_S: dict[str, tuple[int, dict[str, Any]]] = {
    "wrong key": (
        401,
        {
            "message": "Incorrect API key provided: wrong.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        },
    ),
    "unknown model": (
        404,
        {
            "message": "The model `nobody` does not exist or you do not have access to it.",
            "type": "invalid_request_error",
            "param": None,
            "code": "model_not_found",
        },
    ),
    "a model's own": (400, TOO_LONG),
    "too many": (429, TOO_MANY),
    "busy": (503, BUSY),
}
Reports = dict[str, dict[str, dict[str, Any]]]  # client -> case -> what a program reads


class OpenAI(BaseHTTPRequestHandler):
    """OpenAI's errors."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        case = next(
            name for name, asked in ASKED.items() if asked.get("raise") == body.get("raise")
        )
        if "raise" not in body:
            case = "unknown model" if body["model"] == "nobody" else "wrong key"
        status, error = OPENAI_S[case]
        said = json.dumps({"error": error}).encode()
        self.send_response(status)
        for name, value in (
            ("content-type", "application/json"),
            ("content-length", str(len(said))),
            ("x-request-id", "req_1"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def openai_s() -> Iterator[str]:
    """The address of a server that answers as OpenAI's does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OpenAI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def compare(live: Live, openai_s: str, reports: Callable[[str], Reports]) -> None:
    """Asks both servers by the same clients."""
    ours, theirs = told(live.url, reports), told(openai_s, reports)
    assert ours.keys() == theirs.keys()
    for name, cases in ours.items():
        for case, report in cases.items():
            assert report == theirs[name][case], (name, case)


def told(url: str, reports: Callable[[str], Reports]) -> Reports:
    """The reports, with a word for the server's message, which each of them has to have."""
    found = reports(url)
    assert found
    for cases in found.values():
        assert cases.keys() == ASKED.keys()
        for case, report in cases.items():
            said = message_of(url, case)
            assert said in report["message"], (case, report)
            report["message"] = report["message"].replace(said, "MESSAGE")
            if "id" in report:
                assert report.pop("id")
    return found


def message_of(url: str, case: str) -> str:
    """What that server says in that case."""
    asked = dict(ASKED[case])
    headers = {"authorization": f"Bearer {asked.pop('key')}"}
    answer = httpx.post(f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=30)
    return answer.json()["error"]["message"]


def test_openai_and_langchain(live: Live, openai_s: str) -> None:
    def read(call: Callable[[], object]) -> dict[str, Any]:
        with pytest.raises(openai.APIStatusError) as refused:
            call()
        error = refused.value
        said = {name: getattr(error, name) for name in ("code", "type", "param", "message")}
        kind = {"kind": type(error).__name__, "status": error.status_code}
        return {**kind, **said, "id": error.request_id}

    def by_openai(url: str, asked: dict[str, Any]) -> dict[str, Any]:
        client = openai.OpenAI(api_key=asked["key"], base_url=f"{url}/v1", max_retries=0)
        more: Any = {"messages": [{"role": "user", "content": "Hi"}], "extra_body": more_of(asked)}
        return read(lambda: client.chat.completions.create(model=asked["model"], **more))

    def chat(url: str, asked: dict[str, Any]) -> ChatOpenAI:
        how: Any = {"api_key": asked["key"], "base_url": f"{url}/v1", "max_retries": 0}
        return ChatOpenAI(model=asked["model"], **how, extra_body=more_of(asked))

    def reports(url: str) -> Reports:
        clients: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "openai": lambda asked: by_openai(url, asked),
            "langchain": lambda asked: read(lambda: chat(url, asked).invoke("Hi")),
            "langchain stream": lambda asked: read(lambda: list(chat(url, asked).stream("Hi"))),
        }
        return {
            name: {case: ask(asked) for case, asked in ASKED.items()}
            for name, ask in clients.items()
        }

    compare(live, openai_s, reports)


def more_of(asked: dict[str, Any]) -> dict[str, Any]:
    return {"raise": asked["raise"]} if "raise" in asked else {}


def test_openai_and_ai_of_javascript(live: Live, openai_s: str) -> None:
    compare(live, openai_s, lambda url: said_by("errors.mjs", url, json.dumps(ASKED)))


@pytest.mark.slow
def test_litellm(live: Live, openai_s: str) -> None:
    python, program = litellm_s_python(), Path(__file__).with_name("litellm_errors.py")

    def reports(url: str) -> Reports:
        done = subprocess.run(
            [str(python), str(program), url, json.dumps(ASKED)],
            env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENAI_API_KEY": ""},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    compare(live, openai_s, reports)


def litellm_s_python() -> Path:
    """The Python of an environment with LiteLLM, 250 MB of its own: it needs other versions than ours. Kept under build/."""
    folder = ROOT / "build" / f"litellm-{LITELLM}"
    folder.parent.mkdir(exist_ok=True)
    with held(folder.with_suffix(".lock")):
        if not (folder / ".ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            install = ["-m", "pip", "install", "-q", "--no-compile", f"litellm=={LITELLM}"]
            done = subprocess.run([str(folder / "bin" / "python"), *install], capture_output=True)
            assert done.returncode == 0, done.stderr[-2000:]
            (folder / ".ready").touch()
    return folder / "bin" / "python"


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
