"""The error of a stack that cannot be started."""

from tasks.errors import KingpostError


class StartFailed(KingpostError):
    """The stack could not be started."""
