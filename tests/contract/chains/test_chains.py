"""Chains through the whole stack: contract.md 4 and 1.12."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.sync.client import ClientConnection, connect

from cli.log_lines import LogFolder, Wanted, message_of
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.chains.conftest import Stack

pytestmark = pytest.mark.stack

RUN = "/chains/orders/production/run_remote"
SUBMIT = "/chains/orders/production/async_run_remote"
CHAINS = {
    "orders": {"orders", "orders.worker-1", "orders.Counter"},
    "letters": {"Letters", "Letters.Spell"},
    "mirror": {"the mirror", "the mirror.Glass"},
    "limits": {"limits", "limits.Narrow", "limits.Wide"},
}


def order(name: str, **more: Any) -> dict[str, Any]:
    return {"item": {"name": name, "times": 2}, **more}


def submitted(http: httpx.Client, body: object) -> str:
    answer = http.post(SUBMIT, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["request_id"]


def finished(http: httpx.Client, request_id: str) -> dict[str, Any]:
    return http.get(f"/async_request/{request_id}?wait=30").json()


# -- 4: deployment


def test_every_chainlet_has_a_host_of_its_own_or_shares_one(stack: Stack) -> None:
    pids = stack.replica_pids()
    assert set(pids) == set.union(*CHAINS.values())
    processes = 0
    for chain, names in CHAINS.items():
        count = 1 if chain in stack.together else len(names)
        assert len({pids[name] for name in names}) == count
        processes += count
    assert len({pid for pair in pids.values() for pid in pair}) == 2 * processes


def test_only_the_chains_themselves_are_listed(stack: Stack, http: httpx.Client) -> None:
    listed = {model["id"] for model in http.get("/v1/models").json()["data"]}
    assert listed == {"orders", "Letters", "the mirror", "limits"}
    (shown,) = [line for line in stack.said.splitlines() if line.startswith("  Models ")]
    assert shown.split(maxsplit=1)[1] == "Letters, limits, the mirror, orders"
    kinds = {name: stack.deployment(name).kind for name in CHAINS["orders"]}
    expected = {"orders": "chain", "orders.worker-1": "chainlet", "orders.Counter": "chainlet"}
    assert kinds == expected


def test_the_key_of_chainlets_may_only_infer(stack: Stack) -> None:
    file = stack.state / "chain_api_key"
    assert file.stat().st_mode & 0o777 == 0o600
    scopes = {key.name: key.scope for key in ApiKeys(stack.settings).list()}
    assert scopes["chains"] == "inference"
    log = "".join(path.read_text() for path in (stack.state / "logs").iterdir())
    assert file.read_text().strip() not in log


# -- 1.12: run_remote, async_run_remote, addressing


def test_a_chain_is_addressed_by_its_entrypoints_name_too(http: httpx.Client) -> None:
    by_entrypoint = http.get("/chains/Orders/production/async_queue_status")
    by_name = http.get("/chains/orders/production/async_queue_status")
    assert by_entrypoint.status_code == 200
    assert by_entrypoint.json()["deployment_id"] == by_name.json()["deployment_id"]
    assert http.get("/chains/Worker/production/async_queue_status").status_code == 404


def test_arguments_go_in_by_name_and_the_tuple_comes_out_as_an_array(http: httpx.Client) -> None:
    answer = http.post(RUN, json=order("tea", note="hi"))
    assert answer.status_code == 200, answer.text
    done, note, counted = answer.json()
    assert (done["words"], note, counted) == (["TEA", "TEA"], "hi", [])


def test_an_argument_that_is_not_given_takes_the_default_and_null_is_none(
    http: httpx.Client,
) -> None:
    assert http.post(RUN, json=order("tea")).json()[1] == "default"
    assert http.post(RUN, json=order("tea", note=None)).json()[1] == "None"


@pytest.mark.parametrize(
    "body", [{}, {"item": {"times": 1}}, {"item": {"name": "a", "times": "x"}}]
)
def test_wrong_arguments_are_400_and_say_which(http: httpx.Client, body: object) -> None:
    answer = http.post(RUN, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Input Parsing Error:\n  `item")


def test_by_name_by_id_and_by_the_host_header(stack: Stack, http: httpx.Client) -> None:
    chain_id = stack.deployment("orders").model_id
    assert len(chain_id) == 8
    host = {"Host": f"chain-{chain_id}.api.example.com"}
    regional = {"Host": f"chain-{chain_id}-production.api.example.com"}
    for path, headers in [
        (RUN, {}),
        (f"/chains/{chain_id}/production/run_remote", {}),
        ("/environments/production/run_remote", host),
        ("/run_remote", regional),
    ]:
        answer = http.post(path, json=order("tea"), headers=headers)
        assert answer.json()[0]["words"] == ["TEA", "TEA"], (path, answer.text)


@pytest.mark.parametrize("envelope", [True, False])
def test_async_run_remote_takes_the_envelope_or_bare_arguments(
    stack: Stack, http: httpx.Client, envelope: bool
) -> None:
    given = order("tea")
    request_id = submitted(http, {"model_input": given, "priority": 1} if envelope else given)
    status = finished(http, request_id)
    assert status["status"] == "SUCCEEDED", status
    assert status["chain_id"] == stack.deployment("orders").model_id
    assert "model_id" not in status
    result = http.get(f"/async_request/{request_id}/result").json()
    assert result[0]["words"] == ["TEA", "TEA"]
    assert result[0]["seen_ids"] == [request_id]  # the chainlet below knows whose run it is


def test_a_chainlet_that_is_called_by_its_name_may_be_queued_too(http: httpx.Client) -> None:
    body = {"name": "by name", "failures": 0, "seconds": 0.0}
    path = "/chains/orders.Counter/production/async_run_remote"
    request_id = http.post(path, json=body).json()["request_id"]
    assert finished(http, request_id)["status"] == "SUCCEEDED"
    assert http.get(f"/async_request/{request_id}/result").json()["calls"] == 1


def test_only_the_entrypoint_is_queued(stack: Stack, http: httpx.Client) -> None:
    before = len(http.get("/async_requests").json()["requests"])
    finished(http, submitted(http, order("tea", parallel=2)))
    assert len(http.get("/async_requests").json()["requests"]) == before + 1


def test_a_sync_run_has_one_chain_request_id(http: httpx.Client) -> None:
    answer = http.post(RUN, json=order("tea"))
    assert answer.json()[0]["seen_ids"] == [answer.headers["x-baseten-request-id"]]


# -- 4: errors


def test_an_exception_keeps_its_class_over_the_call(http: httpx.Client) -> None:
    done, message, _ = http.post(RUN, json=order("tea", problem="caught")).json()
    assert done["words"] == ["ValueError"]
    assert "tea is no good" in message


def test_an_exception_that_nobody_catches_is_a_500_with_its_details(http: httpx.Client) -> None:
    answer = http.post(RUN, json=order("tea", problem="value"))
    error = answer.json()["error"]
    assert answer.status_code == 500
    assert error["exception_cls_name"] == "ValueError"
    assert error["exception_module_name"] is None
    assert "worker-1" in error["exception_message"] or "Worker" in error["exception_message"]
    assert error["exception_message"].splitlines()[-1].endswith("ValueError: tea is no good")
    frames = [(frame["name"], frame["line"]) for frame in error["user_stack_trace"]]
    assert ("run_remote", "done = await self._worker.run_remote(item, problem)") in frames


def test_the_status_of_an_http_exception_reaches_the_outside(http: httpx.Client) -> None:
    answer = http.post(RUN, json=order("tea", problem="teapot"))
    assert answer.status_code == 422
    assert answer.json()["error"]["exception_cls_name"] == "HTTPException"
    assert "tea is unprocessable" in answer.text


def test_a_queued_run_fails_with_the_code_of_that_status(http: httpx.Client) -> None:
    status = finished(http, submitted(http, order("tea", problem="teapot")))
    assert (status["status"], status["attempt"]) == ("FAILED", 1)
    assert [error["code"] for error in status["errors"]] == ["MODEL_INVALID_INPUT"]


# -- 4: retries, timeout, concurrency limit


def test_retries_count_all_attempts(http: httpx.Client) -> None:
    (counted,) = http.post(RUN, json=order("twice", failures=2, parallel=1)).json()[2]
    assert counted["calls"] == 3
    answer = http.post(RUN, json=order("thrice", failures=3, parallel=1))
    assert answer.status_code == 500
    assert answer.json()["error"]["exception_cls_name"] == "ConnectionError"
    assert "failure 3 of thrice" in answer.text


def test_the_concurrency_limit_of_a_dependency_holds(http: httpx.Client) -> None:
    counted = http.post(RUN, json=order("many", seconds=0.1, parallel=8)).json()[2]
    assert len(counted) == 8
    assert max(counts["most_at_once"] for counts in counted) == 2


@pytest.mark.parametrize(("which", "slots"), [("narrow", 1), ("wide", 3)])
def test_every_chainlet_has_slots_of_its_own(http: httpx.Client, which: str, slots: int) -> None:
    path = "/chains/limits/production/run_remote"
    assert max(http.post(path, json={"which": which, "calls": 9}).json()) == slots


def test_a_dependency_that_takes_too_long_is_a_timeout_error(http: httpx.Client) -> None:
    answer = http.post(RUN, json=order("slow", seconds=20.0, parallel=1))
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["exception_cls_name"] == "TimeoutError"
    assert "1.5 seconds limit" in error["exception_message"]


# -- 4: streaming and websocket entrypoints


def test_a_streaming_entrypoint_streams_what_its_dependency_streams(http: httpx.Client) -> None:
    path = "/chains/Letters/production/run_remote"
    with http.stream("POST", path, json={"word": "kingpost"}) as answer:
        assert answer.headers["content-type"] == "application/octet-stream"
        assert "".join(answer.iter_text()) == "[kingpost]"


def test_a_queued_run_of_a_streaming_chain_keeps_the_joined_text(http: httpx.Client) -> None:
    body = {"model_input": {"word": "abc"}}
    answer = http.post("/chains/Letters/production/async_run_remote", json=body)
    request_id = answer.json()["request_id"]
    assert finished(http, request_id)["status"] == "SUCCEEDED"
    assert http.get(f"/async_request/{request_id}/result").text == "[abc]"


def mirror(stack: Stack) -> ClientConnection:
    url = stack.url.replace("http://", "ws://") + "/chains/the%20mirror/production/websocket"
    return connect(
        url, additional_headers={"Authorization": f"Api-Key {stack.key}"}, open_timeout=60
    )


def test_a_websocket_entrypoint_talks_and_closes_with_1000(stack: Stack) -> None:
    with mirror(stack) as socket:
        socket.send("abc")
        assert socket.recv(10) == "cba"
        socket.send("bye")
        with pytest.raises(ConnectionClosedOK):
            socket.recv(10)
        assert socket.close_code == 1000


def test_an_exception_in_a_websocket_entrypoint_closes_with_1011(stack: Stack) -> None:
    with mirror(stack) as socket:
        socket.send("break")
        with pytest.raises(ConnectionClosedError):
            socket.recv(10)
        assert socket.close_code == 1011


# -- logs


def test_a_line_says_which_chainlet_wrote_it(stack: Stack, http: httpx.Client) -> None:
    answer = http.post("/chains/Letters/production/run_remote", json={"word": "logged"})
    run = answer.headers["x-baseten-request-id"]
    lines = {
        message_of(line)
        for line in LogFolder(stack.state / "logs", Wanted("Letters.Spell")).past(200)
    }
    assert {"Spell is made", "spelt logged"} <= lines
    of_the_run = LogFolder(stack.state / "logs", Wanted(run)).past(9)
    assert "spelt logged" in {message_of(line) for line in of_the_run}
    entrypoint = LogFolder(stack.state / "logs", Wanted("Letters")).past(200)
    assert "spelt logged" not in {message_of(line) for line in entrypoint if line not in of_the_run}


# -- webhooks


def test_a_chain_s_webhook_has_the_chain_id_last(stack: Stack, http: httpx.Client) -> None:
    received: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        request_id = submitted(http, {"model_input": order("tea"), "webhook_endpoint": url})
        wait_until(lambda: received, 30, "no webhook came")
        server.shutdown()
    body = json.loads(received[0])
    assert list(body)[-2:] == ["errors", "chain_id"]
    assert body["request_id"] == request_id
    assert body["model_id"] == body["chain_id"] == stack.deployment("orders").model_id


# -- traces


def test_the_calls_of_a_chain_are_one_trace_each_under_the_stage_that_makes_it(
    stack: Stack, http: httpx.Client
) -> None:
    trace = f"{0xC4A1:032x}"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert http.post(RUN, json=order("tea", parallel=1), headers=headers).status_code == 200
    # Of each of the three chainlets the HTTP request and its predict.
    wait_until(lambda: len(stack.collector.of(trace)) >= 6, 30)
    spans = stack.collector.of(trace)
    by_id = {span.id: span for span in spans}
    route = "POST /{target}/run_remote"
    found = sorted((s.name, by_id[s.parent].name if s.parent in by_id else s.parent) for s in spans)
    assert found == [
        (route, "00f067aa0ba902b7"),
        (route, "predict"),
        (route, "predict"),
        ("predict", route),
        ("predict", route),
        ("predict", route),
    ]
    entrance = next(span for span in spans if span.parent == "00f067aa0ba902b7")
    (first,) = (span for span in spans if span.parent == entrance.id)
    callers = {span.parent for span in spans if span.name == route} - {entrance.parent}
    assert callers == {first.id}
