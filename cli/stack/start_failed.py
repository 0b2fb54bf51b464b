"""The one way in which `kingpost up` does not start."""

from tasks.errors import KingpostError


class StartFailed(KingpostError):
    """The stack could not be started."""
