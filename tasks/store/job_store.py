"""The store runs verbs on Redis: those of jobs (tasks/store/verbs.py) and of other libraries. Only it calls functions.

Every verb is idempotent by (request_id, fence), so that the client library may retry a call whose reply was lost.
"""

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

import redis
import redis.asyncio
from redis.asyncio.client import Pipeline as AsyncPipeline
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
from redis.retry import Retry

from tasks.errors import StoreUnavailable
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.pipelined import Pipelined
from tasks.store.records import Reply, items
from tasks.store.scripting import PREFIX, Functions, Library, Verb
from tasks.store.verbs import ScriptCall

T = TypeVar("T")
After = TypeVar("After")

RETRIES = 2  # within a call; a caller may retry for longer, with its own deadline
BACKOFF = ExponentialWithJitterBackoff(cap=0.5, base=0.05)
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 10.0  # a script takes milliseconds; fsync on a bad disk can take seconds

# Errors of a Redis that cannot serve right now. Other errors are bugs and are raised as they are. For most the client library has
# classes, and takes the word off the message. It raises a ConnectionError for LOADING.
_TEMPORARY = (OutOfMemoryError, ReadOnlyError, MasterDownError, TryAgainError)
_TEMPORARY_WORDS = ("MISCONF", "NOREPLICAS", "BUSY ")
# How the errors begin if the user, the password or the database of the address is wrong.
_REFUSING_WORDS = ("NOAUTH", "WRONGPASS", "NOPERM", "DB index", "invalid DB index")


