"""Enforces `resources.memory`: ends a host that uses more.

It also tells the kernel to end model hosts first if the machine runs out of memory.
"""

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

LOOK_EVERY = 1.0  # s, between checks of a host that uses up to half of its limit
LOOK_CLOSELY = 0.1  # s, between checks of one that uses more: a model may take a gigabyte a second
# The oom_score_adj of a host, up to 1000. Other processes of Kingpost have 0, and the kernel ends high ones first.
HOST_OOM_SCORE = 800


class HostMemory:
    """Watches one host process, in a thread if there is a limit."""

    def __init__(self, process: subprocess.Popen[bytes], packages: Sequence[Package]) -> None:
        self._process = process
        limits = [package.memory_limit for package in packages]
        # Bytes for all packages of the process; 0 = no limit, because one of them has none.
        self._limit = sum(limits) if all(limits) else 0
        self._guard = Guard("memory of the host")
        self._over = False
        _set_oom_score(process.pid)
        if self._limit:
            threading.Thread(target=self._watch, name="host-memory", daemon=True).start()

    def end_words(self) -> tuple[str, bool]:
        """How the host ended, as the end of a sentence, and whether it was ended because it used too much memory."""
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
            with self._guard.round():
                wait = self.run_once()


def _set_oom_score(pid: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it has ended, or a container forbids it
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(HOST_OOM_SCORE))


def _processes_of(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    return []


def _resident(pid: int) -> int:
    """The bytes that all processes of the host use. Memory that they share is counted for each of them."""
    total = 0
    for process in _processes_of(pid):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _proportional(pid: int) -> int:
    """The bytes that all processes of the host use, with shared memory counted once. It takes longer than `_resident`.

    Only Linux knows these figures. Elsewhere it returns what `_resident` returns.
    """
    total = 0
    for process in _processes_of(pid):
        with contextlib.suppress(psutil.Error):
            used = process.memory_full_info()
            total += getattr(used, "pss", used.rss)
    return total
