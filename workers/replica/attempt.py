"""One attempt: calls the model host, beside other jobs or alone. Each way in which the call can end is a class here."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from deployments import attached, output_files
from deployments.output_files import Link
from tasks.errors import FileMissing, NotFound, PayloadUnavailable, StoreUnavailable
from tasks.files.files import file_ref
from tasks.files.outputs import OutputWriter
from tasks.files.verbs import file_secret, keep_output
from tasks.job import Claim
from tasks.payloads import Payloads, output_ms, output_ref
from tasks.process import tracing
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.state import ErrorCode
from tasks.store import verbs
from tasks.store.job_store import JobStore
from workers.hosting.client import (
    HostAnswer,
    HostClient,
    HostRefused,
    HostUnavailable,
    HostUnreached,
)
from workers.hosting.process import HostProcess
from workers.hosting.spool import Spool
from workers.replica.quarantine import Quarantine, is_suspect
from workers.replica.runs import Run
from workers.wire.calls import RunJob
from workers.wire.messages import OutputChunk, Progress

log = get_logger("attempt")

NOTE_RETRY_SECONDS = 0.2  # until a payload is noted again, while the store is away


@dataclass(frozen=True)
class Slot:
    """The right to call the host of one generation once."""

    token: str  # the host's name for it
    generation: int  # grows with every new host


@dataclass(frozen=True)
class Answered:
    """The host answered, with a result or an error."""

    answer: HostAnswer


@dataclass(frozen=True)
class HostDied:
    """The host got the call and died before its answer."""


@dataclass(frozen=True)
class NotCalled:
    """The host never got the call: the job was stopped first, the host was gone, or the store was away."""


@dataclass(frozen=True)
class InputUnreadable:
    """The host never got the call, because the input could not be read."""

    why: str  # a sentence for the owner
    code: ErrorCode = ErrorCode.INTERNAL_SERVER_ERROR


@dataclass(frozen=True)
class Refused:
    """The host refused the call. The model never saw it."""


End = Answered | HostDied | NotCalled | InputUnreadable | Refused


class _StoppedWhileSending(Exception):
    """The job was stopped while the files of its input were sent."""


def never_called(end: End) -> bool:
    """Whether it is certain that the model has not seen the job."""
    return isinstance(end, NotCalled | InputUnreadable | Refused)


class Attempts:
    """Makes the attempts at one host. Many worker threads call it at once."""

    def __init__(self, store: JobStore, host: HostProcess, settings: Settings) -> None:
        self._store = store
        self._host = host
        self._settings = settings
        self._payloads = Payloads(settings)
        self._quarantine = Quarantine()

    def make(self, run: Run, client: HostClient, slot: Slot) -> End:
        """Waits until the job may use the host, shared or alone, then calls the model."""
        alone = is_suspect(run.claim.job, self._settings)
        with self._quarantine.alone() if alone else self._quarantine.shared():
            run.started = time.monotonic()
            # While it waited, the job may have been cancelled, or a neighbour have ended the host.
            if run.reason is not None or self._host.sick or not self.is_alive(slot):
                return NotCalled()
            return self._call(run, client, slot)

    def is_alive(self, slot: Slot) -> bool:
        """Whether the host that gave the slot is still there."""
        return slot.generation == self._host.generation and self._host.ready.is_set()

    def _call(self, run: Run, client: HostClient, slot: Slot) -> End:
        try:
            body, spool, link = self._input(run), self._spool(run), self._output_link(run)
            files_of = partial(self._output_writer, link) if link else None
            with tracing.during("host call", run.span.traceparent, "client") as span:
                job = _job(run.claim, slot.token, str(link or ""), span.traceparent)
                answer = client.run(job, body, spool, partial(self._report, run), files_of)
                span.note(status=answer.status)
            return Answered(self._keep_files(run, answer))
        except HostRefused as error:
            log.warning("host.refused", request_id=run.request_id, error=str(error))
            return Refused()
        except FileMissing as error:
            client.close()
            return InputUnreadable(str(error), ErrorCode.FILE_NOT_FOUND)
        except (NotFound, PayloadUnavailable) as error:
            client.close()
            return InputUnreadable(str(error))
        except StoreUnavailable:  # before the call; the job waits for the store
            return NotCalled()
        except (HostUnreached, _StoppedWhileSending):
            client.close()
            return NotCalled()
        except HostUnavailable as error:
            client.close()
            self._log_lost(run, error)
            return HostDied()

    def _log_lost(self, run: Run, error: HostUnavailable) -> None:
        because = self._host.ended_because(run.generation)
        if because is None:
            log.warning("host.lost", request_id=run.request_id, error=str(error))
        else:
            why = f"The model host was stopped because {because}."
            log.info("host.stopped", request_id=run.request_id, why=why)

    def _input(self, run: Run) -> bytes | Iterator[bytes]:
        """The input for the host, after the files that it refers to. Raises NotFound and PayloadUnavailable."""
        job = run.claim.job
        model_input = self._payloads.read(job.input_ref) if job.input_ref else run.claim.input
        return self._after_files(run, model_input) if job.files else model_input

    def _after_files(self, run: Run, model_input: bytes | Iterator[bytes]) -> Iterator[bytes]:
        for file in attached.read(run.claim.job.files):
            try:
                for piece in self._payloads.read(file_ref(file.id)):
                    if run.reason is not None:
                        raise _StoppedWhileSending
                    yield piece
            except NotFound:
                raise FileMissing(file.id) from None
        yield from [model_input] if isinstance(model_input, bytes) else model_input

    def _output_link(self, run: Run) -> Link | None:
        """What makes the URLs of the output's files; None if the request does not want any. Raises StoreUnavailable."""
        if not run.claim.job.output_files:
            return None
        expires = int(time.time() + self._settings.file_url_seconds)
        return Link.signed(
            self._store.run(file_secret()), secrets.token_hex(output_files.BASE // 2), expires
        )

    def _output_writer(self, link: Link, sizes: str) -> OutputWriter:
        """Takes the files of an output, whose `sizes` in bytes are a header of the host. Their payloads are noted first.

        Raises ValueError for sizes that cannot be, and StoreUnavailable.
        """
        kept_ms = int(self._settings.file_url_seconds * 1000)
        byte_counts = output_files.read(sizes, self._settings.max_file_bytes)
        writer = OutputWriter(self._payloads, byte_counts, link.id_of, kept_ms)
        self._store.run(verbs.spill(writer.refs, output_ms(self._settings)))
        return writer

    def _keep_files(self, run: Run, answer: HostAnswer) -> HostAnswer:
        """Records the files of the output, which go with the job from now on. If the store is away, the job fails."""
        try:
            for file in answer.files.files if answer.files else ():
                self._store.run(keep_output(file, run.lease))
        except StoreUnavailable as error:
            answer.output.failure = str(error)
        return answer

    def _spool(self, run: Run) -> Spool:
        """Takes the output. One above `spill_bytes` goes to the payload store."""
        ref = output_ref(run.request_id, run.lease.fence)
        note = verbs.spill([ref], output_ms(self._settings))
        return Spool(
            self._payloads, ref, self._settings.spill_bytes, lambda: self._note_payload(run, note)
        )

    def _note_payload(self, run: Run, note: verbs.ScriptCall[int]) -> None:
        """Records a payload in the store before it is written. Repeats this while the store does not answer."""
        while run.reason is None:
            try:
                self._store.run(note)
                return
            except StoreUnavailable:
                time.sleep(NOTE_RETRY_SECONDS)

    def _report(self, run: Run, message: Progress | OutputChunk) -> None:
        """Passes progress and chunks on to the store. If the store does not answer, they are lost. The result is not."""
        try:
            if isinstance(message, OutputChunk):
                self._report_chunk(run, message.data)
            else:
                call = verbs.progress(run.lease, message.fraction, message.message or None)
                self._store.run(call)
        except StoreUnavailable as error:
            log.warning("progress.dropped", request_id=run.request_id, error=str(error))

    def _report_chunk(self, run: Run, chunk: bytes) -> None:
        """Sends an event for each chunk, up to `max_event_bytes`, because events are in Redis and large outputs are not."""
        limit = self._settings.max_event_bytes
        if run.reported <= limit:
            run.reported += len(chunk)
            fits = run.reported <= limit
            lease = run.lease
            self._store.run(
                verbs.output_chunk(lease, chunk) if fits else verbs.output_truncated(lease)
            )


def _job(claim: Claim, slot: str, link: str, traceparent: str) -> RunJob:
    job = claim.job
    return RunJob(
        job.request_id,
        claim.lease.fence,
        slot,
        keep_slot=True,
        path=job.path,
        content_type=job.content_type,
        traceparent=traceparent,
        chain_request_id=job.request_id if job.chain_id else "",
        files=job.files,
        link=link,
    )
