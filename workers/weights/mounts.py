"""Shows weights over others, for one host alone: in a mount namespace of its own, where the machine lets it have one."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TRY_SECONDS = 10.0
OWN = ("unshare", "--mount", "--propagation", "private")
# The arguments of the script: pairs of tree and place, then "--" and the program. The last mount makes it read-only.
SCRIPT = (
    'while [ "$1" != -- ]; do mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" || exit; shift 2; done; '
    "shift; exec "
)


@dataclass(frozen=True)
class Mount:
    """A tree that a host finds at `place`, where all others find another one."""

    tree: Path
    place: str


def started_with(mounts: Sequence[Mount]) -> tuple[str, ...] | None:
    """What to put before a host's command, so that it finds these trees. None if the machine does not allow it; empty for no mounts.

    Root needs a namespace for mounts, another user also one for users, in which it is root for the mounts alone.
    """
    if not mounts:
        return ()
    pairs = [part for mount in mounts for part in (str(mount.tree), mount.place)]
    back = f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()} "
    for unshare, then in ((OWN, ""), ((*OWN, "--user", "--map-root-user"), back)):
        prefix = (*unshare, "sh", "-c", f'{SCRIPT}{then}"$@"', "mounts", *pairs, "--")
        if _works([*prefix, "true"]):
            return prefix
    return None


def _works(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=TRY_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
