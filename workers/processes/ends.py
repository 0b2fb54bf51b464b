"""Ends processes together with all that they started, and says in words how a process ended.

A process that a model starts in a new session is not in the process group of its host. Linux makes orphans children of the next
"subreaper" above them. The worker is one, and so is the node in case the worker is killed. So they find orphans among their children.
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
ROUND_SECONDS = 0.02  # from SIGKILL to the look whether it has ended
ROUNDS = 20  # of killing: what forks faster than it is found must not hold us for ever
ALL_ROUNDS = 250  # the same when everything has to end: a process with much memory takes a while


def exit_words(code: int) -> str:
    """ "exit code 1", "SIGKILL", or "signal 40" for one without a name."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def adopt_orphans() -> None:
    """On Linux, makes orphans among our descendants our own children."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Our child processes, including dead ones that were not waited for. None where there is no /proc."""
    return {child.pid for child in by_parent().get(os.getpid(), ())}


def end_orphans(known: Collection[int]) -> int:
    """Kills the orphans that became our children, with their descendants, reaps them and returns their number.

    Hosts and parts have sessions of their own, so an orphan of theirs is never in our session. Processes in our session are left
    alone. All our other children must be in `known`.
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
        for child in doomed:  # one that a device holds is left to a later call
            with contextlib.suppress(ChildProcessError):  # not ours yet: in the next round
                os.waitpid(child.pid, os.WNOHANG)
    return len(ended)


def end_descendants(known: Collection[int]) -> None:
    """SIGKILLs our child processes but for the known ones, and all that those started, in whatever session they are.

    For a process that ends itself: it reaps none of them. On Linux it becomes the parent of the orphans, so none slips away.
    """
    adopt_orphans()
    for _ in range(ALL_ROUNDS):
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
    """A process."""

    pid: int
    session: int
    dead: bool  # nobody has waited for it yet


def by_parent() -> dict[int, list[Child]]:
    """Maps each process id of the machine to its children."""
    found: dict[int, list[Child]] = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = status.read_text(errors="replace")
            fields = text.rpartition(")")[2].split()  # the name before it may hold anything
            child = Child(int(status.parent.name), int(fields[3]), fields[0] in "ZX")
            found[int(fields[1])].append(child)
    return found
