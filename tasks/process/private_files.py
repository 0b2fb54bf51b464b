"""What other users of this machine may read: nothing of ours. What models make follows the user's own umask."""

import os
import stat
import sys
from pathlib import Path

OWNERS_ALONE = 0o077  # the bits that nobody else gets
_users: int = (
    -1
)  # the umask that this process came with; -1 leaves it to `subprocess` to change nothing


def only_for_owner() -> None:
    """For each entry point: whatever this process makes from now on is for its user alone."""
    global _users
    before = os.umask(OWNERS_ALONE)
    _users = before if _users < 0 else _users


def users_umask() -> int:
    """For programs of the user's, and for parts that call `only_for_owner` themselves."""
    return _users


def keep_private(folder: Path) -> None:
    """Mends a state folder that others could read, and says so; where it may not, it says what to do."""
    try:
        found = folder.stat()
    except OSError:
        return  # not there yet: whoever makes it does so under our umask
    if not found.st_mode & OWNERS_ALONE:
        return
    ours = found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX  # /tmp is everybody's
    try:
        if ours:
            folder.chmod(found.st_mode & ~OWNERS_ALONE)
            _warn(
                f"Other users could read the state folder {folder}; now it is for its owner alone."
            )
            return
    except OSError:
        pass
    why = "it cannot be closed to them here: give it a folder that is this user's alone"
    _warn(f"Other users can look into the state folder {folder}, and {why}.")


def _warn(sentence: str) -> None:
    print(f"kingpost: {sentence}", file=sys.stderr, flush=True)
