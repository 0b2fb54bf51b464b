"""The outside world of a chaos run: a client that retries with its Idempotency-Key, and a webhook receiver."""

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from tasks.process.loops import pause
from tests.chaos.ledger import Delivery, Ledger
from tests.chaos.stack import API_KEY

TIMEOUT = aiohttp.ClientTimeout(total=10)
PAUSE = 0.1  # s, between tries of one call
GIVE_UP = 300  # tries


@dataclass
class Client:
    """Talks to any of the APIs; a refused or broken call is tried again on the next one."""

    ports: list[int]
    ledger: Ledger
    session: aiohttp.ClientSession
    run_ms: tuple[int, int] = (5, 20)
    refused: list[int] = field(default_factory=list[int])

    async def submit(self, n: int, webhook: str, rng: random.Random, **order: object) -> str:
        """async_predict until it is acknowledged; notes the attempt before and the ack after."""
        key = f"key-{n}"
        self.ledger.attempted[key] = n
        body = {
            "model_input": {"n": n, "ms": rng.randint(*self.run_ms), **order},
            "priority": rng.randrange(3),
            "webhook_endpoint": webhook,
            "max_time_in_queue_seconds": 3600,
            "inference_retry_config": {"initial_delay_ms": 3000} if order.get("again") else None,
        }
        path = "/models/ledger/production/async_predict"
        said = await self._call("POST", path, 201, json=body, headers={"Idempotency-Key": key})
        request_id = json.loads(said)["request_id"]
        self.ledger.acked[key].append(request_id)
        if rng.random() < 0.05:  # a client that did not see the answer asks once more
            again = await self._call("POST", path, 201, json=body, headers={"Idempotency-Key": key})
            self.ledger.acked[key].append(json.loads(again)["request_id"])
        return request_id

    async def status(self, request_id: str) -> dict[str, object]:
        """The GET body; {} for an unknown id, or when the store forgot even our key."""
        said = await self._call("GET", f"/async_request/{request_id}", 200, also=(401, 404))
        found = json.loads(said)
        return found if "status" in found else {}

    async def result(self, request_id: str) -> object:
        """The result's JSON."""
        return json.loads(await self._call("GET", f"/async_request/{request_id}/result", 200))

    async def _call(
        self, method: str, path: str, wanted: int, also: tuple[int, ...] = (),
        headers: dict[str, str] | None = None, json: object = None,
    ) -> bytes:  # fmt: skip
        headers = {"Authorization": f"Api-Key {API_KEY}", **(headers or {})}
        for attempt in range(GIVE_UP):
            url = f"http://127.0.0.1:{self.ports[attempt % len(self.ports)]}{path}"
            try:
                async with self.session.request(
                    method, url, headers=headers, json=json, timeout=TIMEOUT
                ) as reply:
                    body = await reply.read()
                    if reply.status in (wanted, *also):
                        return body
                    assert reply.status in (502, 503), f"{method} {path}: {reply.status} {body!r}"
                    assert reply.headers.get("Retry-After"), f"no Retry-After with {reply.status}"
                    self.refused.append(reply.status)
            except (aiohttp.ClientError, TimeoutError):
                pass
            await pause(asyncio.Event(), PAUSE)
        raise AssertionError(f"{method} {path} was never answered")


async def in_parallel(count: int, width: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Runs `one(0..count-1)`, `width` at a time."""
    numbers = itertools.count()

    async def worker() -> None:
        while (n := next(numbers)) < count:
            await call(n)

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())


class Receiver:
    """Notes every POST; answers 200, sometimes 500 first when told to."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.url = ""

    async def start(self) -> web.AppRunner:
        """Serves on a free loopback port."""
        app = web.Application()
        app.router.add_post("/hook", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/hook"
        return runner

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._ledger.deliveries.append(
            Delivery(request.headers["webhook-id"], json.loads(body)["request_id"], body)
        )
        return web.Response()
