"""Calls the worker's routes at the model host, over HTTP on a Unix socket of their own."""

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from deployments.output_files import OUTPUT
from tasks.errors import PayloadUnavailable, StoreUnavailable
from tasks.files.outputs import OutputWriter
from tasks.job import Lease
from workers.hosting.connection import HostConnection, Response
from workers.hosting.spool import Spool
from workers.wire.calls import (
    AcquireSlot,
    AskState,
    CancelJob,
    HostState,
    LoadFailure,
    ReleaseSlot,
    Reload,
    RunJob,
    WorkerCall,
    decode_granted,
    decode_state,
    encode_call,
)
from workers.wire.messages import (
    WELL,
    BodyPiece,
    End,
    Failure,
    Fault,
    Message,
    MessageDecoder,
    OutputChunk,
    Progress,
    Result,
)
from workers.wire.shapes import WireError

REFUSAL_BYTES = 200  # of a refusal, for the log
FAILURE_LINES = 16  # of a traceback that the directory keeps
RELOAD_SECONDS = 60.0  # an import may take its time
QUICK_SECONDS = 2.0  # for calls that a living host answers at once


class HostUnavailable(Exception):
    """The model host cannot be reached, or died in the middle of an answer."""


class HostUnreached(HostUnavailable):
    """The model host ended before it got the call."""


class HostRefused(Exception):
    """The model host refuses the call. The model never saw it."""


class HostNotReady(Exception):
    """The model host answers, but its model is not loaded."""


FilesOf = Callable[[str], OutputWriter]  # for the sizes that the answer says
Report = Callable[[Progress | OutputChunk], None]  # gets them as they come


@dataclass
class HostAnswer:
    """The outcome of a job: the answer that a sync predict would give."""

    output: Spool
    status: int = 0
    content_type: str = ""
    streamed: bool = False
    slot_kept: bool = False
    still_running: bool = False  # a generator that went silent still holds its slot
    stopped_by: str | None = None
    ms: float = 0.0
    failure: str = ""  # what the model raised, for its owner
    fault: Fault = WELL  # what that says about the host
    files_of: FilesOf | None = None  # None = the request has not asked for files
    files: OutputWriter | None = None


@contextlib.contextmanager
def _reaching() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise HostUnavailable(f"The model host is gone: {error!r}") from error
    except WireError as error:
        raise HostUnavailable(f"The model host's answer cannot be read: {error}") from error


