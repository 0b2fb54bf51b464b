"""The worker's side of its routes at the model host, over HTTP on a Unix socket of their own."""

import contextlib
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from tasks.job import Lease
from workers.hosting.connection import BROKEN, HostConnection, Response
from workers.hosting.spool import Spool
from workers.wire import Frame, FrameDecoder, FrameKind

FENCE_HEADER = "x-kingpost-fence"  # which attempt at the job
REFUSAL_BYTES = 200  # of a refusal, for the log
FAILURE_LINES = 16  # of a traceback that the directory keeps
RELOAD_SECONDS = 60.0  # an import may take its time
QUICK_SECONDS = 2.0  # for calls that a living host answers at once


class HostUnavailable(Exception):
    """The model host cannot be reached, or died in the middle of an answer."""


class HostUnreached(HostUnavailable):
    """The model host was gone before it got the call."""


class HostRefused(Exception):
    """The model host answers for itself: it does not take the call, and the model never saw it."""


class HostNotReady(Exception):
    """The model host answers, but its model is not loaded."""


@dataclass(frozen=True)
class HostState:
    """What the host says of itself."""

    state: str  # loading, ready, failed or draining
    error: str | None
    slots: int
    busy: int
    pid: int
    open: int = 0  # calls that came in from callers
    served: int = 0  # of these, since it started


@dataclass
class HostAnswer:
    """What came of one job: the answer as sync predict would have given it."""

    output: Spool
    status: int = 0
    content_type: str = ""
    streamed: bool = False
    slot_kept: bool = False
    still_running: bool = False  # a generator that went silent still holds its slot
    stopped_by: str | None = None
    ms: float = 0.0
    failure: str = ""  # what the model raised, for its owner


@contextlib.contextmanager
def _reaching() -> Generator[None]:
    try:
        yield
    except BROKEN as error:
        raise HostUnavailable(f"The model host is gone: {error!r}") from error


class HostClient:
    """One keep-alive connection for one thread; `stop` and `state` open their own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection = HostConnection(address, timeout=None)

    def acquire(self, wait: float) -> str | None:
        """A slot's token, or None when sync calls held all of them for `wait` seconds.

        Raises HostNotReady and HostUnavailable.
        """
        with _reaching():
            status, body = self._quick("POST", f"/slots?wait={wait}")
        if status == 503:
            raise HostNotReady
        return json.loads(body)["slot"] if status == 200 else None

    def give_back(self, slot: str) -> None:
        """Frees a slot; a host that is gone has none to free."""
        with contextlib.suppress(HostUnavailable), _reaching():
            self._quick("DELETE", f"/slots/{slot}")

    def run(
        self,
        lease: Lease,
        body: bytes | Iterator[bytes],
        headers: dict[str, str],
        output: Spool,
        on_frame: Callable[[Frame], None],
    ) -> HostAnswer:
        """Runs a job and gives progress and output frames to `on_frame` as they come.

        Raises HostRefused when it did not take the call, HostUnreached when it never got it, and HostUnavailable
        when it died before its end.
        """
        answer = HostAnswer(output)
        try:
            fenced = {**headers, FENCE_HEADER: lease.fence}
            self._connection.request("POST", f"/jobs/{lease.request_id}", body, fenced)
        except BROKEN as error:
            raise HostUnreached(f"The model host is gone: {error!r}") from error
        with _reaching():
            response = self._connection.response()
            if response.status != 200:  # what the model says comes in frames, whatever its status
                raise HostRefused(f"{response.status}: {response.read()[:REFUSAL_BYTES]!r}")
            self._read_frames(response, answer, on_frame)
        output.close()
        return answer

    def _read_frames(
        self,
        response: Response,
        answer: HostAnswer,
        on_frame: Callable[[Frame], None],
    ) -> None:
        decoder, ended = FrameDecoder(), False
        for piece in response.pieces():
            for frame in decoder.feed(piece):
                ended = ended or frame.kind is FrameKind.END
                _take(frame, answer, on_frame)
        if not ended:
            raise ConnectionError("the answer has no end")

    def _quick(self, method: str, path: str) -> tuple[int, bytes]:
        for attempt in (1, 2):
            try:
                self._connection.request(method, path)
                response = self._connection.response()
                return response.status, response.read()
            except BROKEN:
                self._connection.close()  # kept alive from a host that has been replaced: once more
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def _take(frame: Frame, answer: HostAnswer, on_frame: Callable[[Frame], None]) -> None:
    match frame.kind:
        case FrameKind.PROGRESS:
            on_frame(frame)
        case FrameKind.OUTPUT:
            answer.output.write(frame.payload)
            on_frame(frame)
        case FrameKind.BODY:
            answer.output.write(frame.payload)
        case FrameKind.RESULT:
            head: dict[str, Any] = frame.json()
            answer.status, answer.streamed = head["status"], head["streamed"]
            answer.failure = head.get("failure", "")
            answer.content_type = head["headers"].get("content-type", "")
            if not head["streamed"]:
                answer.output.clear()
                answer.output.head_only = answer.status >= 400
        case FrameKind.END:
            end: dict[str, Any] = frame.json()
            answer.slot_kept, answer.stopped_by = end["slot_kept"], end["stopped_by"]
            answer.ms, answer.still_running = end["ms"], end.get("still_running", False)


def stop(address: str, lease: Lease) -> None:
    """Asks the host to stop a call; a host that does not answer is ended later anyway."""
    with contextlib.suppress(HostUnavailable), _reaching():
        connection = HostConnection(address, QUICK_SECONDS)
        headers = {FENCE_HEADER: lease.fence}
        connection.request("DELETE", f"/jobs/{lease.request_id}", headers=headers)
        connection.response().read()
        connection.close()


def hot_reload(address: str) -> tuple[int, str]:
    """Asks the host to import the model's code anew; its status and what it says. Raises HostUnavailable."""
    with _reaching(), contextlib.closing(HostConnection(address, RELOAD_SECONDS)) as connection:
        connection.request("POST", "/hot-reload")
        answer = connection.response()
        return answer.status, answer.read().decode(errors="replace")


def state(address: str) -> HostState | None:
    """What the host says of itself; None while it does not answer."""
    try:
        with _reaching(), contextlib.closing(HostConnection(address, QUICK_SECONDS)) as connection:
            connection.request("GET", "/state")
            said: dict[str, Any] = json.loads(connection.response().read())
    except HostUnavailable:
        return None
    error = _failure(**said["error"]) if said.get("error") else None
    return HostState(
        said["state"], error, said["slots"], said["busy"], said["pid"], said["open"], said["served"]
    )


def _failure(message: str, traceback: str) -> str:
    """The last frames, and the message in one line at the end."""
    frames = traceback.strip().splitlines()[-FAILURE_LINES:]
    return "\n".join(frames if frames and frames[-1] == message else [*frames, message])
