"""One call through every door: sync, async, result, events, webhook; and whether they say the same."""

import base64
import io
import json
import pickle
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from pydantic_core import from_json, to_json

from tasks.outside_text import utf8, utf8_bytes
from tests.conditions import wait_until
from tests.contract.agreement.cases import Case

BINARY = "application/octet-stream"
MODEL_ERROR = "Internal Server Error (in model/chainlet)."
SHOWN = 1000  # characters of an error


class Hooks:
    """A receiver of webhooks: the last body of each request."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                bodies[self.headers["x-baseten-request-id"]] = body
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?sig=ab%2Fcd%2B"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Seen:
    """What the doors answered."""

    sync: httpx.Response
    status: dict[str, Any]
    result: httpx.Response
    events: list[tuple[str, str]]
    webhook: dict[str, Any]


def order(case: Case) -> str:
    return base64.b64encode(pickle.dumps(case.__dict__)).decode()


def submit(client: httpx.Client, cases: list[Case], url: str) -> list[str]:
    """Queues them all at once; their ids."""
    bodies = [
        {
            "model_input": order(case),
            "webhook_endpoint": url,
            "inference_retry_config": {"max_attempts": 1},
        }
        for case in cases
    ]
    answer = client.post("/production/async_predict_batch", json=bodies)
    assert answer.status_code == 201, answer.text
    return answer.json()["request_ids"]


def see(client: httpx.Client, hooks: Hooks, case: Case, request_id: str) -> Seen:
    """Asks at every door."""
    sync = client.post("/production/predict", json=order(case))
    status: dict[str, Any] = {}

    def is_final() -> bool:
        status.update(client.get(f"/async_request/{request_id}", params={"wait": 20}).json())
        return status["status"] not in ("QUEUED", "IN_PROGRESS")

    wait_until(is_final, 120)
    result = client.get(f"/async_request/{request_id}/result")
    events = parsed(client.get(f"/async_request/{request_id}/events").content)
    wait_until(lambda: request_id in hooks.bodies, 120, "the webhook did not come")
    return Seen(sync, status, result, events, json.loads(hooks.bodies[request_id]))


def parsed(stream: bytes) -> list[tuple[str, str]]:
    """Events as WHATWG HTML 9.2 reads them: kind and data."""
    found: list[tuple[str, str]] = []
    kind, data = "", []
    for raw in io.TextIOWrapper(io.BytesIO(stream), "utf-8", newline=None):
        name, _, value = raw.removesuffix("\n").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif not name and not value:
            found.append((kind, "\n".join(data)))
            kind, data = "", []
    return found


def disagreements(case: Case, seen: Seen) -> list[str]:
    """What does not agree, in words; empty when everything does."""
    wrong: list[str] = []

    def same(what: str, ours: object, other: object) -> None:
        if ours != other:
            wrong.append(f"{what}: {ours!r:.200} is not {other!r:.200}")

    kinds = [kind for kind, _ in seen.events]
    same("last events", kinds[-2:], ["status", "done"])
    same("number of ends", kinds.count("done"), 1)
    same("attempts", seen.status["attempt"], 1)
    said = case.progress and utf8(case.progress)
    same("progress in status", seen.status["progress"]["message"], said or None)
    told = [json.loads(data)["message"] for kind, data in seen.events if kind == "progress"]
    same("progress in events", told[-1], said or "")
    errors = seen.status["errors"]
    same("errors of webhook", seen.webhook["errors"], errors)
    if case.kind in ("error", "refusal"):
        _failed(case, seen, errors, same)
    else:
        _succeeded(case, seen, same)
    return wrong


def _failed(case: Case, seen: Seen, errors: list[Any], same: Any) -> None:
    status = 500 if case.kind == "error" else 422
    same("status", (seen.sync.status_code, seen.status["status"]), (status, "FAILED"))
    same("result", seen.result.status_code, 410)
    if case.kind == "refusal":
        same("sync error", seen.sync.json()["error"], utf8(case.said))
        # What FastAPI says for an empty detail is the model's, too.
        wanted = utf8(case.said)[:SHOWN] or "The model answered with status 422."
        same("async error", errors[-1]["message"], wanted)
        return
    same("sync error", seen.sync.json()["error"], MODEL_ERROR)
    raised = f"ValueError: {case.said[:SHOWN]}" if case.said else "ValueError"
    headline = utf8(raised)[:SHOWN]  # all of an error is cut at 4 KB
    same("async error", errors[-1]["message"][: len(headline)], headline)


def _succeeded(case: Case, seen: Seen, same: Any) -> None:
    same("status", (seen.sync.status_code, seen.status["status"]), (200, "SUCCEEDED"))
    same("result", seen.result.content, seen.sync.content)
    kind = seen.result.headers["content-type"]
    if case.kind == "chunks":
        chunks = [chunk if isinstance(chunk, bytes) else utf8_bytes(chunk) for chunk in case.said]
        same("stream", seen.sync.content, b"".join(chunks))
        is_text = all(isinstance(chunk, str) for chunk in case.said)
        same("type", kind, "text/plain; charset=utf-8" if is_text else BINARY)
        shown = "".join(data for name, data in seen.events if name == "output")
        same("events", shown, _as_events(b"".join(chunks)))
    else:
        same("type", kind, seen.sync.headers["content-type"])
    data, beside = _webhook_data(seen.sync.content, kind)
    same("webhook", (seen.webhook["data"], seen.webhook.get("content_type")), (data, beside))


def _as_events(output: bytes) -> str:
    return io.TextIOWrapper(io.BytesIO(output), "utf-8", "replace", newline=None).read()


def _webhook_data(output: bytes, kind: str) -> tuple[Any, str | None]:
    if kind.startswith("application/json"):
        try:
            value = from_json(output)
            from_json(b"[" + output + b"]")
        except ValueError:
            pass
        else:
            return json.loads(to_json(value, inf_nan_mode="null")), None
    try:
        return output.decode(), kind
    except UnicodeDecodeError:
        return base64.b64encode(output).decode(), kind
