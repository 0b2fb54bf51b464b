"""Structured logs: one JSON object a line, with events named `noun.past_tense`. They never contain a body or a key."""

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from tasks.process.hidden_modules import hidden

with hidden(
    "rich"
):  # structlog.dev would import it for a renderer that we do not use, a tenth of a process's start
    import structlog

from tasks.outside_text import printable
from tasks.process.log_files import redirect_output
from tasks.process.variables import value_of
from tasks.settings import Settings

Listener = Callable[[str], None]
MOST_SHOWN = 240  # characters of an event and its fields at a terminal
COLOURS = {"warning": "33", "error": "31", "critical": "31"}  # yellow and red, by level
# Fields that a person at a terminal needs no repetition of.
NOT_SHOWN = ("event", "level", "timestamp", "part", "exception")
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


def configure_command(log_file: Path | None = None, own_words: Collection[str] = ()) -> None:
    """Sets up the logs of a command at a terminal: a warning or an error is one line on stderr, without frames.

    The file gets every event as JSON, with its frames, and what libraries log. Events in `own_words` go only there, because the
    command itself says them. A command that never calls this logs as without a file.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _Short(log_file, own_words),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    if log_file:
        logging.captureWarnings(True)
        logging.basicConfig(handlers=[_OfLibraries()], level=logging.WARNING)


class _Short:
    """The last processor of a command: writes the event, and drops it then. A full disk or a closed terminal must not end the command."""

    def __init__(self, log_file: Path | None, own_words: Collection[str]) -> None:
        self._file, self._own_words = log_file, own_words

    def __call__(self, _logger: object, _level: str, event: Mapping[str, Any]) -> NoReturn:
        if self._file:
            with contextlib.suppress(OSError), self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, default=str) + "\n")
        if event["level"] in COLOURS and event["event"] not in self._own_words:
            with contextlib.suppress(OSError, ValueError):
                print(self._line(event), file=sys.stderr, flush=True)
        raise structlog.DropEvent

    def _line(self, event: Mapping[str, Any]) -> str:
        fields = [f"{name}={value}" for name, value in event.items() if name not in NOT_SHOWN]
        words = " ".join([str(event["event"]).replace(".", " "), *fields])
        line = printable(f"{event['level']}: {words}".replace("\n", " "))
        if len(line) > MOST_SHOWN:
            line = line[: MOST_SHOWN - 1] + "…"
        more = f"; {self._file} has more" if self._file else ""
        return _coloured(line + more, COLOURS[event["level"]], sys.stderr)


def _coloured(line: str, colour: str, stream: TextIO) -> str:
    """The line in that colour, as it is if the stream is no terminal or the user wants none."""
    plain = value_of("NO_COLOR") or value_of("TERM") == "dumb"
    return line if plain or not stream.isatty() else f"\x1b[{colour}m{line}\x1b[0m"


class _OfLibraries(logging.Handler):
    """What libraries log, such as asyncio, becomes an event of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs it with the level and the frames that it has."""
        event = record.getMessage().strip().split("\n")[0]
        get_logger(record.name).log(record.levelno, event, exc_info=record.exc_info)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that names its part of the system in every line."""
    if not structlog.is_configured():
        configure_command()  # structlog's own default prints frames, with the values of all variables
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
