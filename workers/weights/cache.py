"""The cache of weights of one machine: every content is there once, whoever asked for it.

- `blobs/SHA256` holds a content. `known/IDENTITY` says which one a file of a source has.
- `partial/IDENTITY` is a download that has not ended, and `staging/ID` holds the files of a fetch that has not.
- `trees/KEY` holds the files of a source as hard links to the blobs. Whoever uses one holds a shared lock on KEY.lock; a crash frees it.

A content that no tree and no fetch has a link to is rubbish. `eviction.py` makes such rubbish of trees that nobody uses, and deletes it.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import IO

from tasks.process.logs import get_logger
from workers.processes.turns import ReplicaStops, try_lock
from workers.weights.fetching import Pace, fetch
from workers.weights.remote import RemoteFile, WeightsFailed

log = get_logger("weights")

LOCK_EVERY = 0.2  # s, between looks at a lock that another replica holds
LOOK_EVERY = 0.05  # s, between looks whether a fetch has failed or the replica stops
AT_ONCE = 4  # files of one source
FOLDERS = ("blobs", "known", "partial", "staging", "trees", "resolved", "places", "homes")

Reserve = Callable[[int], None]  # hears how many bytes are still to come


class WeightsCache:
    """One folder. Any number of processes of the machine may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Makes the folders. Raises OSError."""
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def tree(self, key: str) -> Path:
        """The folder of a tree, which may not be there."""
        return self.folder / "trees" / key

    @contextlib.contextmanager
    def lock_file(self, kind: str, name: str) -> Generator[IO[str]]:
        """An open file to lock. It is never deleted, so that all mean the same one."""
        with (self.folder / kind / f"{name}.lock").open("a+") as lock:
            yield lock

    @contextlib.contextmanager
    def room(self) -> Generator[None]:
        """Whoever makes room, or begins a fetch, does so alone."""
        with self.lock_file(".", "room") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def held(self, key: str, files: Mapping[str, int]) -> Generator[bool]:
        """Keeps a tree from eviction inside the `with` block, if it is there with files of these sizes. Else the value is False.

        Raises WeightsFailed if a file was changed while a model uses it.
        """
        with self.lock_file("trees", key) as lock:
            there = try_lock(lock, fcntl.LOCK_SH) and self.tree(key).is_dir()
            if there and self._is_damaged(key, files):
                there = False
                self._forget(lock, key, files)
            if not there:
                fcntl.flock(lock, fcntl.LOCK_UN)
                yield False
                return
            os.utime(lock.fileno())  # the last use, for eviction
            try:
                yield True
            finally:
                os.utime(lock.fileno())

    def _is_damaged(self, key: str, files: Mapping[str, int]) -> bool:
        return any(_size(self.tree(key) / name) != size for name, size in files.items())

    def _forget(self, lock: IO[str], key: str, files: Mapping[str, int]) -> None:
        """Removes a damaged tree with its damaged contents."""
        log.warning("weights.damaged", tree=key)
        if not try_lock(lock, fcntl.LOCK_EX):
            text = f"Files below {self.tree(key)} were changed, and another model uses them; stop it, then they are fetched again."
            raise WeightsFailed(text)
        damaged = {
            path.stat().st_ino
            for name, size in files.items()
            if _size(path := self.tree(key) / name) not in (size, None)
        }
        for blob in (self.folder / "blobs").iterdir():
            if blob.stat().st_ino in damaged:
                blob.unlink(missing_ok=True)
        remove_tree(self.tree(key))

    @contextlib.contextmanager
    def staged(self) -> Generator[tuple[Path, Reserve]]:
        """A folder for the files of one fetch, and what tells others how many bytes are still to come."""
        name = secrets.token_hex(8)
        folder = self.folder / "staging" / name
        with contextlib.ExitStack() as held:
            with self.room():
                lock = held.enter_context(self.lock_file("staging", name))
                fcntl.flock(lock, fcntl.LOCK_EX)
                folder.mkdir()
            held.callback(Path(lock.name).unlink, missing_ok=True)
            held.callback(remove_tree, folder)

            def reserve(size: int) -> None:
                lock.truncate(0)
                lock.write(str(max(size, 0)))
                lock.flush()

            yield folder, reserve

    def missing(self, files: Sequence[RemoteFile], staging: Path) -> tuple[dict[str, str], int]:
        """Links what is here into `staging`: its SHA-256 by name. The number is the bytes that are still to come."""
        sums: dict[str, str] = {}
        to_come = 0
        for file in files:
            found = self._link_known(file, staging)
            if found:
                sums[file.name] = found
            elif file.size:
                to_come += max(file.size - (_size(self._partial(file)) or 0), 0)
        return sums, to_come

    def fetch_all(self, files: Sequence[RemoteFile], staging: Path, pace: Pace) -> dict[str, str]:
        """Fetches files into `staging`, some at once, and returns their SHA-256 by name.

        Raises WeightsFailed, ReplicaStops and OSError. After the first failure it waits for none of the others.
        """
        waiting, sums = deque(files), dict[str, str]()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                while waiting and not pace.cut.is_set():
                    file = waiting.popleft()
                    sums[file.name] = self._fetch(file, staging, pace)
            except IndexError:
                return  # another thread took the last one
            except BaseException as error:
                failures.append(error)
                pace.cut.set()

        # Daemons: one that waits for a silent server must not keep a replica that stops.
        threads = [Thread(target=work, name="weights", daemon=True) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not failures and not pace.stopping.is_set():
                thread.join(LOOK_EVERY)
        if pace.stopping.is_set():
            raise ReplicaStops
        if failures:
            raise failures[0]
        return sums

    def _fetch(self, file: RemoteFile, staging: Path, pace: Pace) -> str:
        with self.lock_file("partial", _name_of(file)) as lock:
            while not try_lock(lock, fcntl.LOCK_EX):
                pace.rest(LOCK_EVERY)  # another model fetches the same file
            found = self._link_known(file, staging)
            if found:
                pace.add(file.size or 0)
                return found
            partial = self._partial(file)
            found = fetch(file, partial, pace)
            partial.chmod(0o444)
            # Linked before it has its place: a content without a second link counts as rubbish.
            if not self._link(found, file, staging):
                _link_to(partial, staging / file.name)
                partial.replace(self.folder / "blobs" / found)
            partial.unlink(missing_ok=True)
            write_whole(self.folder / "known" / _name_of(file), found)
            return found

    def _partial(self, file: RemoteFile) -> Path:
        return self.folder / "partial" / _name_of(file)

    def _link_known(self, file: RemoteFile, staging: Path) -> str | None:
        """The SHA-256 of a file whose content is here, which is then linked. None if it must be fetched."""
        if file.digest and file.digest.kind == "sha256":
            found = file.digest.value
        else:
            try:
                found = (self.folder / "known" / _name_of(file)).read_text()
            except OSError:
                return None
        return found if self._link(found, file, staging) else None

    def _link(self, sha256: str, file: RemoteFile, staging: Path) -> bool:
        blob = self.folder / "blobs" / sha256
        if file.size is not None and _size(blob) not in (file.size, None):
            blob.unlink(missing_ok=True)  # damaged
        try:
            _link_to(blob, staging / file.name)
        except FileNotFoundError:
            return False
        return True

    def publish(self, staging: Path, sums: Mapping[str, str], pace: Pace) -> str:
        """Makes a tree of the files of a fetch, unless it is there. Returns its key."""
        lines = "".join(f"{sha256} {name}\n" for name, sha256 in sorted(sums.items()))
        key = hashlib.sha256(lines.encode()).hexdigest()[:32]
        with self.lock_file("trees", key) as lock:
            while not self.tree(key).is_dir():
                if try_lock(lock, fcntl.LOCK_EX):
                    staging.rename(self.tree(key))
                    for folder, _, _ in os.walk(self.tree(key)):
                        Path(folder).chmod(0o555)
                else:
                    pace.rest(LOCK_EVERY)
        return key


def _name_of(file: RemoteFile) -> str:
    return hashlib.sha256(file.identity.encode()).hexdigest()[:40]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _link_to(blob: Path, place: Path) -> None:
    if not place.exists():
        if not blob.exists():
            raise FileNotFoundError(blob)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(blob)


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that nobody reads half of it."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fresh.write_text(text)
    fresh.replace(path)


def remove_tree(folder: Path) -> None:
    """Removes a folder whose folders are read-only, as far as possible."""
    for inner, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            Path(inner).chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)
