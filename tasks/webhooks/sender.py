"""The webhook sender: takes due deliveries under a lease, posts them and records every attempt."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex

from tasks.access.keys import KeyCheck
from tasks.api_keys import sees_model_errors
from tasks.errors import NotFound, PayloadUnavailable, StoreUnavailable
from tasks.outside_text import text_of
from tasks.payloads import Payloads
from tasks.process import tracing
from tasks.process.logs import get_logger
from tasks.process.loops import pause
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore
from tasks.webhooks import payload, schedule, verbs
from tasks.webhooks.egress import Egress, EgressDenied
from tasks.webhooks.schedule import REFUSED, TIMED_OUT, Attempt, one_line
from tasks.webhooks.secrets import signing
from tasks.webhooks.signatures import headers_for
from tasks.webhooks.verbs import Taken

log = get_logger("webhooks")

IDLE_SECONDS = 0.1  # between looks while nothing is due
LEASE_MARGIN = 5.0  # s, beyond the deadline of one POST
BATCH = 100  # rows taken at once
FAILED_SECONDS = 1.0  # of rest after a round that failed as a whole
ANSWER_SHOWN = 1000  # bytes of an answer that are kept


class Sender:
    """Sends webhooks. Any number of senders may run; the lease on a row keeps them apart."""

    def __init__(
        self, store: AsyncJobStore, settings: Settings, egress: Egress | None = None
    ) -> None:
        self._store = store
        self._settings = settings
        self._egress = egress or Egress(settings)
        self._payloads = Payloads(settings)
        self._keys = KeyCheck(store, settings)
        self._lease_ms = int((settings.webhook_timeout_seconds + LEASE_MARGIN) * 1000)
        self._busy: Counter[bytes] = Counter()  # deliveries in progress, by API key and by host
        self._running: set[asyncio.Task[None]] = set()
        self._rng = random.Random()

    async def run_once(self) -> int:
        """Takes due rows, starts sending them and returns their number. Raises StoreUnavailable."""
        room = self._settings.webhook_concurrency - len(self._running)
        if room <= 0:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return 0
        per_host = self._settings.webhook_per_host
        token = token_hex(8)
        call = verbs.take_deliveries(
            min(room, BATCH), self._lease_ms, token, room, per_host, +self._busy
        )
        rows = await self._store.run(call)
        # Read anew for each batch, so that a new secret signs the very next webhook.
        known = await self._store.run(signing()) if rows else []
        active = [secret.secret for secret in known]
        for taken in rows:
            task = asyncio.create_task(self._deliver(taken, active))
            self._running.add(task)
            self._busy.update(taken.places)
            task.add_done_callback(partial(self._ended, taken))
        return len(rows)

    def _ended(self, taken: Taken, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._busy.subtract(taken.places)
        self._busy = +self._busy

    async def run_forever(self, stop: asyncio.Event) -> None:
        """Sends until `stop`, then waits for the deliveries that are on their way."""
        while not stop.is_set():
            try:
                taken = await self.run_once()
            except StoreUnavailable as error:
                log.warning("store.unavailable", error=str(error))
                taken = 0
            except (
                Exception
            ) as error:  # such as damaged secrets: every webhook waits, and none is lost
                log.error("sender.failed", error=one_line(error))
                await pause(stop, FAILED_SECONDS)
                continue
            if not taken:
                await pause(stop, IDLE_SECONDS)
        await self.settle()
        await self._egress.close()

    async def settle(self) -> None:
        """Waits for all deliveries that are on their way."""
        while self._running:
            await asyncio.wait(self._running)

    async def _deliver(self, taken: Taken, active: list[str]) -> None:
        """Runs one attempt and records how it ended, whatever happens."""
        began, began_ns = time.monotonic(), time.time_ns()
        try:
            try:
                attempt, answer = await self._post(taken, active)
            except StoreUnavailable:
                raise
            except Exception as error:  # a failure of any kind counts as an attempt
                attempt, answer = Attempt(None, one_line(error)), b""
            ms = (time.monotonic() - began) * 1000
            await self._settle(taken, attempt, answer, ms, began_ns)
        except StoreUnavailable as error:  # the lease ends, and the webhook is sent again
            log.warning("delivery.unsettled", request_id=taken.request_id, error=str(error))
        except Exception as error:  # the store refuses to record it
            log.error("delivery.unsettled", request_id=taken.request_id, error=one_line(error))

    async def _settle(
        self, taken: Taken, attempt: Attempt, answer: bytes, ms: float, began_ns: int
    ) -> None:
        following = schedule.after(attempt, taken.attempts, self._rng)
        record = _record(attempt, answer, ms)
        call = verbs.settle_delivery(taken, following.verdict, following.delay_ms, record)
        word = await self._store.run(call)
        if tracing.is_on():
            _trace(taken, attempt, following.verdict, began_ns)
        log.info(
            "webhook.attempted",
            request_id=taken.request_id,
            attempt=taken.attempts + 1,
            status=attempt.status,
            error=attempt.error,
            verdict=following.verdict,
            word=str(word),
        )

    async def _post(self, taken: Taken, active: list[str]) -> tuple[Attempt, bytes]:
        """One POST, and the beginning of its answer."""
        try:
            output = await self._output(taken)
            body = payload.body(taken.job, output, detailed=await self._detailed(taken))
        except PayloadUnavailable as error:
            return Attempt(None, str(error)), b""
        headers = headers_for(taken.job.request_id, body, active, int(time.time()))
        try:
            answer = await self._egress.post(taken.job.webhook, headers, body)
        except EgressDenied as error:
            return Attempt(None, f"{REFUSED}{error}", final=True), b""
        except TimeoutError:
            return Attempt(None, TIMED_OUT), b""
        retry_after = answer.headers.get("Retry-After", "")
        return Attempt(answer.status, retry_after=retry_after), answer.body[:ANSWER_SHOWN]

    async def _detailed(self, taken: Taken) -> bool:
        """Whether the job's key may read the model's exception. It is checked only if there is one."""
        if not any(error.detail for error in taken.job.errors):
            return False
        scope = await self._keys.scope_of(taken.job.api_key)
        return sees_model_errors(self._settings, scope)

    async def _output(self, taken: Taken) -> bytes | None:
        """The output to send, None if it is too large for a webhook. Raises PayloadUnavailable."""
        job = taken.job
        if not job.output_ref:
            return taken.output
        if (job.output_bytes or 0) > self._settings.webhook_max_data_bytes:
            return None
        try:
            return await self._payloads.read_whole(job.output_ref)
        except NotFound as error:
            raise PayloadUnavailable(str(error)) from error


def _trace(taken: Taken, attempt: Attempt, verdict: str, began_ns: int) -> None:
    """Records the try in the request's trace, without the address. Of a damaged record nothing is known."""
    with contextlib.suppress(Exception):
        trace = taken.job.traceparent
        about = {"request_id": taken.request_id, "attempt": taken.attempts + 1, "verdict": verdict}
        span = tracing.child("webhook", trace, "client", about, began_ns)
        if attempt.status is not None:
            span.note(http__response__status_code=attempt.status)
        if verdict != "delivered":
            span.fail()
        span.end()


def _record(attempt: Attempt, answer: bytes, took_ms: float) -> str:
    fields = {
        "at": datetime.now(UTC).isoformat(),
        "status": attempt.status,
        "error": attempt.error,
        "ms": round(took_ms, 1),
        "answer": text_of(answer),
    }
    return json.dumps(fields)
