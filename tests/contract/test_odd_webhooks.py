"""Whatever happens in a delivery is an attempt, and nobody's deliveries wait for another's."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tasks.job import Outcome
from tasks.settings import Settings
from tasks.state import Status
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.webhooks import sender as sender_module
from tasks.webhooks.schedule import DELAYS
from tasks.webhooks.sender import Sender
from tests.conditions import wait_until_async
from tests.conftest import Clock
from tests.contract.test_webhooks import (
    Receiver,
    finished,
    hook_settings,
    receiver,
    send,
    sender,
    status,
    webhook_status,
)

__all__ = ["hook_settings", "receiver", "sender"]  # fixtures


def attempts(store: JobStore, request_id: str) -> list[dict[str, Any]]:
    log = store.redis.hget("{kingpost}:delivery:" + request_id, "log")
    return json.loads(b"[" + (log or b"") + b"]")  # type: ignore[operator]


async def run_out(store: JobStore, sender: Sender, clock: Clock) -> None:
    for _ in range(len(DELAYS) + 1):
        await send(sender)
        clock.advance(2 * 86_400)


ODD = {
    "a record that cannot be read": ("HSET", "status", "NO SUCH STATUS"),
    "a URL that no parser takes": ("HSET", "webhook", "http://[:::]/"),
    "a URL without a host": ("HSET", "webhook", "nonsense"),
    "a URL that is no text": ("HSET", "webhook", b"http://\xff\xfe/"),
    "errors that are no JSON": ("HSET", "errors", "{{"),
}


@pytest.mark.parametrize("case", ODD)
async def test_a_row_that_cannot_be_delivered_is_given_up_and_its_neighbours_are_delivered(
    store: JobStore, sender: Sender, receiver: Receiver, clock: Clock, case: str
) -> None:
    odd, good = finished(store, receiver.url), finished(store, receiver.url)
    _, name, value = ODD[case]
    store.redis.hset("{kingpost}:job:" + odd, name, value)  # type: ignore[arg-type]
    await run_out(store, sender, clock)
    assert await send(sender) == 0
    assert len(receiver.got) == 1
    assert webhook_status(store, good) == "SUCCEEDED"
    assert store.redis.hget("{kingpost}:delivery:" + odd, "status") == b"FAILED"
    noted = attempts(store, odd)
    assert 1 <= len(noted) <= len(DELAYS) + 1
    assert all(entry["error"] for entry in noted)


async def test_an_exception_of_any_kind_is_an_attempt_on_the_schedule(
    store: JobStore,
    sender: Sender,
    receiver: Receiver,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> dict[str, str]:
        raise ZeroDivisionError("half a pair \udce9")

    monkeypatch.setattr(sender_module, "headers_for", broken)
    request_id = finished(store, receiver.url)
    await run_out(store, sender, clock)
    noted = attempts(store, request_id)
    assert len(noted) == len(DELAYS) + 1
    assert {entry["error"] for entry in noted} == {"ZeroDivisionError: half a pair \\udce9"}
    assert webhook_status(store, request_id) == "FAILED"
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err


OUTPUTS = [b"", b'{"a":1}\n{"b":2}', b'{"a":', b'"caf\\udce9"', b"[" * 300 + b"]" * 300]


async def test_every_output_that_is_typed_json_and_is_none_is_delivered_signed(
    store: JobStore, sender: Sender, receiver: Receiver
) -> None:
    for output in OUTPUTS:
        finished(
            store, receiver.url, outcome=Outcome(Status.SUCCEEDED, 1.0, output, "application/json")
        )
    while len(receiver.got) < len(OUTPUTS):
        assert await send(sender)
    said = [json.loads(body) for _, body in receiver.got]
    assert sorted(attempt["data"] for attempt in said) == sorted(
        attempt.decode() for attempt in OUTPUTS
    )
    assert {attempt["content_type"] for attempt in said} == {"application/json"}


@pytest.mark.parametrize("said", ["²", "9" * 5000, "-1", "Sat, 28 Nov 1970 00:00:00 GMT", "soon"])
async def test_a_retry_after_that_is_no_number_changes_nothing(
    store: JobStore, sender: Sender, receiver: Receiver, clock: Clock, said: str
) -> None:
    receiver.answers = [status(503, Retry_After=said), status(200)]
    request_id = finished(store, receiver.url)
    assert await send(sender) == 1
    assert [attempt["status"] for attempt in attempts(store, request_id)] == [503]
    clock.advance(86_401 if said.startswith("9") else 3)
    assert await send(sender) == 1
    assert webhook_status(store, request_id) == "SUCCEEDED"


async def test_a_url_goes_out_byte_for_byte(
    store: JobStore, sender: Sender, receiver: Receiver
) -> None:
    queries = ["sig=ab%2Fcd%2B", "a=%7e&b=~", "x=%zz&&y", "q=%C3%A9'\"|{}", "u=http://a/b?c=d"]
    for query in queries:
        finished(store, f"{receiver.url}?{query}")
    while len(receiver.targets) < len(queries):
        assert await send(sender)
    assert sorted(receiver.targets) == sorted(f"/hook?{query}" for query in queries)


@pytest.fixture
async def silent() -> AsyncIterator[tuple[int, list[int]]]:
    """A server that takes every request and never answers: its port, and a list with one entry for each."""
    requests: list[int] = []
    never = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        requests.append(1)
        with contextlib.suppress(asyncio.CancelledError):
            await never.wait()
        writer.close()

    server = await asyncio.start_server(hang, "0.0.0.0", 0)
    yield server.sockets[0].getsockname()[1], requests
    never.set()
    server.close()


async def test_a_tenant_whose_hosts_hang_delays_nobody_else(
    store: JobStore,
    hook_settings: Settings,
    receiver: Receiver,
    silent: tuple[int, list[int]],
    make_sender: Any,
) -> None:
    port, hanging = silent
    patient = hook_settings.model_copy(update={"webhook_timeout_seconds": 600.0})
    sender: Sender = make_sender(patient)
    for number in range(1200):  # 200 hosts, none of them near its own cap
        finished(store, f"http://127.0.1.{number % 200 + 1}:{port}/hook", key="greedy")
    other = [finished(store, receiver.url, key="other") for _ in range(3)]

    async def told() -> bool:
        await sender.run_once()
        return all(webhook_status(store, request_id) == "SUCCEEDED" for request_id in other)

    await wait_until_async(told, 60)
    assert len(hanging) >= 50  # all of these hang still: none has been given up
    assert attempts_of_all(store) == len(other)


def attempts_of_all(store: JobStore) -> int:
    names = store.redis.keys("{kingpost}:delivery:*")
    return sum(int(store.redis.hget(name, "attempts") or 0) for name in names)  # type: ignore[union-attr,arg-type]


@pytest.fixture
async def make_sender() -> AsyncIterator[Any]:
    """Makes senders; ends them in the middle of what they do."""
    made: list[tuple[Sender, AsyncJobStore]] = []

    def make(settings: Settings) -> Sender:
        outbox = AsyncJobStore(settings, movable_clock=True)
        made.append((Sender(outbox, settings), outbox))
        return made[-1][0]

    yield make
    for each, outbox in made:
        for task in list(each._running):
            task.cancel()
        await asyncio.gather(*each._running, return_exceptions=True)
        await each._egress.close()
        await outbox.close()
