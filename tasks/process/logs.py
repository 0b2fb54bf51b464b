"""Structured logs: one JSON object a line, with events named `noun.past_tense`. They never contain a body or a key."""

import contextlib
import logging
import sys
from collections.abc import Callable
from typing import TextIO, cast

import structlog

from tasks.process.log_files import take_over
from tasks.settings import Settings

Take = Callable[[str], None]
_takers: list[Take] = []


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
        take_over(settings.log_file, settings.max_log_bytes)
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


def also_to(take: Take) -> None:
    """Gives every line of this process from now on to `take`, too. It is called by whoever logs, and must not wait."""
    _takers.append(take)


def no_longer_to(take: Take) -> None:
    """Ends that."""
    if take in _takers:
        _takers.remove(take)


def write_line(line: str) -> None:
    """Writes a line of a child process, a JSON object, to stdout. Raises OSError when that cannot be written."""
    _tell(line)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _tell(text: str) -> None:
    """Hands a line to those who take it. Whoever logs goes on, whatever they do with it."""
    line = text.strip()
    for take in _takers if line else ():
        take(line)
