"""File descriptors of a process. Every connection takes one, and many systems have a default limit of 1,024."""

import errno
import os
import resource

OWN = 100  # descriptors for the store, upstreams, logs and files
KEPT = 20  # connections of clients are cut when only so many are left
SHORT = 2 * KEPT  # with no more than these left, a process says that it is not ready
NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})


def raise_descriptor_limit() -> int:
    """Raises the soft limit to the hard one and returns it. If that fails, the old limit stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return _number(soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return _number(soft)
    return _number(hard)


def connections(wanted: int) -> int:
    """How many clients may be connected at once: the setting, or fewer if the limit of descriptors is too low.

    A call may need a second descriptor for its connection to a model host.
    """
    limit = _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return max(1, min(wanted, (limit - OWN) // 2))


def too_low(wanted: int) -> str | None:
    """The sentence for a limit that does not allow so many connections. None if it does."""
    most = connections(wanted)
    if most >= wanted:
        return None
    return (
        f"The limit of file descriptors is low, so the API takes only {most} connections at once"
        f" (KINGPOST_MAX_CONNECTIONS: {wanted}); raise it with `ulimit -n`."
    )


def left() -> int:
    """How many more descriptors this process can open at least. 0 if the whole machine has run out of them."""
    try:
        lowest_free = os.open(os.devnull, os.O_RDONLY)  # all numbers below it are in use
    except OSError:
        return 0
    os.close(lowest_free)
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) - lowest_free


def _number(limit: int) -> int:
    return 1 << 30 if limit == resource.RLIM_INFINITY else limit
