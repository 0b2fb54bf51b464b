"""Calls those routes of the model host that only its worker may call, over HTTP on a Unix socket of their own."""

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

REFUSAL_BYTES = 200  # how much of a refusal goes to the log
FAILURE_LINES = 16  # how many last lines of a traceback the directory keeps
RELOAD_SECONDS = 60.0  # for a hot reload, whose imports may be slow
QUICK_SECONDS = 2.0  # for calls that a living host answers at once


class HostUnavailable(Exception):
    """The model host cannot be reached, or died in the middle of an answer."""


class HostUnreached(HostUnavailable):
    """The model host ended before it got the call."""


class HostRefused(Exception):
    """The model host refuses the call. The model never saw it."""


class HostNotReady(Exception):
    """The model host answers, but its model is not loaded."""


FilesOf = Callable[
    [str], OutputWriter
]  # makes the writer of an output's files from the header that lists their sizes
Report = Callable[[Progress | OutputChunk], None]  # is called with each message as it comes


@dataclass
class HostAnswer:
    """The outcome of a job. Status, content type and output are those of a sync predict call."""

    output: Spool
    status: int = 0
    content_type: str = ""
    streamed: bool = False  # whether the output came in chunks
    slot_kept: bool = False  # whether the slot is kept for the next job of this worker
    still_running: bool = False  # a generator that went silent still holds its slot
    # how the call ended after a stop, see StoppedBy; None = not stopped
    stopped_by: str | None = None
    ms: float = 0.0  # how long the call took in the host
    failure: str = ""  # what the model raised, for its owner
    fault: Fault = WELL  # what that says about the host
    files_of: FilesOf | None = None  # None = the request has not asked for files
    files: OutputWriter | None = None  # of the files in the output, if it has any


@contextlib.contextmanager
def _raises_unavailable() -> Generator[None]:
    """Turns failures of the connection or of the answer into HostUnavailable."""
    try:
        yield
    except OSError as error:
        raise HostUnavailable(f"The model host is gone: {error!r}") from error
    except WireError as error:
        raise HostUnavailable(f"The model host's answer cannot be read: {error}") from error


