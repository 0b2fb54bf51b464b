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

EPOCH = keys.plain("epoch")  # a random word that names this store
NOTE_SECONDS = 5.0  # between two copies of keys and models


@dataclass(frozen=True)
class Held:
    """What the store holds, in numbers. `sequence` and `keys` never fall, because a revoked key stays in the store."""

    epoch: str = ""
    sequence: int = 0  # how many requests have ever arrived
    requests: int = 0  # that it still knows, finished or not
    unfinished: int = 0  # of `requests`
    keys: int = 0
    deployments: int = 0

    def lacks(self, before: "Held") -> bool:
        """Whether something is missing that is never removed in normal use."""
        if self.sequence < before.sequence or self.keys < before.keys:
            return True
        return self.epoch != before.epoch and self.deployments < before.deployments


class StoreWatch:
    """Compares the store with the note in the state folder, each time when `look` is called."""

    def __init__(
        self, settings: Settings, which: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis: redis.Redis = connect(settings)
        self._path = settings.state_dir / "store.json"
        self._store_name = which  # names the store; a note of another store is ignored
        self._monotonic = monotonic
        self._copy: store_copy.Copy = {}
        self._noted = Held()  # what the note says
        self._before: Held | None = None  # at the last look, or by the note
        self._noted_at = 0.0
        self._read_note()

    def look(self) -> str:
        """Restores keys and models if data was lost, and says in words what was lost; '' if nothing. Raises StoreUnavailable."""
        with unavailable():
            now, before = self._read_held(), self._before
            if before is None or not now.lacks(before):
                self._before = now = now if now.epoch else replace(now, epoch=self._new_epoch())
                self._write_note(now)
                return ""
            store_copy.write(self._redis, self._copy)
            # Last, so that whoever waits for the epoch finds the rest restored.
            self._redis.set(EPOCH, before.epoch)
            self._before = after = self._read_held()
            self._write_note(after)
        return _report(before, now, after)

    def close(self) -> None:
        """Gives the connection back."""
        self._redis.close()

    def _read_held(self) -> Held:
        pipe = self._redis.pipeline(transaction=True)
        pipe.get(EPOCH)
        pipe.get(keys.plain("sequence"))
        pipe.zcard(keys.plain("all_jobs"))
        pipe.hvals(keys.plain("unfinished"))
        pipe.hlen(KEYS)
        pipe.scard(registry_keys.plain("deployments"))
        epoch, sequence, requests, by_key, known, deployments = pipe.execute()
        unfinished = sum(map(int, by_key))
        number = int(sequence or 0)
        return Held((epoch or b"").decode(), number, requests, unfinished, known, deployments)

    def _new_epoch(self) -> str:
        self._redis.set(EPOCH, secrets.token_hex(8), nx=True)  # unless an API has just set one
        return cast("bytes", self._redis.get(EPOCH)).decode()

    def _write_note(self, now: Held) -> None:
        """Writes the note: at once when the number of keys or deployments changed, else every few seconds."""
        shape = (now.epoch, now.keys, now.deployments)
        same = shape == (self._noted.epoch, self._noted.keys, self._noted.deployments)
        if same and self._monotonic() - self._noted_at < NOTE_SECONDS:
            return
        copy = store_copy.read(self._redis)
        if self._read_held().lacks(now):
            return  # data was lost just now, so the copy is not complete
        self._noted_at = self._monotonic()
        if (copy, now) == (self._copy, self._noted):
            return
        self._copy = copy
        note = {"store": self._store_name, "held": asdict(now), "copy": copy}
        fresh = self._path.with_suffix(".new")
        write_secret(fresh, json.dumps(note))
        fresh.replace(self._path)
        self._noted = now

    def _read_note(self) -> None:
        """Reads the note. A torn note, or one of another store, is ignored."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(self._path.read_text())
            if note["store"] == self._store_name:
                held, self._copy = Held(**note["held"]), note["copy"]
                self._noted = self._before = held


def _report(before: Held, now: Held, after: Held) -> str:
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
