"""Structured logs: one JSON object a line, events named `noun.past_tense`, never a body or a key."""

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog

from tasks.process.log_files import take_over
from tasks.settings import Settings


class _Lossy:
    """A stream that drops what cannot be written: a full disk under the log must not end who logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Writes, or does not."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """The same."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure(settings: Settings, **always: str) -> None:
    """Sets up the logs of this process; call it once, in the entry point. `always` is in every line."""
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
