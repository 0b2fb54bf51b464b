"""Enforces `resources.memory`: ends a host that uses more. The kernel is told to end models first if the machine runs out."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

from deployments.packages.package import Package
from tasks.process.loops import Guard
from workers.processes.ends import exit_words

LOOK_EVERY = 1.0  # s, far from the limit
LOOK_CLOSELY = 0.1  # s, from half of it on: a model may take a gigabyte a second
TAKEN_FIRST = 800  # of 1000; ours keep 0


class HostMemory:
    """Watches one host process, in a thread if there is a limit."""

    def __init__(self, process: subprocess.Popen[bytes], packages: Sequence[Package]) -> None:
        self._process = process
        limits = [package.memory_limit for package in packages]
        self._limit = sum(limits) if all(limits) else 0  # of those that share the process
        self._looks = Guard("memory of the host")
        self._over = False
        _take_first(process.pid)
        if self._limit:
            threading.Thread(target=self._watch, name="host-memory", daemon=True).start()

    def end_words(self) -> tuple[str, bool]:
        """How the host ended, with the reason if it used too much memory."""
        if not self._over:
            return exit_words(self._process.returncode), False
        return f"it used more than resources.memory, {self._limit >> 20} MiB", True

    def run_once(self) -> float:
        """Checks the host once and ends it if it is above its limit. Returns the seconds until the next check."""
        used = _resident(self._process.pid)
        if used > self._limit and _proportional(self._process.pid) > self._limit:
            self._over = True
            self._process.kill()
        return LOOK_CLOSELY if used > self._limit / 2 else LOOK_EVERY

    def _watch(self) -> None:
        wait = LOOK_CLOSELY
        while not self._over:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait)
                return
            with self._looks.round():
                wait = self.run_once()


def _take_first(pid: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it has ended, or a container forbids it
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(TAKEN_FIRST))


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    return []


def _resident(pid: int) -> int:
    """The bytes of all processes of the host. Shared memory is counted for each process."""
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _proportional(pid: int) -> int:
    """The same with shared memory counted once, which takes longer. On other systems than Linux it is not different."""
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            said = process.memory_full_info()
            total += getattr(said, "pss", said.rss)
    return total
