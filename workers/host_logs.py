"""What the model prints and logs becomes JSON lines on stdout: ts, level, message or event, request_id."""

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

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
chain_request_id: ContextVar[str | None] = ContextVar("chain_request_id", default=None)


def install(level: str) -> None:
    """Sends prints and log records of this process through `write_line`, from `level` upward."""
    out = sys.__stdout__
    assert out is not None, "the host needs a stdout to log to"
    _Lines.out = out
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
    lock = threading.Lock()


def _write(fields: dict[str, object]) -> None:
    line: dict[str, object] = {"ts": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
    if (value := request_id.get()) is not None:
        line["request_id"] = value
    if (value := chain_request_id.get()) is not None:
        line["chain_request_id"] = value
    text = json.dumps(line, default=str) + "\n"
    with _Lines.lock:
        _Lines.out.write(text)
        _Lines.out.flush()


class _Prints(io.TextIOBase):
    """A stream whose every line becomes a JSON line; half lines wait, one buffer per thread."""

    def __init__(self, level: str) -> None:
        self._level = level
        self._half = threading.local()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "utf-8"

    @property
    def buffer(self) -> BinaryIO:
        """The raw stream, for programs that write bytes; those are not made into JSON."""
        return _Lines.out.buffer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _Lines.out.fileno()

    def write(self, text: str, /) -> int:
        *lines, rest = (getattr(self._half, "text", "") + text).split("\n")
        self._half.text = rest
        for line in lines:
            if line:
                _write({"level": self._level, "message": line})
        return len(text)

    def flush(self) -> None:
        """Half lines wait for their end: progress bars would become thousands of lines."""


class _JsonHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        _write(fields)


def user_frames(error: BaseException, model_file: str) -> str:
    """The traceback as text, cut to the frames from the model's file downward."""
    trace, last = error.__traceback__, None
    while trace is not None:
        if last is None and trace.tb_frame.f_code.co_filename.endswith(model_file):
            last = trace
        trace = trace.tb_next
    kept: TracebackType | None = last or error.__traceback__
    return "".join(traceback.format_exception(type(error), error, kept))


def log_user_error(message: str, error: BaseException, model_file: str) -> None:
    """An error of the model, with the frames that its author can act upon."""
    _write({"level": "error", "message": message, "traceback": user_frames(error, model_file)})
