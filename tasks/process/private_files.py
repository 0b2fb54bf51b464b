"""Keeps our files private: other users of the machine may read none. Files of models follow the user's own umask."""

import os
import stat
import sys
from pathlib import Path

OTHERS = 0o077  # the permission bits of the group and of all others
_users_umask = -1  # that this process came with; -1, as in `subprocess`, changes nothing


def only_for_owner() -> None:
    """Sets the umask so that only this user can read new files. Each entry point calls it."""
    global _users_umask
    before = os.umask(OTHERS)
    _users_umask = before if _users_umask < 0 else _users_umask


def users_umask() -> int:
    """The user's own umask, for programs of the user and for parts that call `only_for_owner` themselves."""
    return _users_umask


def keep_private(folder: Path) -> None:
    """Takes the rights of other users to a state folder away, and warns of it. If this user may not do so, the warning says what to do."""
    try:
        found = folder.stat()
    except OSError:
        return  # not there yet: whoever makes it does so under our umask
    if not found.st_mode & OTHERS:
        return
    ours = found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX  # /tmp is everybody's
    try:
        if ours:
            folder.chmod(found.st_mode & ~OTHERS)
            _warn(f"Other users could read the state folder {folder}; now only its owner can.")
            return
    except OSError:
        pass
    way = "choose a folder that belongs to this user alone"
    _warn(
        f"Other users can read the state folder {folder}, and this user may not change that; {way}."
    )


def _warn(sentence: str) -> None:
    print(f"kingpost: {sentence}", file=sys.stderr, flush=True)
