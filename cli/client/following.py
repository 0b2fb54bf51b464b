"""Follows a request by its events: a bar for a terminal, lines for a file, tokens as they come."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kingpost.records import WAITS
from tasks.outside_text import printable

if TYPE_CHECKING:
    from kingpost import Job
    from kingpost.records import JobStatus
    from kingpost.streams.events import Event

Tokens = Callable[[str], None]
COLUMNS = (TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn(), TextColumn("{task.fields[state]}", markup=False))  # fmt: skip


@dataclass
class Followed:
    """What was seen: how the request ended, and whether all of its output came as events."""

    status: str = ""
    output: bool = False
    truncated: bool = False

    @property
    def all_shown(self) -> bool:
        """Whether the events brought the whole output."""
        return self.output and not self.truncated


def follow(job: "Job", tokens: Tokens | None = None, as_json: bool = False) -> Followed:
    """Shows the events of a request until it is final. Output that comes as events goes to `tokens`."""
    seen = Followed()
    show = _Lines(job, as_json) if as_json or not sys.stderr.isatty() else _Bar(job)
    try:
        for event in job.events():
            _note(seen, event)
            if event.kind == "output" and tokens:
                show.stop()  # the output is written where the bar was
                tokens(event.data)
            else:
                show.take(event)
    finally:
        show.stop()
    return seen


def _note(seen: Followed, event: "Event") -> None:
    match event.kind:
        case "status":
            seen.status = event.json()["status"]
            if seen.status == "QUEUED":
                seen.output = False  # another attempt begins
        case "output":
            seen.output = True
        case "truncated":
            seen.truncated = True
        case _:
            pass


class _Bar:
    """One line at the bottom of the terminal."""

    def __init__(self, job: "Job") -> None:
        self._job = job
        self._bars = Progress(*COLUMNS, console=Console(stderr=True), transient=True)
        self._task: TaskID = self._bars.add_task(
            job.id[:8], total=1.0, state=_waiting(job.status())
        )
        self._bars.start()

    def take(self, event: "Event") -> None:
        if event.kind == "progress":
            said = event.json()
            self._bars.update(
                self._task,
                completed=said.get("fraction") or 0,
                state=printable(said.get("message") or "running"),
            )
        elif event.kind == "status":
            self._bars.update(self._task, state=_status_words(event, self._job))

    def stop(self) -> None:
        self._bars.stop()


class _Lines:
    """A line for each event, on stderr, or as JSON on stdout."""

    def __init__(self, job: "Job", as_json: bool) -> None:
        self._job, self._as_json = job, as_json

    def take(self, event: "Event") -> None:
        if self._as_json:
            said = asdict(event)
            if event.kind != "output":
                said["data"] = event.json()
            print(json.dumps(said), flush=True)
        elif event.kind == "status":
            print(_status_words(event, self._job), file=sys.stderr, flush=True)
        elif event.kind == "progress":
            said = event.json()
            message = f"{said.get('fraction') or 0:.0%} {said.get('message') or ''}"
            print(printable(message.strip()), file=sys.stderr, flush=True)

    def stop(self) -> None:
        pass


def _status_words(event: "Event", job: "Job") -> str:
    said = event.json()
    if said["status"] == "QUEUED":
        now = job.status()
        # The event is older than the status.
        return _waiting(now) if now.status == "QUEUED" else "queued"
    attempt = f", attempt {said['attempt']}" if said.get("attempt", 0) > 1 else ""
    return said["status"].lower().replace("_", " ") + attempt


def _waiting(status: "JobStatus") -> str:
    """The place in the queue; or what it waits for, if that is not its turn."""
    if status.status != "QUEUED":
        return status.status.lower().replace("_", " ")
    if status.waiting_for in (None, "slot"):
        ahead = status.queue_position
        return "queued" if ahead is None else f"queued, {ahead} ahead"
    why = (status.waiting_reason or "").strip().splitlines()
    said = f"queued, waits for {WAITS.get(status.waiting_for, status.waiting_for)}"
    return printable(f"{said}: {why[-1]}" if why else said)
