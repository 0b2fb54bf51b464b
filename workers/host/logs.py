"""Turns the prints and logs of a model into JSON lines on stdout: ts, level, model, message or event, request_id."""

import io
import json
import logging
import os
import re
import sys
import threading
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import BinaryIO, TextIO

from tasks.outside_text import utf8

LIBRARIES = re.compile(r'File "[^"\n]*/(?:site-packages|dist-packages|lib/python3\.\d+)/')
LONGEST = 64 * 1024  # characters kept of a message, so that no single line fills the log

chainlet: ContextVar[str | None] = ContextVar("chainlet", default=None)  # in a shared process
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
chain_request_id: ContextVar[str | None] = ContextVar("chain_request_id", default=None)


def install(level: str, model: str) -> None:
    """Sends prints and log records of this process, from `level` upward, to `write_line`."""
    out = sys.__stdout__
    assert out is not None, "the host needs a stdout to log to"
    _Output.out, _Output.model = out, model
    sys.stdout, sys.stderr = _Prints("info"), _Prints("error")
    handler = _JsonHandler()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True


def event(name: str, level: str = "info", **fields: object) -> None:
    """Logs an event of the host itself. Names are `noun.past_tense`."""
    _write({"level": level, "event": name, **fields})


def end_request() -> None:
    """Ends the unfinished lines of the current request. Call it when the call is over."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _Prints):
            stream.end()


class _Output:
    """Where this process writes its lines, and the name of its model, which each line has."""

    out: TextIO = sys.stdout
    model: str = ""
    lock = threading.RLock()  # re-entered when a clean-up of the collector prints


def _write(fields: dict[str, object]) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    said = {
        name: utf8(value) if isinstance(value, str) else value for name, value in fields.items()
    }
    line: dict[str, object] = {"ts": now, "model": chainlet.get() or _Output.model, **said}
    if (value := request_id.get()) is not None:
        line["request_id"] = value
    if (value := chain_request_id.get()) is not None:
        line["chain_request_id"] = value
    text = json.dumps(line, default=str) + "\n"
    with _Output.lock:
        _Output.out.write(text)
        _Output.out.flush()


class _Prints(io.TextIOBase):
    """A stream that turns each line into a JSON line. An unfinished line waits for its end."""

    def __init__(self, level: str) -> None:
        self._level = level
        self._unfinished = _UnfinishedLines()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "utf-8"

    @property
    def buffer(self) -> BinaryIO:
        """The raw stream, for programs that write bytes. The worker turns those lines into JSON."""
        return _Output.out.buffer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _Output.out.fileno()

    def write(self, text: str, /) -> int:
        with self._unfinished as unfinished:
            *lines, rest = (unfinished.pop() + text).split("\n")
            rest = _last_drawn(rest)
            if len(rest) > LONGEST:
                lines, rest = [*lines, rest], ""
            unfinished.put(rest)
        for line in lines:
            self._line(line)
        return len(text)

    def flush(self) -> None:
        """Does nothing. Unfinished lines wait for their end, or progress bars would become thousands of lines."""

    def end(self) -> None:
        """Ends the unfinished line of the current request, which is over."""
        with self._unfinished as unfinished:
            rest = unfinished.pop()
        self._line(rest)

    def _line(self, text: str) -> None:
        if shown := _last_drawn(text).rstrip("\r"):
            _write({"level": self._level, "message": _capped(shown)})


class _UnfinishedLines:
    """Unfinished lines: one for each request over all threads, and one for each thread outside of requests."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entered when a clean-up of the collector prints
        self._of_requests: dict[str, str] = {}
        self._of_thread = threading.local()

    def __enter__(self) -> "_UnfinishedLines":
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def pop(self) -> str:
        """Removes and returns the unfinished line of the current request or thread. It is empty if there is none."""
        if (name := request_id.get()) is not None:
            return self._of_requests.pop(name, "")
        text, self._of_thread.text = getattr(self._of_thread, "text", ""), ""
        return text

    def put(self, text: str) -> None:
        """Keeps an unfinished line until the next write."""
        if (name := request_id.get()) is None:
            self._of_thread.text = text
        elif text:
            self._of_requests[name] = text


def _last_drawn(line: str) -> str:
    """What a terminal shows of a line in the end. A progress bar draws its line anew after each carriage return."""
    shown = line.rstrip("\r")
    return shown.rpartition("\r")[2] + line[len(shown) :]


def _capped(text: str) -> str:
    left = len(text) - LONGEST
    return text if left <= 0 else f"{text[:LONGEST]}... ({left} characters more)"


class _JsonHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {
            "level": record.levelname.lower(),
            "message": _capped(record.getMessage()),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        _write(fields)


def user_frames(error: BaseException, model_file: str) -> str:
    """The traceback as text, from the model's file downward. Without such frames, the error alone.

    Paths begin at the package's folder, or at that of the library, because whoever deploys reads them.
    """
    told = _formatted(error, _first_of_user(error, model_file))
    here = 'File "' + os.getcwd() + os.sep
    return LIBRARIES.sub('File "', told.replace(here, 'File "'))


def log_user_error(message: str, error: BaseException, model_file: str) -> None:
    """Logs an error of the model with the frames of its author's code, or with all frames if there are none."""
    kept = _first_of_user(error, model_file) or error.__traceback__
    _write({"level": "error", "message": message, "traceback": _formatted(error, kept)})


def _formatted(error: BaseException, kept: TracebackType | None) -> str:
    return "".join(traceback.format_exception(type(error), error, kept))


def _first_of_user(error: BaseException, model_file: str) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.endswith(model_file):
        trace = trace.tb_next
    return trace
