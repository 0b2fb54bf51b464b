"""OpenAI's Batch API by the unmodified client: files, batches, kills, cancels, and what another key sees of them."""

import http.client as http_client
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import openai
import pytest
import redis

from tasks.api_keys import Limits
from tasks.store import keys
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live

EMBEDDINGS, CHAT = "/v1/embeddings", "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def client(live: Live, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=live.url + "/v1", max_retries=0)


def line(custom_id: object, body: Any, url: str = EMBEDDINGS, **more: Any) -> str:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body, **more})


def embedding(number: int) -> str:
    return line(f"line {number}", {"model": "talker", "input": "x" * (number % 50)})


def begun(
    calls: openai.OpenAI, lines: Iterable[str], endpoint: Any = EMBEDDINGS, **how: Any
) -> Any:
    """A batch of these lines."""
    content = "\n".join(lines).encode()
    file = calls.files.create(file=("input.jsonl", content), purpose="batch")
    window: Any = how.pop("window", "24h")
    return calls.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window=window, **how
    )


def ended(calls: openai.OpenAI, batch: Any, seconds: float = 60) -> Any:
    wait_until(lambda: calls.batches.retrieve(batch.id).status in ENDED, seconds)
    return calls.batches.retrieve(batch.id)


def results(calls: openai.OpenAI, file_id: str | None) -> list[Any]:
    if file_id is None:
        return []
    return [json.loads(text) for text in calls.files.content(file_id).text.splitlines()]


def codes(calls: openai.OpenAI, batch: Any) -> Counter[str]:
    return Counter(said["error"]["code"] for said in results(calls, batch.error_file_id))


def test_a_batch_from_file_to_results(live: Live) -> None:
    calls = client(live)
    lines = [embedding(number) for number in range(3)]
    batch = begun(calls, [*lines, "", ""], metadata={"for": "a test"})
    assert (batch.object, batch.status, batch.metadata) == (
        "batch",
        "validating",
        {"for": "a test"},
    )
    assert batch.expires_at - batch.created_at == 24 * 3600
    batch = ended(calls, batch)
    assert batch.status == "completed" and batch.error_file_id is None and batch.errors is None
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    said = results(calls, batch.output_file_id)
    assert [result["custom_id"] for result in said] == ["line 0", "line 1", "line 2"]
    assert [result["error"] for result in said] == [None] * 3
    response = said[2]["response"]
    assert (response["status_code"], len(response["request_id"])) == (200, 32)
    assert response["body"]["data"][0]["embedding"] == [2.0, 0.5]
    assert response["body"]["model"] == "talker"
    file = calls.files.retrieve(batch.output_file_id)
    assert (file.purpose, file.status) == ("batch_output", "processed")
    assert batch.id in {known.id for known in calls.batches.list(limit=1)}
    with live.client() as http:  # the jobs went when their results were written
        kept = http.get(f"/async_request/{response['request_id']}")
    assert kept.status_code == 404


def test_every_line_has_one_result_however_often_maintenance_is_killed(live: Live) -> None:
    calls, count = client(live), 600
    maintenance = live.processes["maintenance"]
    batch = begun(calls, (embedding(number) for number in range(count)))

    def done() -> int:
        counts: Any = calls.batches.retrieve(batch.id).request_counts
        return counts.completed

    for least in (0, 100, 300):
        wait_until(lambda at=least: done() >= at, 60)
        maintenance.kill()
        maintenance.start()
    batch = ended(calls, batch, 120)
    assert (batch.status, batch.error_file_id) == ("completed", None)
    said = results(calls, batch.output_file_id)
    assert batch.request_counts.completed == len(said) == count
    found = {result["custom_id"]: result["response"]["body"] for result in said}
    assert set(found) == {f"line {number}" for number in range(count)}
    assert found["line 49"]["data"][0]["embedding"][0] == 49


