"""Deletes packages that a node has unpacked and no longer uses. They are still stored, so they can be fetched again."""

import asyncio
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Container, Generator
from contextlib import contextmanager
from pathlib import Path

from deployments.packages.store import unpacked_in
from deployments.registry.pages import all_deployments
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore

log = get_logger("packages")

EVERY_SECONDS = 600.0
MOST = 50  # packages in a round: deleting large weight files takes time
NAME = re.compile(r"([0-9a-f]{64})(|\.new|\.gone)")


class UnpackedCollector:
    """The unpacked packages of one state folder. Any number of them may run.

    A package goes if no replica holds it, no deployment needs it, and nobody has fetched it for a while. A deployment needs its
    package unless it was deactivated, or an environment has left it.
    """

    def __init__(
        self, store: AsyncJobStore, settings: Settings, now: Callable[[], float] = time.time
    ) -> None:
        self._store, self._now = store, now
        self._folder, self._grace = unpacked_in(settings), settings.package_grace_seconds

    async def run_once(self) -> int:
        """One round. Returns how many packages it deleted. Raises StoreUnavailable."""
        if not self._grace:
            return 0
        known = await all_deployments(self._store)
        needed = {each.content_hash for each in known if each.active and not each.retired}
        gone = await asyncio.to_thread(self._collect, needed)
        if gone:
            log.info("packages.unpacked_collected", packages=gone)
        return gone

    def _collect(self, needed: Container[str]) -> int:
        gone = 0
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            name = NAME.fullmatch(path.name)
            if name is None or gone == MOST:
                continue
            try:
                gone += self._gone(path, name[1], name[2], needed)
            except OSError as error:  # a file that another user owns keeps only its own package
                log.warning("packages.not_deleted", package=path.name, error=str(error))
        return gone

    def _gone(self, path: Path, wanted: str, rest: str, needed: Container[str]) -> bool:
        """Deletes a package if it may go, or the rest that a crash has left. Returns whether a package went."""
        with _alone(path.with_name(f"{wanted}.lock")) as last_used:
            if last_used is None:
                return False  # a replica holds it, or fetches it
            if rest:
                shutil.rmtree(path)
                return False
            if wanted in needed or self._now() - last_used < self._grace:
                return False
            leaving = path.rename(path.with_name(f"{wanted}.gone"))
        shutil.rmtree(leaving)  # meanwhile it may be fetched again
        return True


@contextmanager
def _alone(lock: Path) -> Generator[float | None]:
    """When the package was last fetched, while nobody else can fetch it. None if somebody holds it."""
    with lock.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield os.fstat(held.fileno()).st_mtime
