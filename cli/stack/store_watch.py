"""Notices when the store lost data, and restores its keys and models.

The store may come back empty, or as an older copy of itself. A note in the state folder says what it held last: which store
it was, how many requests had arrived, and a copy of keys and models. Requests cannot be restored; the lost ones are counted.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import cast

import redis

from cli.stack.flower import write_secret
from deployments.registry import keys as registry_keys
from deployments.registry import store_copy
from tasks.api_keys import KEYS
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.job_store import connect, unavailable

log = get_logger("store-watch")

EPOCH = keys.plain("epoch")
NOTE_EVERY = 5.0  # s, between two copies of the registry


@dataclass(frozen=True)
class Held:
    """What the store holds. `sequence` and `keys` never fall, because a revoked key stays in the store."""

    epoch: str = ""
    sequence: int = 0
    requests: int = 0  # that are not forgotten yet
    unfinished: int = 0  # of these
    keys: int = 0
    deployments: int = 0

    def lacks(self, before: "Held") -> bool:
        """Whether something is missing that is never removed in normal use."""
        if self.sequence < before.sequence or self.keys < before.keys:
            return True
        return self.epoch != before.epoch and self.deployments < before.deployments


class StoreWatch:
    """Compares the store with the note in the state folder. `look` does all the work."""

    def __init__(
        self, settings: Settings, which: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis: redis.Redis = connect(settings)
        self._path = settings.state_dir / "store.json"
        self._which = which  # a note of another store says nothing about this one
        self._monotonic = monotonic
        self._copy: store_copy.Copy = {}
        self._noted = Held()  # as the file has it
        self._before: Held | None = None
        self._noted_at = 0.0
        self._load()

    def look(self) -> str:
        """Restores keys and models if data was lost, and says in words what was lost; '' if nothing. Raises StoreUnavailable."""
        with unavailable():
            now, before = self._held(), self._before
            if before is None or not now.lacks(before):
                self._before = now = now if now.epoch else replace(now, epoch=self._new_epoch())
                self._write_note(now)
                return ""
            store_copy.write(self._redis, self._copy)
            self._redis.set(EPOCH, before.epoch)  # last: who waits for it finds the rest
            self._before = after = self._held()
            self._write_note(after)
        return _told(before, now, after)

    def close(self) -> None:
        """Gives the connection back."""
        self._redis.close()

    def _held(self) -> Held:
        pipe = self._redis.pipeline(transaction=True)
        pipe.get(EPOCH)
        pipe.get(keys.plain("sequence"))
        pipe.zcard(keys.plain("forget"))
        pipe.hvals(keys.plain("unfinished"))
        pipe.hlen(KEYS)
        pipe.scard(registry_keys.plain("deployments"))
        epoch, sequence, ended, by_key, known, deployments = pipe.execute()
        unfinished = sum(map(int, by_key))
        requests, number = ended + unfinished, int(sequence or 0)
        return Held((epoch or b"").decode(), number, requests, unfinished, known, deployments)

    def _new_epoch(self) -> str:
        self._redis.set(EPOCH, secrets.token_hex(8), nx=True)  # an API may be quicker
        return cast("bytes", self._redis.get(EPOCH)).decode()

    def _write_note(self, now: Held) -> None:
        """Writes the note: at once when the number of keys or deployments changed, else every few seconds."""
        shape = (now.epoch, now.keys, now.deployments)
        same = shape == (self._noted.epoch, self._noted.keys, self._noted.deployments)
        if same and self._monotonic() - self._noted_at < NOTE_EVERY:
            return
        copy = store_copy.read(self._redis)
        if self._held().lacks(now):
            return  # lost in this moment: the copy is of what is left
        self._noted_at = self._monotonic()
        if (copy, now) == (self._copy, self._noted):
            return
        self._copy = copy
        note = {"store": self._which, "held": asdict(now), "copy": copy}
        fresh = self._path.with_suffix(".new")
        write_secret(fresh, json.dumps(note))
        fresh.replace(self._path)
        self._noted = now

    def _load(self) -> None:
        """Reads the note. A torn note, or one of another store, is ignored."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(self._path.read_text())
            if note["store"] == self._which:
                held, self._copy = Held(**note["held"]), note["copy"]
                self._noted = self._before = held


def _told(before: Held, now: Held, after: Held) -> str:
    """Logs the loss with its figures, and returns it as a sentence."""
    empty = not (now.keys or now.deployments or now.requests)
    requests = max(before.requests - now.requests, 0)
    unfinished = max(before.unfinished - now.unfinished, 0)
    log.error(
        "store.lost",
        empty=empty,
        requests=requests,
        unfinished=unfinished,
        keys=after.keys - now.keys,
        deployments=after.deployments - now.deployments,
    )
    how = "empty" if empty else "as an older copy of itself"
    return (
        f"The store came back {how}. Requests lost: {requests}, of which {unfinished} had not finished. "
        f"Restored: API keys {after.keys - now.keys}, deployments {after.deployments - now.deployments}."
    )
