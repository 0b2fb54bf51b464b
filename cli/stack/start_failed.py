"""The error of a stack that cannot be started or repaired."""

from tasks.errors import KingpostError


class StartFailed(KingpostError):
    """The stack could not be started or repaired."""
