"""File descriptors of a process: every connection takes one, and many systems begin with a limit of 1,024."""

import resource

OWN = 100  # for the store, upstreams, logs and files


def raise_descriptor_limit() -> int:
    """Raises the soft limit to the hard one; what it is then. Never fails: the old limit stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return _number(soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return _number(soft)
    return _number(hard)


def connections(wanted: int) -> int:
    """How many clients may be connected at once: what the setting says, or what the limit leaves room for.

    A call may take a second descriptor for its way to a model host.
    """
    limit = _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return max(1, min(wanted, (limit - OWN) // 2))


def _number(limit: int) -> int:
    return 1 << 30 if limit == resource.RLIM_INFINITY else limit
