"""Fetches one file: it goes on where a cut download ended, and is verified before anybody sees it."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.process.logs import get_logger
from workers.processes.turns import ReplicaStops
from workers.weights.remote import CHUNK, RemoteFile, Unreachable, WeightsFailed

log = get_logger("weights")

TRIES = 5  # in a row that bring no byte
NAMES = {"git": "git hash", "md5": "MD5", "sha256": "SHA-256"}
PAUSE_FIRST, PAUSE_LAST = 0.5, 10.0  # s, between them


class Corrupt(WeightsFailed):
    """What arrived is not what the source says that it is."""

    def __init__(self, sentence: str, size: int, sha256: str) -> None:
        super().__init__(sentence)
        self.size, self.sha256 = size, sha256


class Pace:
    """How far the files of one wish are, and whether they may go on."""

    def __init__(self, stopping: threading.Event, ends: float, moved: Callable[[], None]) -> None:
        self.cut = threading.Event()  # another file has failed
        self.done = 0  # bytes that are here
        self.doubted = False  # whether digests that are not sure have proved to be none
        self.stopping, self._ends, self._moved = stopping, ends, moved
        self._adding = threading.Lock()

    def add(self, size: int) -> None:
        """Counts bytes. Raises ReplicaStops and WeightsFailed if the fetch may not go on."""
        self.check()
        with self._adding:
            self.done += size
        self._moved()

    def check(self) -> None:
        """Raises ReplicaStops if the replica stops or another file has failed, and WeightsFailed after the end of the time."""
        if self.stopping.is_set() or self.cut.is_set():
            raise ReplicaStops
        if time.monotonic() > self._ends:
            raise WeightsFailed(
                "They were not fetched within KINGPOST_WEIGHTS_SECONDS; the next start goes on with what is here."
            )

    def rest(self, seconds: float) -> None:
        """Waits, unless the replica stops."""
        self.stopping.wait(seconds)
        self.check()


def fetch(file: RemoteFile, partial: Path, pace: Pace) -> str:
    """Fetches a file into `partial`, which may hold its beginning, and returns its SHA-256.

    Raises Corrupt, Unreachable, WeightsFailed, ReplicaStops and OSError. Unless it is corrupt, `partial` stays for the next try.
    """
    resumed = partial.is_file() and partial.stat().st_size > 0
    sure = file.digest is None or file.digest.sure
    try:
        return _verified(file, partial, pace)
    except Corrupt as error:
        partial.unlink(missing_ok=True)
        if sure and not resumed:
            raise
        # Its beginning may be that of another version, or have been damaged on the disk.
        log.warning("weights.corrupt", file=file.name, error=str(error), again=True)
        first = error
    pace.done -= first.size
    try:
        return _verified(file, partial, pace)
    except Corrupt as error:
        if not sure and error.size == file.size and error.sha256 == first.sha256:
            pace.doubted = True  # the same twice: what the source says is no MD5 of the content
            return error.sha256
        partial.unlink(missing_ok=True)
        raise


def _verified(file: RemoteFile, partial: Path, pace: Pace) -> str:
    sums = _Sums(file)
    with partial.open("a+b") as out:
        out.seek(0)
        sums.read(out, pace)
        _fill(file, out, sums, pace)
        out.flush()
        os.fsync(out.fileno())
    sums.check(pace.doubted)
    return sums.sha256.hexdigest()


def _fill(file: RemoteFile, out: Any, sums: "_Sums", pace: Pace) -> None:
    """Reads until the file is complete. Each read that ends early is followed by another one from there."""
    failures, pause = 0, PAUSE_FIRST
    while True:
        before = sums.size
        try:
            with file.read(sums.size) as body:
                if body.offset != sums.size:
                    out.truncate(0)
                    sums.restart(pace)
                for chunk in body.chunks:
                    out.write(chunk)
                    sums.add(chunk, pace)
            if file.size is None or sums.size >= file.size:
                return
            why = Unreachable(f"{file.name} ended after {sums.size} of {file.size} bytes.")
        except Unreachable as error:
            why = error
        failures = 0 if sums.size > before else failures + 1
        if failures >= TRIES:
            raise why
        log.warning("weights.cut", file=file.name, at=sums.size, error=str(why))
        pause = PAUSE_FIRST if failures == 0 else min(pause * 2, PAUSE_LAST)
        pace.rest(pause)


class _Sums:
    """The size and the digests of what has been read so far."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._reset()

    def _reset(self) -> None:
        self.size, self.sha256 = 0, hashlib.sha256()
        self._other = _hasher(self._file)

    def read(self, there: Any, pace: Pace) -> None:
        """Takes in what an earlier try has left."""
        while chunk := there.read(CHUNK):
            self.add(chunk, pace)

    def add(self, chunk: bytes, pace: Pace) -> None:
        """Takes the next piece in."""
        self.size += len(chunk)
        self.sha256.update(chunk)
        if self._other:
            self._other.update(chunk)
        pace.add(len(chunk))

    def restart(self, pace: Pace) -> None:
        """Forgets everything: the source begins at 0."""
        pace.add(-self.size)
        self._reset()

    def check(self, doubted: bool) -> None:
        """Raises Corrupt if this is not the content that the source promised. `doubted`: only digests that are sure count."""
        file, digest = self._file, self._file.digest
        if file.size is not None and self.size != file.size:
            raise self._corrupt(f"{file.name} has {self.size} bytes and not {file.size}.")
        if digest is None or (doubted and not digest.sure):
            return
        found = (self._other or self.sha256).hexdigest()
        if found != digest.value:
            what, wanted = NAMES[digest.kind], digest.value[:12]
            raise self._corrupt(
                f"{file.name} is corrupt: its {what} is {found[:12]}… and not {wanted}…"
            )

    def _corrupt(self, sentence: str) -> Corrupt:
        return Corrupt(sentence, self.size, self.sha256.hexdigest())


def _hasher(file: RemoteFile) -> Any:
    """The hash of the source's digest. None if it is the SHA-256, or there is none."""
    kind = file.digest.kind if file.digest else ""
    if kind == "md5":
        return hashlib.md5(usedforsecurity=False)
    if kind == "git":
        return hashlib.sha1(b"blob %d\0" % (file.size or 0), usedforsecurity=False)
    return None
