"""The verbs of batches. Each builds the call of one script and reads its reply; none has side effects.

A batch is cut into parts of PART_LINES lines. A part is sent (its lines become jobs), then written (their results are a payload). At
the end the payloads are joined. Whoever has the turn at a batch may do the next step, and a step that is done again changes nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from tasks.errors import AdmissionError, KingpostError, NotFound
from tasks.files.verbs import FILES
from tasks.outside_text import text_of
from tasks.store.records import JSON, Reply, errors, items, number, text
from tasks.store.scripting import JOBS, Library, of_jobs
from tasks.store.verbs import Argument, ScriptCall

T = TypeVar("T")
Ending = Literal["", "cancelled", "expired"]  # why a batch ends early

BATCHES = Library(Path(__file__).parent / "scripts", of_jobs, below=(JOBS.folder, FILES.folder))
PART_LINES = 100  # of a part at most: its jobs are queued, and let go, in one run of a script
MOST_OPEN = 100  # batches of a key that have not ended
MOMENTS = (
    "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
)  # fmt: skip


class BatchesFull(AdmissionError):
    """This API key has 100 batches that have not ended; wait for one, or cancel one."""


class BatchEnded(KingpostError):
    """The batch has ended, or is about to."""

    def __init__(self, status: str) -> None:
        super().__init__(f"The batch is {status}; it cannot be cancelled any more.")


@dataclass(frozen=True)
class Batch:
    """The record of a batch. Times are Unix milliseconds."""

    id: str
    api_key: str
    endpoint: str
    input: str  # the file with its lines
    ref: str  # the payload of that file
    size: int  # its bytes
    window: str  # as it was given, such as '24h'
    metadata: Mapping[str, str] | None
    status: str
    ending: Ending
    created: int
    expires: int
    total: int  # lines
    completed: int
    failed: int
    cut_off: int  # those that failed because the batch was cancelled or expired
    next: int  # the part that is sent next
    starts: tuple[
        int, ...
    ]  # of each part, and of the end: the byte, and the number of lines before
    moments: Mapping[str, int]  # when it got each of the statuses in MOMENTS
    errors: Sequence[Mapping[str, Any]]
    output: str  # files, '' = none
    error: str

    @property
    def parts(self) -> int:
        """How many parts it has."""
        return max(len(self.starts) // 2 - 1, 0)


@dataclass(frozen=True)
class Turn:
    """The right to go on with a batch, until another process takes its turn."""

    fence: str
    batch: Batch
    sent: frozenset[int]  # parts whose lines are jobs
    left_ms: int  # until its window is over


@dataclass(frozen=True)
class LineResult:
    """What became of the job of a line. `status` is '' if there is no such job."""

    status: str
    error: tuple[str, str]  # code and message of its last error, both '' if there is none
    content_type: str
    ref: str  # the payload of its output; '' = `output` has it
    size: int
    output: bytes


def _call(script: str, arguments: Sequence[Argument], read: Callable[[Reply], T]) -> ScriptCall[T]:
    return ScriptCall(script, arguments, read, BATCHES)


def _done(reply: Reply) -> bool:
    return not isinstance(reply, bytes) or text(reply) != "stale"


def create(
    batch_id: str,
    api_key: str,
    endpoint: str,
    file_id: str,
    window: tuple[str, int],
    metadata: Mapping[str, str] | None,
    output_ms: int,
    total: int = 0,
) -> ScriptCall[Batch]:
    """Begins a batch. `window` is as it was given, and in ms; `total` are its lines, 0 if they are not known yet. Reading the reply raises NotFound for the file, and BatchesFull."""

    def read(reply: Reply) -> Batch:
        word, *rest = items(reply)
        if text(word) == "no_file":
            raise NotFound(f"There is no file file-{file_id} with the purpose batch.")
        if text(word) == "full":
            raise BatchesFull
        return _batch(batch_id, rest[0])

    arguments: list[Argument] = [batch_id, api_key, endpoint, file_id, window[1], window[0]]
    arguments += [json.dumps(metadata), output_ms, MOST_OPEN, total]
    return _call("batch_create", arguments, read)


def read(batch_id: str, owner: str) -> ScriptCall[Batch]:
    """A batch; the owner '' means any. Reading the reply raises NotFound."""

    def record(reply: Reply) -> Batch:
        if not items(reply):
            raise NotFound(f"There is no batch batch_{batch_id}.")
        return _batch(batch_id, reply)

    return _call("batch_read", [batch_id, owner], record)


def listed(api_key: str, after: str, most: int) -> ScriptCall[list[Batch]]:
    """Batches of that key, newest first, after that one; `most + 1` of them if there are more."""

    def rows(reply: Reply) -> list[Batch]:
        return [_batch(text(row[0]), row[1]) for row in map(items, items(reply))]

    return _call("batch_list", [api_key, after, most], rows)


def cancel(batch_id: str, owner: str) -> ScriptCall[Batch]:
    """Lets a batch end early. Reading the reply raises NotFound and BatchEnded."""

    def record(reply: Reply) -> Batch:
        word, *rest = items(reply)
        if text(word) == "missing":
            raise NotFound(f"There is no batch batch_{batch_id}.")
        if text(word) == "ended":
            raise BatchEnded(text(rest[0]))
        return _batch(batch_id, rest[0])

    return _call("batch_cancel", [batch_id, owner], record)


def take(fence: str) -> ScriptCall[Turn | None]:
    """The turn at a batch that is due; None if none is."""

    def turn(reply: Reply) -> Turn | None:
        if not items(reply):
            return None
        batch_id, record, sent, left = items(reply)
        parts = frozenset(number(part) for part in items(sent))
        return Turn(fence, _batch(text(batch_id), record), parts, number(left))

    return _call("batch_take", [fence], turn)


def hold(turn: Turn) -> ScriptCall[bool]:
    """Makes the turn last longer. False if another process has taken it."""
    return _call("batch_hold", [turn.batch.id, turn.fence, ""], _done)


def leave(turn: Turn, milliseconds: int) -> ScriptCall[bool]:
    """Ends the turn. The next one comes after that time."""
    return _call("batch_hold", [turn.batch.id, turn.fence, milliseconds], _done)


def begin(turn: Turn, total: int, starts: Sequence[int]) -> ScriptCall[bool]:
    """The file was read: its number of lines, and `Batch.starts`."""
    return _call("batch_begin", [turn.batch.id, turn.fence, total, json.dumps(starts)], _done)


def refuse(turn: Turn, mistakes: Sequence[Mapping[str, object]]) -> ScriptCall[bool]:
    """The file cannot be run, so the batch has failed."""
    return _call("batch_refuse", [turn.batch.id, turn.fence, json.dumps(mistakes)], _done)


def sent(turn: Turn, part: int) -> ScriptCall[bool]:
    """The lines of the next part are jobs."""
    return _call("batch_sent", [turn.batch.id, turn.fence, part], _done)


def wrote(
    turn: Turn, part: int, lines: tuple[int, int, int], sizes: tuple[int, int], jobs: Sequence[str]
) -> ScriptCall[bool]:
    """The results of a part are written: the lines that succeeded, that failed, and of these those that were cut off; the bytes of results and errors. Its jobs go."""
    arguments: list[Argument] = [turn.batch.id, turn.fence, part, *lines, *sizes, *jobs]
    return _call("batch_wrote", arguments, _done)


def finalize(turn: Turn) -> ScriptCall[Mapping[int, tuple[int, int]] | None]:
    """All parts are written. The reply has their bytes of results and of errors; None if the turn is over."""

    def sizes(reply: Reply) -> Mapping[int, tuple[int, int]] | None:
        if not _done(reply):
            return None
        words = [text(word) for word in items(reply)]
        pairs = zip(words[::2], (word.split() for word in words[1::2]), strict=True)
        return {int(part): (int(results), int(failures)) for part, (results, failures) in pairs}

    return _call("batch_finalize", [turn.batch.id, turn.fence], sizes)


def end(turn: Turn, files: Mapping[str, tuple[str, str, int]]) -> ScriptCall[bool]:
    """The batch is over. `files` has for 'output' and 'error' the file, its payload and its bytes, if there is one."""
    arguments: list[Argument] = [turn.batch.id, turn.fence]
    for kind, file in files.items():
        arguments += [kind, *file]
    return _call("batch_end", arguments, _done)


def left(jobs: Sequence[str]) -> ScriptCall[list[str]]:
    """How each of these jobs stands: `missing`, `left` or `final`."""
    return _call("batch_left", jobs, lambda reply: [text(word) for word in items(reply)])


def stop(jobs: Sequence[str]) -> ScriptCall[int]:
    """Cancels these jobs."""
    return _call("batch_stop", jobs, number)


def results(jobs: Sequence[str]) -> ScriptCall[list[LineResult]]:
    """What became of each of these jobs."""
    return _call("batch_results", jobs, lambda reply: [_result(items(r)) for r in items(reply)])


def _result(row: list[Reply]) -> LineResult:
    status, said, content_type, ref, size, output = (cast(bytes, part or b"") for part in row)
    last = errors(text_of(said))[-1:]
    error = (str(last[0].code), last[0].message) if last else ("", "")
    return LineResult(
        text(status), error, text_of(content_type) or JSON, text(ref), int(size or 0), output
    )


def _batch(batch_id: str, flat: Reply) -> Batch:
    words = [text_of(cast(bytes, word)) for word in items(flat)]
    f = dict(zip(words[::2], words[1::2], strict=True))
    return Batch(
        id=batch_id,
        api_key=f["key"],
        endpoint=f["endpoint"],
        input=f["input"],
        ref=f["ref"],
        size=int(f["input_bytes"]),
        window=f["window"],
        metadata=json.loads(f["metadata"]),
        status=f["status"],
        ending=cast(Ending, f["ending"]),
        created=int(f["created"]),
        expires=int(f["expires"]),
        total=int(f["total"]),
        completed=int(f["completed"]),
        failed=int(f["failed"]),
        cut_off=int(f.get("cut_off", 0)),
        next=int(f["next"]),
        starts=tuple(json.loads(f.get("starts", "[]"))),
        moments={name: int(f[f"{name}_at"]) for name in MOMENTS if f"{name}_at" in f},
        errors=json.loads(f.get("errors", "[]")),
        output=f.get("output", ""),
        error=f.get("error", ""),
    )
