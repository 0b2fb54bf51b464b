"""Describes a model's exception for the owner of a request: class, message, and the frames from the model's file downward.

The frames show source lines and never values. Only the message of the exception itself may contain parts of the input.
"""

import os
import re
import traceback
from itertools import count

from tasks.outside_text import utf8

# The worker keeps a description with its request, so all parts are limited.
MOST_BYTES = 4096  # of a whole description
MESSAGE_CHARS = 1000  # of the message of one exception
LINE_CHARS = 200  # of one line of source
OUTER, INNER = 4, 12  # frames kept of a deep recursion: where it began and where it ended
MOST_CAUSES = 3  # after the exception itself. A chain of causes may be long, or a circle.
LIBRARIES = re.compile(r".*/(?:site-packages|dist-packages|lib/python3\.\d+)/")


def describe(error: BaseException, model_file: str) -> str:
    """The description, at most MOST_BYTES: `ValueError: why`, the frames, then the cause."""
    parts: list[str] = []
    for depth in count():
        parts.append(_describe_single(error, model_file))
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None or depth == MOST_CAUSES:
            break
        error = cause
    raw = utf8("\ncaused by ".join(parts)).encode()
    return raw[:MOST_BYTES].decode(errors="ignore")


def _describe_single(error: BaseException, model_file: str) -> str:
    """The description of one exception, without its causes."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, f in enumerate(frames) if f.filename.endswith(model_file)), None)
    shown = [] if first is None else [_frame(frame) for frame in frames[first:]]
    if len(shown) > OUTER + INNER:
        left_out = f"  ... {len(shown) - OUTER - INNER} more ..."
        shown = [*shown[:OUTER], left_out, *shown[-INNER:]]
    return "\n".join([headline(error), *shown])


def headline(error: BaseException) -> str:
    """`ValueError: why`, or the class alone if there is no message. It never raises, even if `str(error)` does."""
    try:
        message = str(error)[:MESSAGE_CHARS]
    except Exception as broken:  # the model's own __str__
        message = f"(its message cannot be read: {type(broken).__name__})"
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def _frame(frame: traceback.FrameSummary) -> str:
    path = LIBRARIES.sub("", frame.filename)
    here = os.getcwd() + os.sep
    where = f'  File "{path.removeprefix(here)}", line {frame.lineno}, in {frame.name}'
    return f"{where}\n    {frame.line[:LINE_CHARS]}" if frame.line else where