class HostClient:
    """One keep-alive connection for one thread.

    The functions `stop`, `hot_reload` and `state` of this module open a connection of their own, so any thread may call them.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection = HostConnection(address, timeout=None)

    def acquire(self, wait: float) -> str | None:
        """The token of a slot, or None if no slot became free within `wait` seconds.

        Raises HostNotReady and HostUnavailable.
        """
        with _raises_unavailable():
            response = self._ask_twice(AcquireSlot(wait))
            if response.status == 503:
                raise HostNotReady
            return decode_granted(response.body).slot if response.status == 200 else None

    def give_back(self, slot: str) -> None:
        """Frees a slot. If the host is gone, there is nothing to free."""
        with contextlib.suppress(HostUnavailable), _raises_unavailable():
            self._ask_twice(ReleaseSlot(slot))

    def run(
        self,
        job: RunJob,
        body: bytes | Iterator[bytes],
        output: Spool,
        report: Report,
        files_of: FilesOf | None = None,
    ) -> HostAnswer:
        """Runs a job and waits for its end, without a limit. `files_of` makes the writer for the files of its output.

        Raises HostRefused if the host did not take the call, HostUnreached if it did not get all of it, and HostUnavailable
        if the host died in the middle of its answer.
        """
        answer = HostAnswer(output, files_of=files_of)
        try:
            _send(self._connection, job, body)
        except OSError as error:
            raise HostUnreached(f"The model host is gone: {error!r}") from error
        with _raises_unavailable():
            response = self._connection.response()
            # The model's own status comes in a message. This one is the host's.
            if response.status != 200:
                raise HostRefused(f"{response.status}: {response.read()[:REFUSAL_BYTES]!r}")
            _read_messages(response, answer, report)
        output.close()
        return answer

    def _ask_twice(self, call: AcquireSlot | ReleaseSlot) -> "_QuickAnswer":
        """Makes a call, and once more if the connection was kept from a host that has been replaced. Raises OSError."""
        for attempt in (1, 2):
            try:
                return _ask(self._connection, call)
            except OSError:
                self._connection.close()
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


@dataclass(frozen=True)
class _QuickAnswer:
    """The answer to a call that is not a job."""

    status: int
    body: bytes


def _send(
    connection: HostConnection, call: WorkerCall, body: bytes | Iterator[bytes] = b""
) -> None:
    method, target, headers = encode_call(call)
    connection.request(method, target, body, headers)


def _ask(connection: HostConnection, call: WorkerCall) -> _QuickAnswer:
    _send(connection, call)
    response = connection.response()
    return _QuickAnswer(response.status, response.read())


def _read_messages(response: Response, answer: HostAnswer, report: Report) -> None:
    decoder, ended = MessageDecoder(), False
    for piece in response.pieces():
        for message in decoder.feed(piece):
            ended = ended or isinstance(message, End)
            _apply(message, answer, report)
    if not ended:
        raise ConnectionError("the answer has no end")


def _apply(message: Message, answer: HostAnswer, report: Report) -> None:
    match message:
        case Result():
            answer.status, answer.streamed = message.status, message.streamed
            answer.content_type = message.headers.get("content-type", "")
            if not message.streamed:
                answer.output.clear()
                answer.output.head_only = answer.status >= 400
            sizes = message.headers.get(OUTPUT)
            if sizes and answer.files_of:
                _store(answer, lambda: _begin_files(answer, sizes))
        case BodyPiece():
            _store(answer, lambda: answer.output.write(_after_files(answer, message.data)))
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


def _begin_files(answer: HostAnswer, sizes: str) -> None:
    assert answer.files_of
    answer.files = answer.files_of(sizes)
    answer.files.take(b"")  # empty files have no bytes that would begin them


def _after_files(answer: HostAnswer, data: bytes) -> bytes:
    """Writes the part of `data` that belongs to files, and returns the part that belongs to the output itself."""
    return answer.files.take(data) if answer.files else data


def _store(answer: HostAnswer, step: Callable[[], None]) -> None:
    """Runs a step that stores a part of the output. Its failure is recorded, and the steps after it are skipped."""
    if answer.output.failure:
        return
    try:
        step()
    except (PayloadUnavailable, StoreUnavailable, ValueError) as error:
        answer.output.failure = str(error)


def _ask_once(address: str, call: WorkerCall, seconds: float = QUICK_SECONDS) -> _QuickAnswer:
    """Makes a call on a connection of its own. Raises HostUnavailable."""
    with _raises_unavailable(), contextlib.closing(HostConnection(address, seconds)) as connection:
        return _ask(connection, call)


def stop(address: str, lease: Lease) -> None:
    """Asks the host to stop a call. Nothing is done if the host does not answer, because the watchdog ends such a host later."""
    with contextlib.suppress(HostUnavailable):
        _ask_once(address, CancelJob(lease.request_id, lease.fence))


def hot_reload(address: str) -> tuple[int, str]:
    """Asks the host to import the model's code again. Returns the status and text of its answer. Raises HostUnavailable."""
    answer = _ask_once(address, Reload(), RELOAD_SECONDS)
    return answer.status, answer.body.decode(errors="replace")


def state(address: str) -> HostState | None:
    """The state of the host, None if it does not answer within QUICK_SECONDS."""
    try:
        answer = _ask_once(address, AskState())
        with _raises_unavailable():
            return decode_state(answer.body)
    except HostUnavailable:
        return None


def failure_text(failure: LoadFailure) -> str:
    """The last FAILURE_LINES lines of the traceback, and the message in one line at the end."""
    frames = failure.traceback.strip().splitlines()[-FAILURE_LINES:]
    # The last line is left out if the message begins with it. The message may go on with advice.
    if frames and failure.message.startswith(frames[-1]):
        frames.pop()
    return "\n".join([*frames, failure.message])
