"""One call of the model: what the client sent, who waits for it, and how it is stopped."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from deployments import attached
from deployments.output_files import Link
from workers.host.call.files import NO_FILES, CallFiles, chunks_of, received
from workers.host.call.slots import CallKind
from workers.host.errors import ClientGone
from workers.wire.calls import LINK, PRIVATE_PREFIX

Result = TypeVar("Result")
StoppedBy = Literal["cooperative", "closed"]
Progress = Callable[[float, str | None], None]
# models read `request.client.host`, and a Unix socket knows no client address
LOCAL_CLIENT = ("127.0.0.1", 0)


def no_progress(fraction: float, message: str | None = None) -> None:
    """Ignores the progress of a sync call, because nobody could read it."""


class ModelCall:
    """One call. It belongs to the event loop, but any thread may use `stopped` and `progress`."""

    def __init__(
        self,
        scope: Scope,
        body: bytes,
        kind: CallKind,
        grace_seconds: float,
        files: CallFiles = NO_FILES,
    ) -> None:
        self.scope = scope
        self.files = files
        self.headers = Headers(scope=scope)
        self.body = body
        self.kind = kind
        self.progress: Progress = no_progress
        self.stopped = threading.Event()
        self.stopped_by: StoppedBy = "cooperative"
        self.answered = False  # True once the whole answer was sent; `stop` then does nothing
        self.cancel_at = 0.0  # when the grace time ends, by the loop's clock; set by `stop`
        self._grace = grace_seconds
        self._task: asyncio.Task[Any] | None = None
        # whether the code that runs now may go on for the grace time after a stop
        self._with_grace = False
        self._cancelled = False  # whether `_cancel` has cancelled the code that runs now
        # identifies the code that runs now, so that a late timer cancels no later code
        self._step = object()
        self._listeners: list[asyncio.Future[None]] = []

    @property
    def is_binary(self) -> bool:
        """True if input and output are msgpack. Only the media type counts, in upper or lower case."""
        media_type = self.headers.get("content-type", "").partition(";")[0]
        return media_type.strip().lower() == "application/octet-stream"

    @property
    def gathers(self) -> bool:
        """True if chunks must be joined, because the client accepts only JSON.

        The OpenAI SDK also accepts only JSON, but wants a stream. It is recognised by its name.
        """
        agent = self.headers.get("user-agent", "").lower()
        return self.headers.get("accept") == "application/json" and "openai" not in agent

    @cached_property
    def link(self) -> Link | None:
        """Where files of the output go, None if the caller has not asked for files."""
        said = self.headers.get(LINK, "")
        return Link.read(said) if said else None

    @cached_property
    def request(self) -> "ModelRequest":
        """The request object for the model's methods."""
        return ModelRequest(self)

    def stop(self) -> None:
        """Asks the call to end. The model is told, and its async code is cancelled after a grace time. Idempotent."""
        if self.stopped.is_set() or self.answered:
            return
        self.cancel_at = asyncio.get_running_loop().time() + self._grace
        self.stopped.set()
        for listener in self._listeners:
            if not listener.done():
                listener.set_result(None)
        if self._task is not None:
            self._cancel_in_time(self._task)

    def _cancel_in_time(self, task: asyncio.Task[Any]) -> None:
        if self._with_grace:
            asyncio.get_running_loop().call_at(self.cancel_at, self._cancel, task, self._step)
        else:
            self._cancel(task, self._step)

    def _cancel(self, task: asyncio.Task[Any], step: object) -> None:
        if self._task is task and self._step is step:  # else that code has ended by itself
            self._cancelled = True
            task.cancel()

    def raise_if_stopped(self, step: str) -> None:
        """Raises ClientGone if nobody waits for the answer any more."""
        if self.stopped.is_set():
            raise ClientGone(step)

    async def cancellable(
        self, awaitable: Awaitable[Result], step: str, with_grace: bool = False
    ) -> Result:
        """Awaits code that `stop` may cancel: at once, or after the grace time for model code (`with_grace`).

        Raises ClientGone if the call was stopped, whatever the code returned.
        """
        task = asyncio.current_task()
        assert task is not None, "calls run in tasks"
        self._task, self._with_grace = task, with_grace
        self._step, self._cancelled = object(), False
        if self.stopped.is_set():
            self._cancel_in_time(task)
        try:
            result = await awaitable
        except asyncio.CancelledError:
            if self._cancelled and task.uncancel() == 0:
                raise ClientGone(step) from None
            raise
        finally:
            self._task = None
        if self._cancelled:
            task.uncancel()
        if self.stopped.is_set():
            raise ClientGone(step)
        return result

    async def wait_stopped(self) -> None:
        """Returns once the call is stopped."""
        if not self.stopped.is_set():
            listener: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._listeners.append(listener)
            await listener


class ModelRequest(Request):
    """A starlette request whose body was read before. It counts as disconnected when the call is stopped."""

    def __init__(self, call: ModelCall) -> None:
        super().__init__(_model_scope(call.scope), _disconnect_receiver(call))
        self._body = call.body  # where starlette keeps a body that was read
        self._call = call
        self.state.watch_disconnect = self._watch_disconnect
        self.state.progress = call.progress
        self.state.files = call.files.paths

    def pass_on(self, name: str, value: str) -> None:
        """Changes a header that the model passes on in its own calls, as chainlets do."""
        headers = self.scope["headers"]  # a list that `self.headers` reads, too
        headers[:] = [(n, value.encode() if n == name.encode() else v) for n, v in headers]

    async def is_disconnected(self) -> bool:
        return self._call.stopped.is_set()

    @contextmanager
    def _watch_disconnect(self) -> Generator[threading.Event]:
        yield self._call.stopped


def _model_scope(scope: Scope) -> MutableMapping[str, Any]:
    headers = [pair for pair in scope["headers"] if not pair[0].startswith(PRIVATE_PREFIX)]
    return {**scope, "headers": headers, "state": {}, "client": client_of(scope)}


def client_of(scope: Scope) -> tuple[str, int]:
    """The client address for the model. It is never empty."""
    return scope.get("client") or LOCAL_CLIENT


def _disconnect_receiver(call: ModelCall) -> Receive:
    """An ASGI `receive` after the body was read. It returns only when the call is stopped."""

    async def receive() -> Message:
        await call.wait_stopped()
        return {"type": "http.disconnect"}

    return receive


def body_receiver(call: ModelCall) -> Receive:
    """An ASGI `receive` that gives the body once and then waits for the stop."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": call.body, "more_body": False}
        await call.wait_stopped()
        return {"type": "http.disconnect"}

    return receive


async def read_call(receive: Receive, files: str, parent: Path | None) -> tuple[CallFiles, bytes]:
    """Reads the files that the header FILES names into a folder in `parent`, and the whole input.

    Raises ClientGone if the client leaves in the middle, FilesNotStored, and FilesRefused if there are files and no `parent`.
    """
    if files:
        return await received(receive, attached.read(files), parent)
    chunks = [chunk async for chunk in chunks_of(receive)]
    return NO_FILES, chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def watch_client(call: ModelCall, receive: Receive) -> None:
    """Stops the call when its client leaves. It runs as a task after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    call.stop()
