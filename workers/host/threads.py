"""The pool of threads that runs sync model code. Each call has the context of its request."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar, cast

Result = TypeVar("Result")
MAX_THREADS = 512  # made on demand; a stopped sync call keeps its thread until the model returns

# One for each event loop: chainlets that share a process must not wait for each other's threads.
_pools = threading.local()


async def in_thread(function: Callable[..., Result], *args: object) -> Result:
    """Calls the function in a thread and waits. Raises its exceptions, also StopIteration and SystemExit.

    If the wait is cancelled, the function still runs to its end.
    """
    context = copy_context()
    loop = asyncio.get_running_loop()
    error, result = await loop.run_in_executor(
        _pool(), lambda: context.run(_caught, function, args)
    )
    if error is not None:
        raise error
    return cast(Result, result)


def _pool() -> ThreadPoolExecutor:
    pool: ThreadPoolExecutor | None = getattr(_pools, "pool", None)
    if pool is None:
        pool = _pools.pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="model")
    return pool


def _caught(
    function: Callable[..., Any], args: tuple[object, ...]
) -> tuple[BaseException | None, object]:
    # The error is returned and not raised: a future cannot carry StopIteration, and a SystemExit in one would end the server's loop.
    try:
        return None, function(*args)
    except BaseException as error:  # handed over whole to whoever awaits
        return error, None
