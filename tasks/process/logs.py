"""Structured logs: one JSON object a line, with events named `noun.past_tense`. They never contain a body or a key."""

import contextlib
import logging
import sys
from collections.abc import Callable
from typing import TextIO, cast

from tasks.process.hidden_modules import hidden

with hidden(
    "rich"
):  # structlog.dev would import it for a renderer that we do not use, a tenth of a process's start
    import structlog

from tasks.process.log_files import redirect_output
from tasks.settings import Settings

Listener = Callable[[str], None]
_listeners: list[Listener] = []


class _Lossy:
    """A stream that drops what it cannot write, because a full disk must not end the process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Writes the text, or drops it."""
        _tell(text)
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flushes, or does nothing."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure(settings: Settings, **always: str) -> None:
    """Sets up the logs of this process. The entry point calls it once. Every line contains `always`."""
    if settings.log_file:
        redirect_output(settings.log_file, settings.max_log_bytes)
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _logger, _method, event: {**always, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lossy(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that names its part of the system in every line."""
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(part=name))


def add_listener(listener: Listener) -> None:
    """Calls the listener with every line that this process logs from now on. The thread that logs calls it, so it must not wait."""
    _listeners.append(listener)


def remove_listener(listener: Listener) -> None:
    """Ends that. A listener that is not there is ignored."""
    if listener in _listeners:
        _listeners.remove(listener)


def write_line(line: str) -> None:
    """Writes a line of a child process, a JSON object, to stdout. Raises OSError when that cannot be written."""
    _tell(line)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _tell(text: str) -> None:
    line = text.strip()
    for listener in _listeners if line else ():
        listener(line)
