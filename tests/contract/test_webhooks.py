"""Webhooks from the outbox to a real receiver: signatures, schedule, hostile receivers, forbidden targets."""

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import itertools
import json
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook, WebhookVerificationError

from tasks.api_keys import Scope, key_id
from tasks.job import JobError, Outcome, RequestId, Submission
from tasks.process.loops import pause
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.store import verbs
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.webhooks import egress as egress_module
from tasks.webhooks import signatures
from tasks.webhooks.egress import Egress
from tasks.webhooks.secrets import OVERLAP_SECONDS, rotate, signing
from tasks.webhooks.sender import Sender
from tasks.webhooks.signatures import headers_for
from tasks.webhooks.targets import is_denied
from tasks.webhooks.verbs import (
    DeliveryResult,
    Redelivery,
    redeliver,
    settle_delivery,
    take_deliveries,
)
from tests.api_keys import ApiKeys
from tests.conftest import Clock
from tests.data import url_corpus
from tests.unit.tasks.test_webhook_payload import Received

DEPLOYMENT = "dep00001"
FENCES = itertools.count()
OUTPUT = {
    "text": "héllo ☃ 日本",
    "floats": [0.1, 1e-7, 1e22, 1.5e300, -0.0, 3.0],
    "big": 2**70,
    "none": None,
}


class Receiver:
    """Notes what comes; `answers` says what to do with it, one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.targets: list[str] = []  # as they stood in the request line
        self.answers: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = [ok]
        self.url = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.targets.append(request.raw_path)
        self.got.append((dict(request.headers), await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


async def ok(_: web.Request) -> web.Response:
    return web.Response()


def status(code: int, **headers: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(
            status=code, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return answer


# A receiver that answers may need a second on a busy machine; a test whose receiver does not answer takes less.
impatient = pytest.mark.parametrize("hook_settings", [0.5], indirect=True, ids=[""])


@pytest.fixture
def hook_settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    changes = {
        "webhook_allow_http": True,
        "webhook_allow_private": True,
        "webhook_timeout_seconds": getattr(request, "param", 10.0),
    }
    return settings.model_copy(update=changes)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def sender(hook_settings: Settings, store: JobStore) -> AsyncIterator[Sender]:
    outbox = AsyncJobStore(hook_settings, movable_clock=True)
    sender = Sender(outbox, hook_settings)
    yield sender
    await sender._egress.close()
    await outbox.close()


def finished(
    store: JobStore,
    url: str,
    output: object = OUTPUT,
    status: Status = Status.SUCCEEDED,
    key: str = "k",
    outcome: Outcome | None = None,
) -> RequestId:
    """A job with a webhook that has just ended."""
    request_id = RequestId(uuid.uuid4().hex)
    store.run(
        verbs.submit(
            [Submission(request_id, DEPLOYMENT, "model001", b"{}", webhook=url)], key, 10**6
        )
    )
    claim = store.run(verbs.claim(DEPLOYMENT, "r:0", f"fence{next(FENCES):011d}", "r"))
    assert claim is not None
    body = json.dumps(output).encode()
    outcome = outcome or Outcome(status, 1.0, body, "application/json")
    store.run(verbs.finish(claim.lease, outcome))
    return request_id


async def send(sender: Sender) -> int:
    taken = await sender.run_once()
    await sender.settle()
    return taken


def rotated(store: JobStore) -> str:
    secret = signatures.new_secret()
    assert store.run(rotate(secret))
    return secret


def webhook_status(store: JobStore, request_id: str) -> str:
    return store.run(verbs.read(request_id)).webhook_status


async def test_a_delivery_has_baseten_s_body_and_both_signatures(
    store: JobStore, hook_settings: Settings, sender: Sender, receiver: Receiver
) -> None:
    secret = rotated(store)
    request_id = finished(store, receiver.url)
    assert await send(sender) == 1
    headers, body = receiver.got[0]
    said = json.loads(body)
    assert list(said) == [
        "request_id",
        "model_id",
        "deployment_id",
        "type",
        "time",
        "data",
        "errors",
    ]
    assert said["data"] == OUTPUT
    assert (said["type"], said["errors"]) == ("async_request_completed", [])
    assert headers["X-BASETEN-REQUEST-ID"] == request_id
    assert headers["webhook-id"] == f"msg_{request_id}"
    verify(headers, body, [secret])
    assert webhook_status(store, request_id) == "SUCCEEDED"


def verify(headers: dict[str, str], body: bytes, active_secrets: list[str]) -> None:
    """The three recipes in the field: over the raw body, over a re-serialised body, and the standard's library."""
    signatures_sent = headers["X-BASETEN-SIGNATURE"].split(",")
    for secret, sent in zip(active_secrets, signatures_sent, strict=True):
        assert sent == "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        again = Received.model_validate_json(body).model_dump_json().encode()
        assert sent == "v1=" + hmac.new(secret.encode(), again, hashlib.sha256).hexdigest()
        Webhook(secret).verify(body, {k.lower(): v for k, v in headers.items()})