@contextlib.contextmanager
def unavailable() -> Generator[None]:
    """Raises StoreUnavailable for every error that means that Redis cannot serve now."""
    try:
        yield
    except (TimeoutError, redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise StoreUnavailable(f"The job store cannot be reached: {error}") from error
    except redis.ResponseError as error:
        if isinstance(error, _TEMPORARY) or str(error).startswith(_TEMPORARY_WORDS):
            raise StoreUnavailable(f"The job store cannot serve right now: {error}") from error
        if str(error).startswith(_REFUSING_WORDS):
            raise StoreUnavailable(f"The job store refuses: {error}") from error
        raise


def _library_name(row: Any) -> bytes:
    """The name in a row of `FUNCTION LIST`, which is a dict in RESP3 and a flat list in RESP2."""
    fields = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
    return cast(dict[bytes, bytes], fields)[b"library_name"]


class _Libraries:
    """The libraries for these settings. Each is built when its first verb runs, or earlier by `prepare`."""

    def __init__(self, settings: Settings, movable_clock: bool) -> None:
        self._settings, self._movable_clock = settings, movable_clock
        self._built: dict[Library, Functions] = {}

    def of(self, call: ScriptCall[Any]) -> Verb:
        """The verb of that call."""
        return self.source(call.library).verbs[call.script]

    def source(self, library: Library) -> Functions:
        """The library, built."""
        if library not in self._built:
            self.prepare(library)
        return self._built[library]

    def prepare(self, *libraries: Library) -> None:
        """Builds them. Two threads may do so at once: the result is the same."""
        for library in libraries:
            self._built[library] = library.build(self._settings, self._movable_clock)


def _is_missing(error: Any) -> bool:
    """Whether Redis does not have the library: it is new, or lost its data. Whoever finds that loads it."""
    return isinstance(error, redis.ResponseError) and str(error).startswith("Function not found")


def _options(settings: Settings) -> dict[str, Any]:
    over_tcp = not settings.redis_url.startswith("unix:")
    return {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "health_check_interval": 15,
    } | ({"socket_keepalive": True} if over_tcp else {})


def connect(settings: Settings) -> redis.Redis:
    """A client with our timeouts and retries."""
    retry = Retry(BACKOFF, RETRIES)
    return redis.Redis.from_url(settings.redis_url, retry=retry, **_options(settings))


class _BoundedPipeline(AsyncPipeline):
    seconds: float

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        async with asyncio.timeout(self.seconds):
            return await super().execute(raise_on_error)


class _Bounded(redis.asyncio.Redis):
    """A client whose commands and pipelines end within `seconds`, with all retries. After that they raise TimeoutError."""

    seconds: float

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with asyncio.timeout(self.seconds):
            return await super().execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> _BoundedPipeline:
        pipe = _BoundedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipe.seconds = self.seconds
        return pipe


def connect_async(settings: Settings) -> redis.asyncio.Redis:
    """A client for asyncio. All retries of a call together end within `store_timeout_seconds`, because a client of the API waits."""
    retry = AsyncRetry(BACKOFF, RETRIES)
    client = cast(
        _Bounded, _Bounded.from_url(settings.redis_url, retry=retry, **_options(settings))
    )
    client.seconds = settings.store_timeout_seconds
    return client


def _ask(pipe: Any, what: str, request_id: str) -> Any:
    """Asks for an input or output, which is in the record if it is short."""
    return pipe.hget(keys.keyed("job", request_id), what).get(keys.keyed(what, request_id))


def _kept(replies: list[bytes | None]) -> bytes | None:
    in_record, alone = replies
    return alone if in_record is None else in_record


class JobStore:
    """The store for synchronous callers. Threads may share it."""

    def __init__(self, settings: Settings, *, movable_clock: bool = False) -> None:
        self._libraries = _Libraries(settings, movable_clock)
        # The library of jobs takes a second to build, because Celery makes the wake-up.
        self.prepare = self._libraries.prepare
        self.redis = connect(settings)

    def run(self, call: ScriptCall[T]) -> T:
        """Runs a verb. Raises StoreUnavailable if Redis cannot serve, and the errors of the verb."""
        verb = self._libraries.of(call)
        with unavailable():
            try:
                reply = self.redis.fcall(verb.function, 1, keys.TAG, *call.arguments)
            except redis.ResponseError as error:
                if not _is_missing(error):
                    raise
                reply = self._run_first(call, verb)
        return call.read(cast(Reply, reply))

    def _run_first(self, call: ScriptCall[T], verb: Verb) -> Any:
        """Loads the library and runs the verb. A full store takes no library, but the verbs that free memory run all the same."""
        try:
            self.redis.function_load(self._libraries.source(call.library).source, replace=True)
        except OutOfMemoryError:
            return self.redis.eval(verb.script, 1, keys.TAG, *call.arguments)
        return self.redis.fcall(verb.function, 1, keys.TAG, *call.arguments)

    def run_both(self, first: ScriptCall[T], second: ScriptCall[After]) -> tuple[T, After]:
        """Runs two verbs in one round trip, in this order. Raises the errors of `run`; after one, both, one or none may have run."""
        with unavailable(), self.redis.pipeline(transaction=False) as pipeline:
            for call in (first, second):
                verb = self._libraries.of(call)
                pipeline.fcall(verb.function, 1, keys.TAG, *call.arguments)
            # The pipeline's own error would quote the arguments, which are a client's.
            replies: list[Any] = pipeline.execute(raise_on_error=False)
            if any(map(_is_missing, replies)):
                return self.run(first), self.run(second)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return first.read(replies[0]), second.read(replies[1])

    def output(self, request_id: str) -> bytes | None:
        """The bytes of the result, None if there is none here."""
        with unavailable(), self.redis.pipeline(transaction=False) as pipe:
            return _kept(_ask(pipe, "output", request_id).execute())

    def close(self) -> None:
        """Closes the connections."""
        self.redis.close()


class AsyncJobStore:
    """The store for the API and the maintenance loops."""

    def __init__(self, settings: Settings, *, movable_clock: bool = False) -> None:
        self._libraries = _Libraries(settings, movable_clock)
        self.prepare = self._libraries.prepare
        self.redis = connect_async(settings)
        self._pipelined = Pipelined(self.redis)

    def took(self, tell: Callable[[float], object]) -> None:
        """Has `tell` called with the seconds of each round trip from now on, failed ones included."""
        self._pipelined.took = tell

    async def run(self, call: ScriptCall[T]) -> T:
        """Runs a verb. Raises StoreUnavailable if Redis cannot serve, and the errors of the verb."""
        verb = self._libraries.of(call)
        with unavailable():
            try:
                reply = await self._call("FCALL", verb.function, call)
            except redis.ResponseError as error:
                if not _is_missing(error):
                    raise
                reply = await self._run_first(call, verb)
        return call.read(reply)

    async def _call(self, command: str, what: str, call: ScriptCall[T]) -> Reply:
        return await self._pipelined.run(command, what, 1, keys.TAG, *call.arguments)

    async def _run_first(self, call: ScriptCall[T], verb: Verb) -> Reply:
        """As that of JobStore."""
        try:
            source = self._libraries.source(call.library).source
            await self._pipelined.run("FUNCTION", "LOAD", "REPLACE", source)
        except OutOfMemoryError:
            return await self._call("EVAL", verb.script, call)
        return await self._call("FCALL", verb.function, call)

    async def drop_libraries(self) -> None:
        """Deletes all libraries of Kingpost, those of earlier versions too. Who still needs one loads it with its next call."""
        with unavailable():
            said = await self._pipelined.run("FUNCTION", "LIST", "LIBRARYNAME", f"{PREFIX}*")
            for name in map(_library_name, items(said)):
                await self._pipelined.run("FUNCTION", "DELETE", name)

    async def output(self, request_id: str) -> bytes | None:
        """The bytes of the result, None if there is none here."""
        with unavailable():
            async with self.redis.pipeline(transaction=False) as pipe:
                return _kept(await _ask(pipe, "output", request_id).execute())

    async def input(self, request_id: str) -> bytes | None:
        """The bytes of the model input, None if they are not kept here."""
        with unavailable():
            async with self.redis.pipeline(transaction=False) as pipe:
                return _kept(await _ask(pipe, "input", request_id).execute())

    async def close(self) -> None:
        """Closes the connections."""
        await self.redis.aclose()
