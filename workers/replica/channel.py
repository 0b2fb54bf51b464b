"""A thread that reads one pub/sub channel of the job store. It reconnects after a lost connection."""

import threading
from collections.abc import Callable
from typing import cast

from redis.client import PubSub

from tasks.process.loops import Guard
from tasks.store.job_store import JobStore, unavailable

POLL_SECONDS = 1.0  # between polls: `stop` is noticed this much late at most


class Channel:
    """Gives the text of each message to `take`. Messages that are sent while it is not connected are lost."""

    def __init__(self, store: JobStore, name: str, take: Callable[[str], None]) -> None:
        self._redis = store.redis
        self._name = name
        self._take = take
        self._listens = Guard(f"channel {name}")
        self._messages = Guard(f"message of {name}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Starts listening."""
        self._thread.start()

    def stop(self) -> None:
        """Stops listening."""
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            with (
                self._listens.round(),
                unavailable(),
                self._redis.pubsub(ignore_subscribe_messages=True) as channel,
            ):
                channel.subscribe(self._name)
                self._listen(channel)
            self._stopping.wait(max(self._listens.delay, POLL_SECONDS))

    def _listen(self, channel: PubSub) -> None:
        while not self._stopping.is_set():
            message = channel.get_message(timeout=POLL_SECONDS)
            if message:
                with self._messages.round():
                    self._take(cast(bytes, message["data"]).decode())