class HostClient:
    """One keep-alive connection for one thread. `stop` and `state` open their own connections."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection = HostConnection(address, timeout=None)

    def acquire(self, wait: float) -> str | None:
        """The token of a slot, or None if sync calls used all slots for `wait` seconds.

        Raises HostNotReady and HostUnavailable.
        """
        with _reaching():
            response = self._quick(AcquireSlot(wait))
            if response.status == 503:
                raise HostNotReady
            return decode_granted(response.body).slot if response.status == 200 else None

    def give_back(self, slot: str) -> None:
        """Frees a slot. If the host is gone, there is nothing to free."""
        with contextlib.suppress(HostUnavailable), _reaching():
            self._quick(ReleaseSlot(slot))

    def run(
        self,
        job: RunJob,
        body: bytes | Iterator[bytes],
        output: Spool,
        report: Report,
        files_of: FilesOf | None = None,
    ) -> HostAnswer:
        """Runs a job. `files_of` makes what takes the files of its output.

        Raises HostRefused when it did not take the call, HostUnreached when it never got it, and HostUnavailable
        when it died before its end.
        """
        answer = HostAnswer(output, files_of=files_of)
        try:
            _send(self._connection, job, body)
        except OSError as error:
            raise HostUnreached(f"The model host is gone: {error!r}") from error
        with _reaching():
            response = self._connection.response()
            if response.status != 200:  # what the model says comes in messages, whatever its status
                raise HostRefused(f"{response.status}: {response.read()[:REFUSAL_BYTES]!r}")
            _read_messages(response, answer, report)
        output.close()
        return answer

    def _quick(self, call: AcquireSlot | ReleaseSlot) -> "_Said":
        for attempt in (1, 2):
            try:
                return _said(self._connection, call)
            except OSError:
                self._connection.close()  # kept alive from a host that has been replaced: once more
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


@dataclass(frozen=True)
class _Said:
    """Reads a complete answer."""

    status: int
    body: bytes


def _send(
    connection: HostConnection, call: WorkerCall, body: bytes | Iterator[bytes] = b""
) -> None:
    method, target, headers = encode_call(call)
    connection.request(method, target, body, headers)


def _said(connection: HostConnection, call: WorkerCall) -> _Said:
    _send(connection, call)
    response = connection.response()
    return _Said(response.status, response.read())


def _read_messages(response: Response, answer: HostAnswer, report: Report) -> None:
    decoder, ended = MessageDecoder(), False
    for piece in response.pieces():
        for message in decoder.feed(piece):
            ended = ended or isinstance(message, End)
            _take(message, answer, report)
    if not ended:
        raise ConnectionError("the answer has no end")


def _take(message: Message, answer: HostAnswer, report: Report) -> None:
    match message:
        case Result():
            answer.status, answer.streamed = message.status, message.streamed
            answer.content_type = message.headers.get("content-type", "")
            if not message.streamed:
                answer.output.clear()
                answer.output.head_only = answer.status >= 400
            sizes = message.headers.get(OUTPUT)
            if sizes and answer.files_of:
                _guarded(answer, lambda: _begin(answer, sizes))
        case BodyPiece():
            _guarded(answer, lambda: answer.output.write(_rest(answer, message.data)))
        case End():
            answer.slot_kept, answer.stopped_by = message.slot_kept, message.stopped_by
            answer.ms, answer.still_running = message.ms, message.still_running
            answer.fault = message.fault
        case OutputChunk():
            answer.output.write(message.data)
            report(message)
        case Progress():
            report(message)
        case Failure():
            answer.failure = message.text


def _begin(answer: HostAnswer, sizes: str) -> None:
    assert answer.files_of
    answer.files = answer.files_of(sizes)
    answer.files.take(b"")


def _rest(answer: HostAnswer, data: bytes) -> bytes:
    return answer.files.take(data) if answer.files else data


def _guarded(answer: HostAnswer, step: Callable[[], None]) -> None:
    """A file that cannot be stored is the failure of the output."""
    if answer.output.failure:
        return
    try:
        step()
    except (PayloadUnavailable, StoreUnavailable, ValueError) as error:
        answer.output.failure = str(error)


def _asked(address: str, call: WorkerCall, seconds: float = QUICK_SECONDS) -> _Said:
    """Makes a call on a connection of its own. Raises HostUnavailable."""
    with _reaching(), contextlib.closing(HostConnection(address, seconds)) as connection:
        return _said(connection, call)


def stop(address: str, lease: Lease) -> None:
    """Asks the host to stop a call. If it does not answer, nothing is done, because the watchdog ends it later."""
    with contextlib.suppress(HostUnavailable):
        _asked(address, CancelJob(lease.request_id, lease.fence))


def hot_reload(address: str) -> tuple[int, str]:
    """Asks the host to import the model's code again. Returns the status and text of its answer. Raises HostUnavailable."""
    said = _asked(address, Reload(), RELOAD_SECONDS)
    return said.status, said.body.decode(errors="replace")


def state(address: str) -> HostState | None:
    """The state of the host, None if it does not answer."""
    try:
        said = _asked(address, AskState())
        with _reaching():
            return decode_state(said.body)
    except HostUnavailable:
        return None


def failure_text(failure: LoadFailure) -> str:
    """The last frames, and the message in one line at the end."""
    frames = failure.traceback.strip().splitlines()[-FAILURE_LINES:]
    if frames and failure.message.startswith(frames[-1]):  # it may say what to do, too
        frames.pop()
    return "\n".join([*frames, failure.message])
