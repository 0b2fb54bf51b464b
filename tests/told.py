"""Collects what a store tells of its jobs, as it comes."""

import uuid
from collections import defaultdict
from types import TracebackType

import redis

from tasks.store import keys

SECONDS = 10.0


class Told:
    """Use it as a context manager; it listens from there on. `words` is up to date after `all`."""

    def __init__(self, url: str) -> None:
        self.words: dict[str, list[str]] = defaultdict(list)  # by request id
        self._client = redis.Redis.from_url(url)
        self._channel = self._client.pubsub()

    def __enter__(self) -> "Told":
        self._channel.psubscribe(keys.keyed("events", "*"))
        self._channel.get_message(timeout=SECONDS)  # the confirmation
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()
        self._client.close()

    def all(self) -> dict[str, list[str]]:
        """What was told so far, in its order."""
        last = uuid.uuid4().hex
        self._client.publish(keys.keyed("events", last), "")
        while True:
            message = self._channel.get_message(timeout=SECONDS)
            assert message, "the store told nothing"
            request_id = message["channel"].decode().rpartition(":")[2]
            if request_id == last:
                return self.words
            self.words[request_id].append(message["data"].decode())
