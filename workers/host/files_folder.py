"""The folder for files of calls: a host has one of its own, and removes those of hosts that were killed."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from pathlib import Path

LOCK_SECONDS = 10.0  # how long to wait for the end of the host before this one
LOOK_EVERY = 0.05  # s, between two tries to lock

_held: list[int] = []  # descriptors of locks, which this process holds until it ends


def take(folder: Path) -> Path:
    """Makes an empty folder that belongs to this process until it ends. Removes folders beside it whose process has ended.

    Raises OSError if another process holds the folder for longer than LOCK_SECONDS.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _held.append(_locked(_lock_of(folder)))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for lock in folder.parent.glob("*.lock"):
        if lock != _lock_of(folder):
            _remove_if_free(lock)
    return folder


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _locked(lock: Path) -> int:
    """A descriptor that holds the lock. A file that another process removes meanwhile is made again."""
    ends = time.monotonic() + LOCK_SECONDS
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        os.close(handle)
        if time.monotonic() > ends:
            raise OSError(
                errno.EBUSY, "Another process holds this folder for files of calls", str(lock)
            )
        time.sleep(LOOK_EVERY)


def _remove_if_free(lock: Path) -> None:
    with contextlib.suppress(OSError):  # it runs, or somebody else has removed it
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_name(lock.name.removesuffix(".lock")), ignore_errors=True)
            lock.unlink()
        finally:
            os.close(handle)