async def test_the_first_webhook_after_a_secret_was_made_is_signed(
    store: JobStore, hook_settings: Settings, sender: Sender, receiver: Receiver
) -> None:
    finished(store, receiver.url)
    await send(sender)
    secret = rotated(store)
    finished(store, receiver.url)
    await send(sender)
    (unsigned, _), (headers, body) = receiver.got
    assert "X-BASETEN-SIGNATURE" not in unsigned
    verify(headers, body, [secret])


async def test_a_failed_job_is_told_with_one_error_and_no_data(
    store: JobStore, sender: Sender, receiver: Receiver
) -> None:
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(request_id, DEPLOYMENT, "model001", b"{}", webhook=receiver.url)
    store.run(verbs.submit([job], "k", 10**6))
    store.run(verbs.cancel(request_id))
    await send(sender)
    said = json.loads(receiver.got[0][1])
    assert said["data"] is None
    assert [error["code"] for error in said["errors"]] == ["CANCELED"]


async def test_a_webhook_says_what_a_model_raised_to_the_owner_alone(
    store: JobStore, hook_settings: Settings, sender: Sender, receiver: Receiver
) -> None:
    keys = ApiKeys(hook_settings)
    error = JobError(ErrorCode.MODEL_PREDICT_ERROR, "in general", "ValueError: bad\n  File ...")
    outcome = Outcome(Status.FAILED, 1.0, error=error)
    for scope in ("full", "inference"):
        key = key_id(keys.create(scope=cast(Scope, scope)))
        finished(store, receiver.url, key=key, outcome=outcome)
        await send(sender)
    said = [json.loads(body)["errors"] for _, body in receiver.got]
    code = "MODEL_PREDICT_ERROR"
    assert said == [
        [{"code": code, "message": "ValueError: bad\n  File ..."}],
        [{"code": code, "message": "in general"}],
    ]


def test_every_flipped_byte_is_refused() -> None:
    secret, body = signatures.new_secret(), b'{"a":1}'
    headers = headers_for("r" * 32, body, [secret], 1_700_000_000)
    library = Webhook(secret)
    for position in range(len(body)):
        flipped = bytearray(body)
        flipped[position] ^= 1
        with pytest.raises((WebhookVerificationError, ValueError)):
            library.verify(
                bytes(flipped), headers | {"webhook-timestamp": headers["webhook-timestamp"]}
            )


async def test_after_a_rotation_both_secrets_sign_newest_first(
    store: JobStore, hook_settings: Settings, sender: Sender, receiver: Receiver
) -> None:
    old = rotated(store)
    new = rotated(store)
    finished(store, receiver.url)
    await send(sender)
    verify(*receiver.got[0], [new, old])
    known = store.run(signing())
    later = store.run(signing(known[0].created + OVERLAP_SECONDS + 1))
    assert [[secret.secret for secret in at] for at in (known, later)] == [[new, old], [new]]


async def test_a_receiver_that_fails_is_tried_again_under_the_same_id(
    store: JobStore, sender: Sender, receiver: Receiver, clock: Clock
) -> None:
    receiver.answers = [status(500), status(503), ok]
    request_id = finished(store, receiver.url)
    for seconds in (0, 3, 6):
        clock.advance(seconds)
        assert await send(sender) == 1
        assert await send(sender) == 0
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert webhook_status(store, request_id) == "SUCCEEDED"


async def test_a_receiver_that_never_recovers_is_exhausted_and_can_be_sent_again(
    store: JobStore, sender: Sender, receiver: Receiver, clock: Clock
) -> None:
    receiver.answers = [status(500)]
    request_id = finished(store, receiver.url)
    for _ in range(11):
        assert await send(sender) == 1
        clock.advance(30 * 3600)
    assert await send(sender) == 0
    assert webhook_status(store, request_id) == "FAILED"
    receiver.answers = [ok]
    assert store.run(redeliver(request_id)) is Redelivery.QUEUED
    assert await send(sender) == 1
    assert webhook_status(store, request_id) == "SUCCEEDED"


@pytest.mark.parametrize("code", [301, 302, 307, 400, 404, 410])
async def test_a_redirect_or_a_refusal_is_final(
    store: JobStore, sender: Sender, receiver: Receiver, clock: Clock, code: int
) -> None:
    receiver.answers = [status(code, Location=receiver.url)]
    request_id = finished(store, receiver.url)
    await send(sender)
    clock.advance(10**6)
    assert await send(sender) == 0
    assert len(receiver.got) == 1
    assert webhook_status(store, request_id) == "FAILED"


async def test_retry_after_is_honoured(
    store: JobStore, sender: Sender, receiver: Receiver, clock: Clock
) -> None:
    receiver.answers = [status(429, Retry_After="100"), ok]
    finished(store, receiver.url)
    await send(sender)
    clock.advance(90)
    assert await send(sender) == 0
    clock.advance(11)
    assert await send(sender) == 1


async def hang(request: web.Request) -> web.Response:
    await pause(asyncio.Event(), 3)
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def gzip_bomb(_: web.Request) -> web.Response:
    bomb = gzip.compress(b"\0" * 10_000_000)
    return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})


