"""What the model prints and logs becomes JSON lines on stdout: ts, level, model, message or event, request_id."""

import io
import json
import logging
import sys
import threading
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import BinaryIO, TextIO

LONGEST = 64 * 1024  # characters of a message; more would make one line a log of its own

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
chain_request_id: ContextVar[str | None] = ContextVar("chain_request_id", default=None)


def install(level: str, model: str) -> None:
    """Sends prints and log records of this process through `write_line`, from `level` upward."""
    out = sys.__stdout__
    assert out is not None, "the host needs a stdout to log to"
    _Lines.out, _Lines.model = out, model
    sys.stdout, sys.stderr = _Prints("info"), _Prints("error")
    handler = _JsonHandler()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True


def event(name: str, level: str = "info", **fields: object) -> None:
    """Logs one event of the host itself; names are `noun.past_tense`."""
    _write({"level": level, "event": name, **fields})


class _Lines:
    out: TextIO = sys.stdout
    model: str = ""
    lock = threading.Lock()


def _ids() -> dict[str, str]:
    ids = {"request_id": request_id.get(), "chain_request_id": chain_request_id.get()}
    return {name: value for name, value in ids.items() if value is not None}


def _write(fields: dict[str, object], ids: dict[str, str] | None = None) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"ts": now, "model": _Lines.model, **fields, **(_ids() if ids is None else ids)}
    text = json.dumps(line, default=str) + "\n"
    with _Lines.lock:
        _Lines.out.write(text)
        _Lines.out.flush()


class _Prints(io.TextIOBase):
    """A stream whose every line becomes a JSON line; half lines wait, one buffer per thread."""

    def __init__(self, level: str) -> None:
        self._level = level
        self._half = _Half()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "utf-8"

    @property
    def buffer(self) -> BinaryIO:
        """The raw stream, for programs that write bytes; the worker makes JSON of those."""
        return _Lines.out.buffer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _Lines.out.fileno()

    def write(self, text: str, /) -> int:
        half, ids = self._half, _ids()
        if half.text and half.ids != ids:  # another request's: it ends here and keeps its id
            self._line(half.text, half.ids)
            half.text = ""
        *lines, rest = (half.text + text).split("\n")
        for line in lines:
            self._line(line, ids)
        half.text, half.ids = _redrawn(rest), ids
        if len(half.text) > LONGEST:
            self._line(half.text, ids)
            half.text = ""
        return len(text)

    def flush(self) -> None:
        """Half lines wait for their end: progress bars would become thousands of lines."""

    def _line(self, text: str, ids: dict[str, str]) -> None:
        if shown := _redrawn(text).rstrip("\r"):
            _write({"level": self._level, "message": _capped(shown)}, ids)


class _Half(threading.local):
    """A line without its end, and whose it is."""

    text: str = ""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}


def _redrawn(line: str) -> str:
    """What a terminal shows of a line that was drawn again and again, as progress bars are."""
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
    """The traceback as text, cut to the frames from the model's file downward; without any, the error alone."""
    return _formatted(error, _first_of_user(error, model_file))


def log_user_error(message: str, error: BaseException, model_file: str) -> None:
    """An error of the model, with the frames that its author can act upon; all when none are the author's."""
    kept = _first_of_user(error, model_file) or error.__traceback__
    _write({"level": "error", "message": message, "traceback": _formatted(error, kept)})


def _formatted(error: BaseException, kept: TracebackType | None) -> str:
    return "".join(traceback.format_exception(type(error), error, kept))


def _first_of_user(error: BaseException, model_file: str) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.endswith(model_file):
        trace = trace.tb_next
    return trace
