"""Asks the kernel to end this process when its parent ends, so that there are no orphans."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def die_with_parent_thread() -> None:
    """On Linux, this process gets SIGKILL when the *thread* that started it ends for any reason. Elsewhere this does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent(parent_pid: int | None) -> None:
    """The same, and exits at once if the parent is gone already, so that no orphan keeps a GPU. None = any parent is right."""
    die_with_parent_thread()
    if parent_pid is not None and os.getppid() != parent_pid:  # it ended before prctl took effect
        sys.exit("The process that started this model host is gone.")