async def breaks_off(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


@impatient
@pytest.mark.parametrize(
    ("answer", "expected"),
    [(hang, "PENDING"), (breaks_off, "PENDING"), (endless, "SUCCEEDED"), (gzip_bomb, "SUCCEEDED")],
    ids=["hangs", "breaks off", "endless body", "gzip bomb"],
)
async def test_a_hostile_receiver_costs_one_attempt(
    store: JobStore,
    sender: Sender,
    receiver: Receiver,
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    expected: str,
) -> None:
    receiver.answers = [answer]
    request_id = finished(store, receiver.url)
    await send(sender)
    assert webhook_status(store, request_id) == expected


async def test_a_dead_sender_s_rows_are_sent_by_another(
    store: JobStore, hook_settings: Settings, sender: Sender, receiver: Receiver, clock: Clock
) -> None:
    finished(store, receiver.url)
    (dead,) = store.run(take_deliveries(10, 30_000, "dead-sender"))
    assert await send(sender) == 0
    clock.advance(31)
    assert await send(sender) == 1
    assert store.run(settle_delivery(dead, "failed", 0, "{}")) is DeliveryResult.STALE


@impatient
async def test_one_dead_host_delays_nobody_else(
    store: JobStore, sender: Sender, receiver: Receiver
) -> None:
    with socket.socket() as silent:  # accepts, never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        dead = f"http://127.0.0.1:{silent.getsockname()[1]}/hook"
        for _ in range(60):
            finished(store, dead)
        healthy = [finished(store, receiver.url) for _ in range(30)]
        await sender.run_once()
        while any(webhook_status(store, request_id) == "PENDING" for request_id in healthy):
            assert await sender.run_once() >= 0
            await pause(asyncio.Event(), 0.02)  # type: ignore[arg-type]
        assert len(receiver.got) == 30
        await sender.settle()


class Fixed(AbstractResolver):
    """A resolver whose answers the test chooses, one after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that a socket of the sender was made for after the guard let it through."""
    made: list[str] = []
    original = egress_module.socket.socket

    class Noted(original):  # type: ignore[misc, valid-type]
        def connect(self, address: Any) -> Any:
            made.append(str(address))
            return super().connect(address)

    monkeypatch.setattr(egress_module.socket, "socket", Noted)
    return made


@pytest.fixture
def canary() -> Iterator[Callable[[], int]]:
    """Listeners where the corpus points at this machine; answers how many connections they saw."""
    listeners: list[socket.socket] = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for port in (443, 80):
            with contextlib.suppress(OSError):  # low ports need rights that not every tester has
                listener = socket.socket(family)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, port))
                listener.listen()
                listener.setblocking(False)
                listeners.append(listener)

    def seen() -> int:
        count = 0
        for listener in listeners:
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                count += 1
        return count

    yield seen
    for listener in listeners:
        listener.close()


async def test_no_url_of_the_corpus_reaches_anything(
    settings: Settings, connections: list[str], canary: Callable[[], int]
) -> None:
    assert len(url_corpus.URLS) >= 150
    egress = Egress(settings.model_copy(update={"webhook_timeout_seconds": 5.0}))
    public = {url for url in url_corpus.URLS if "example.com" in url}
    for url in sorted(set(url_corpus.URLS) - public):
        with pytest.raises((OSError, ValueError, TimeoutError, aiohttp.ClientError)):
            await egress.post(url, {}, b"{}")
    await egress.close()
    assert connections == []
    assert canary() == 0


async def test_an_open_guard_is_noticed(settings: Settings, connections: list[str]) -> None:
    open_door = {"webhook_allow_private": True, "webhook_timeout_seconds": 0.5}
    egress = Egress(settings.model_copy(update=open_door))
    with pytest.raises((OSError, TimeoutError, aiohttp.ClientError)):
        await egress.post("https://127.0.0.1/hook", {}, b"{}")
    await egress.close()
    assert connections == ["('127.0.0.1', 443)"]


@pytest.mark.parametrize("answers", [[["127.0.0.1"]], [["10.0.0.5"]], [["169.254.169.254"]]])
async def test_a_public_name_with_a_private_address_is_refused(
    settings: Settings, connections: list[str], answers: list[list[str]]
) -> None:
    egress = Egress(settings, Fixed(*answers))
    with pytest.raises(OSError, match="not a public address"):
        await egress.post("https://rebind.example/hook", {}, b"{}")
    await egress.close()
    assert connections == []


async def test_a_refused_target_is_final_and_says_why(store: JobStore, settings: Settings) -> None:
    outbox = AsyncJobStore(settings, movable_clock=True)
    sender = Sender(outbox, settings)
    request_id = finished(store, "https://127.0.0.1/hook")
    await send(sender)
    assert webhook_status(store, request_id) == "FAILED"
    log = store.redis.hget("{kingpost}:delivery:" + request_id, "log")
    assert b"not a public address" in (log or b"")
    await sender._egress.close()
    await outbox.close()


def test_the_deny_table_knows_every_special_range() -> None:
    assert [address for address in (*url_corpus.V4, *url_corpus.V6) if not is_denied(address)] == []
    assert [
        address
        for address in ("1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700::1111")
        if is_denied(address)
    ] == []
