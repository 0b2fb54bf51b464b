"""Ends processes together with all that they started, and says in words how a process ended.

A process that a model starts in a new session is not in the process group of its host. When its parent ends, it is an orphan.
Linux makes an orphan the child of the nearest "subreaper" above it. The worker is one, so it finds the orphans of its hosts among
its own children. The node is one, too, for the orphans of workers that are killed, and so is the host of a custom server, to know a
daemon of its command.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

PR_SET_CHILD_SUBREAPER = 36  # from <linux/prctl.h>
ROUND_SECONDS = 0.02  # after the SIGKILLs of a round, for the processes to end
ROUNDS = 20  # of end_orphans, at most: a process may fork faster than we find its children
LAST_ROUNDS = (
    250  # of end_descendants: 5 s, because a process with much memory takes a while to end
)


def exit_words(code: int) -> str:
    """ "exit code 1", "SIGKILL", or "signal 40" for a signal without a name. `code` is negative for a signal, as in subprocess."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def adopt_orphans() -> None:
    """From now on, Linux makes orphans among our descendants our children. Elsewhere this does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Our child processes, including dead ones that were not waited for. Empty where there is no /proc."""
    return {child.pid for child in by_parent().get(os.getpid(), ())}


def end_orphans(known: Collection[int]) -> int:
    """Kills the orphans that became our children, with their descendants, reaps them and returns their number.

    A child is taken for an orphan if it is neither in our session nor in `known`. So `known` must hold the process id of every
    child in another session that is to live, such as a host or a part. It gives up after ROUNDS.
    """
    ended, own = set[int](), os.getsid(0)
    for _ in range(ROUNDS):
        family = by_parent()
        mine = [child for child in family.get(os.getpid(), ()) if child.pid not in known]
        doomed = [child for child in mine if child.session != own]
        if not doomed:
            break
        for child in doomed:  # grows: the children of those that are killed
            doomed += family.get(child.pid, ())
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child.pid, signal.SIGKILL)
            ended.add(child.pid)
        time.sleep(ROUND_SECONDS)
        for child in doomed:  # a process that a driver still holds is reaped by a later call
            with contextlib.suppress(
                ChildProcessError
            ):  # a grandchild is our child in the next round
                os.waitpid(child.pid, os.WNOHANG)
    return len(ended)


def end_descendants(known: Collection[int]) -> None:
    """SIGKILLs our children that are not in `known`, and all that those children started, in whatever session.

    `known` are process ids. It is the last thing that a process does: it reaps nothing, and gives up after LAST_ROUNDS. On Linux
    it adopts orphans, so that it finds all of them.
    """
    adopt_orphans()
    for _ in range(LAST_ROUNDS):
        family = by_parent()
        mine = family.get(os.getpid(), ())
        doomed = [child for child in mine if child.pid not in known]
        for child in doomed:  # grows: the children of those that are killed
            doomed += family.get(child.pid, ())
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child.pid, signal.SIGKILL)
        if all(child.dead for child in doomed):
            return
        time.sleep(ROUND_SECONDS)


class Child(NamedTuple):
    """A process, as /proc shows it."""

    pid: int
    session: int
    dead: bool  # ended, but not reaped yet


def by_parent() -> dict[int, list[Child]]:
    """The children of each process of the machine, by process id. Empty where there is no /proc."""
    found: dict[int, list[Child]] = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = status.read_text(errors="replace")
            fields = text.rpartition(")")[2].split()  # the name may hold spaces and brackets
            child = Child(int(status.parent.name), int(fields[3]), fields[0] in "ZX")
            found[int(fields[1])].append(child)
    return found