def test_lines_that_cannot_be_run_are_errors(live: Live) -> None:
    calls = client(live)
    lines = [
        embedding(0),
        "{no JSON",
        "[1]",
        line(7, {"model": "talker"}),
        line("no model", {"input": "x"}),
        line("other", {"model": "talker"}, url="/v1/completions"),
        line("stream", {"model": "talker", "stream": True}),
        line("nobody", {"model": "nobody", "input": "x"}),
        line("no body", "text"),
        line("get", {"model": "talker"}, method="GET"),
        line("no such route", {"model": "echo", "input": "x"}),
    ]
    batch = ended(calls, begun(calls, lines))
    assert batch.status == "completed"
    assert batch.request_counts.model_dump() == {"total": 11, "completed": 1, "failed": 10}
    errors = results(calls, batch.error_file_id)
    named = {error["custom_id"]: error["error"] for error in errors if error["custom_id"]}
    assert sum(error["custom_id"] is None for error in errors) == 3
    assert "nobody" in named["nobody"]["message"]
    assert named["stream"]["message"].startswith("body.stream:")
    assert codes(calls, batch) == {"invalid_request": 9, "MODEL_DOES_NOT_EXIST": 1}


def test_what_a_model_raises_is_its_line_s_error(live: Live) -> None:
    calls = client(live)
    bad = {"model": "talker", "messages": [], "raise": [422, "too long"]}
    good = {"model": "talker", "messages": []}
    batch = begun(calls, [line("bad", bad, CHAT), line("good", good, CHAT)], CHAT)
    batch = ended(calls, batch)
    (error,) = results(calls, batch.error_file_id)
    assert error["error"] == {"code": "MODEL_INVALID_INPUT", "message": "too long"}
    (result,) = results(calls, batch.output_file_id)
    choice = result["response"]["body"]["choices"][0]
    assert choice["message"]["content"] == "Hello there"


@pytest.mark.parametrize(
    ("lines", "code", "at"),
    [
        (["", " "], "empty_file", None),
        ([embedding(1), embedding(2), embedding(1)], "duplicate_custom_id", 3),
        ([embedding(1), "x" * (9 << 20)], "line_too_long", 2),
    ],
)
def test_a_file_that_is_no_batch_is_refused_as_a_whole(
    live: Live, lines: list[str], code: str, at: int | None
) -> None:
    calls = client(live)
    batch = ended(calls, begun(calls, lines))
    assert (batch.status, batch.output_file_id) == ("failed", None)
    assert [(error.code, error.line) for error in batch.errors.data] == [(code, at)]


def late(number: int) -> str:
    """A line whose call ends only when it is stopped."""
    return line(f"late {number}", {"model": "talker", "messages": [], "late": True}, CHAT)


def running(live: Live) -> Callable[[], bool]:
    name = keys.keyed("running", live.deployment("talker").id)

    def runs() -> bool:
        with redis.Redis.from_url(live.settings.redis_url) as store:
            return bool(store.scard(name))

    return runs


def test_a_batch_that_is_cancelled_ends_with_what_there_is(live: Live) -> None:
    calls = client(live)
    good = line("good", {"model": "talker", "messages": []}, CHAT)
    batch = begun(calls, [good, *map(late, range(250))], CHAT)
    wait_until(running(live), 30)
    told = calls.batches.cancel(batch.id)
    assert told.status == "cancelling" and told.cancelling_at
    batch = ended(calls, batch)
    assert (batch.status, batch.request_counts.total) == ("cancelled", 251)
    assert [result["custom_id"] for result in results(calls, batch.output_file_id)] == ["good"]
    assert codes(calls, batch) == {"batch_cancelled": 250}
    with pytest.raises(openai.ConflictError):
        calls.batches.cancel(batch.id)
    wait_until(lambda: not running(live)(), 30)


def test_at_the_end_of_its_window_a_batch_expires(live: Live) -> None:
    calls = client(live)
    batch = begun(calls, map(late, range(120)), CHAT, window="10s")
    batch = ended(calls, batch)
    assert batch.status == "expired" and batch.expired_at >= batch.expires_at
    assert batch.request_counts.model_dump() == {"total": 120, "completed": 0, "failed": 120}
    assert codes(calls, batch) == {"batch_expired": 120}
    wait_until(lambda: not running(live)(), 30)


def test_a_key_s_limits_hold_and_a_batch_waits_for_them(live: Live) -> None:
    calls = client(live, live.new_key(scope="inference", limits=Limits(max_unfinished=7)))
    batch = ended(calls, begun(calls, map(embedding, range(30))))
    assert (batch.status, batch.request_counts.completed) == ("completed", 30)


