"""Writes what a command changes into the audit log, as the API does for its routes."""

import contextlib
import os
import pwd
from collections.abc import Generator

from tasks.access.audit import COMMAND_LINE, DONE, Change
from tasks.errors import KingpostError
from tasks.store.job_store import JobStore


@contextlib.contextmanager
def audited(store: JobStore, action: str, target: str = "") -> Generator[Change]:
    """Makes an entry when the change has been made or refused. The block may set `target` until then. Raises StoreUnavailable."""
    change, result = Change(COMMAND_LINE, _user(), action, target), DONE
    try:
        yield change
    except BaseException as error:
        result = _refusal(error)
        raise
    finally:
        store.run(change.entry(result))


def _refusal(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return "stopped half-way"
    return str(error) if isinstance(error, KingpostError) else type(error).__name__


def _user() -> str:
    """The name of the user who runs this command, or its number if it has no name."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container
        return str(number)
