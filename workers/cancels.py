"""Listens for cancelled running jobs; the heartbeat is the safety net for a message that is missed."""

import threading
from collections.abc import Callable
from typing import cast

import redis
from redis.client import PubSub

from tasks import keys
from tasks.logs import get_logger
from tasks.store import JobStore
from workers.runs import Run, Runs, StopReason

log = get_logger("cancels")

POLL_SECONDS = 1.0  # s; how soon `stop` is noticed


class CancelListener:
    """A thread on the cancels channel."""

    def __init__(
        self, store: JobStore, runs: Runs, stop_run: Callable[[Run, StopReason], None]
    ) -> None:
        self._redis = store.redis
        self._runs = runs
        self._stop_run = stop_run
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="cancels", daemon=True)

    def start(self) -> None:
        """Starts listening."""
        self._thread.start()

    def stop(self) -> None:
        """Stops listening."""
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(keys.CANCELS)
                    self._listen(channel)
            except redis.RedisError as error:
                log.warning("cancels.disconnected", error=str(error))
                self._stopping.wait(POLL_SECONDS)

    def _listen(self, channel: PubSub) -> None:
        while not self._stopping.is_set():
            message = channel.get_message(timeout=POLL_SECONDS)
            run = self._runs.get(cast(bytes, message["data"]).decode()) if message else None
            if run:
                self._stop_run(run, StopReason.CANCELED)