def test_a_key_for_some_models_runs_no_other(live: Live) -> None:
    calls = client(live, live.new_key(scope="inference", models=("echo",)))
    batch = ended(calls, begun(calls, [embedding(1)]))
    (error,) = results(calls, batch.error_file_id)
    assert "restricted" in error["error"]["message"]


def test_a_revoked_key_s_batch_is_cancelled(live: Live) -> None:
    key = live.new_key(scope="inference")
    batch = begun(client(live, key), map(late, range(3)), CHAT)
    wait_until(running(live), 30)
    admin = live.new_key(scope="admin")
    with live.client(admin) as http:
        assert http.delete(f"/v1/keys/{key[3:11]}").is_success
    assert ended(client(live, admin), batch).status == "cancelled"
    wait_until(lambda: not running(live)(), 30)


def test_another_key_sees_nothing_of_files_and_batches(live: Live) -> None:
    calls, other = client(live), client(live, live.new_key(scope="full"))
    batch = ended(calls, begun(calls, [embedding(1)]))
    file = batch.input_file_id
    for call in (
        lambda: other.batches.retrieve(batch.id),
        lambda: other.batches.cancel(batch.id),
        lambda: other.files.retrieve(file),
        lambda: other.files.content(file),
        lambda: other.files.delete(file),
        lambda: other.batches.create(
            input_file_id=file, endpoint=EMBEDDINGS, completion_window="24h"
        ),
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            call()
        assert refused.value.code is None and "There is no" in refused.value.message
    assert list(other.batches.list()) == [] == list(other.files.list())


def test_files_are_listed_paged_and_deleted(live: Live) -> None:
    calls = client(live, live.new_key(scope="inference"))
    made = [calls.files.create(file=(f"{n}.jsonl", b"x" * n), purpose="batch").id for n in range(3)]
    assert [file.id for file in calls.files.list(order="asc", limit=2)] == made
    first = calls.files.retrieve(made[1])
    assert (first.filename, first.bytes, first.purpose) == ("1.jsonl", 1, "batch")
    assert first.expires_at and first.expires_at - first.created_at == 24 * 3600
    assert calls.files.content(made[2]).content == b"xx"
    assert calls.files.content(made[0]).content == b""
    assert calls.files.delete(made[1]).deleted
    assert {file.id for file in calls.files.list()} == {made[0], made[2]}
    assert list(calls.files.list(purpose="vision")) == []
    with pytest.raises(openai.NotFoundError):
        calls.files.retrieve(made[1])


def test_a_file_that_its_key_deletes_stays_for_its_batch(live: Live) -> None:
    calls = client(live)
    batch = begun(calls, map(embedding, range(200)))
    calls.files.delete(batch.input_file_id)
    assert ended(calls, batch).request_counts.completed == 200


def test_a_large_file_comes_in_pieces_and_a_wrong_form_is_refused(live: Live) -> None:
    calls = client(live)
    content = b"".join(b"%d\r\n--almost a boundary\n" % number for number in range(200_000))
    kept: Any = {"anchor": "created_at", "seconds": 3600}
    file = calls.files.create(file=("a", content), purpose="batch", expires_after=kept)
    assert calls.files.content(file.id).content == content
    assert file.expires_at and file.expires_at - file.created_at == 3600
    with pytest.raises(openai.BadRequestError) as refused:
        calls.files.create(file=("a", b"x"), purpose="vision")
    assert refused.value.param == "purpose"
    with live.client() as http:
        form = {"content-type": "multipart/form-data; boundary=x"}
        for body in (
            b"",
            b"--x\r\n",
            b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\ny\r\n--x--',
        ):
            answer = http.post("/v1/files", content=body, headers=form)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, None)
    calling = http_client.HTTPConnection(live.url.removeprefix("http://"), timeout=30)
    calling.putrequest("POST", "/v1/files")
    for name, value in {**form, "authorization": f"Bearer {KEY}", "content-length": 10**9}.items():
        calling.putheader(name, str(value))
    calling.endheaders()
    assert calling.getresponse().status == 413
    calling.close()


def test_a_window_has_bounds(live: Live) -> None:
    calls = client(live)
    for window in ("1s", "4d", "soon"):
        with pytest.raises(openai.BadRequestError) as refused:
            begun(calls, [embedding(1)], window=window)
        assert "completion_window" in refused.value.message
