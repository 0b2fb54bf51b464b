"""Reads the log lines of all parts: finds those of a model or request, follows them, and formats them."""

import json
import os
import textwrap
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from tasks.outside_text import printable
from tasks.process.log_files import oldest_first

PREFIX_SHORTEST = 8  # so many characters of a request id name it
# The first in lines of model hosts, the second in lines of our own processes.
TIMES = ("ts", "timestamp")
IDS = ("request_id", "chain_request_id")
# What `message_of` does not repeat as name=value.
KNOWN = {*TIMES, *IDS, "level", "event", "message", "model", "part", "traceback", "exception"}
# A level is shown in at most five letters: `exception` becomes `excep`.
LEVELS = {"warning": "warn", "critical": "crit"}
RANKS = {
    "debug": 0,
    "info": 1,
    "warning": 2,
    "error": 3,
    "critical": 4,
}  # the names that --level takes
SHORT_RANKS = {
    "debug": 0,
    "warn": 2,
    "error": 3,
    "excep": 3,
    "crit": 4,
    "fatal": 4,
}  # by the shown letters; all others count as info
MARGIN = "  "  # left of frames
COLOURS = {"warn": "yellow", "error": "red", "crit": "red", "debug": "dim"}


@dataclass(frozen=True)
class Line:
    """One JSON line. `raw` is the text in the file."""

    raw: str
    fields: dict[str, object]

    @property
    def at(self) -> datetime | None:
        """The time of the line, None if it has none."""
        for name in TIMES:
            try:
                return datetime.fromisoformat(str(self.fields[name]))
            except (KeyError, ValueError):
                continue
        return None

    @property
    def request_id(self) -> str:
        """The id of the request that the line belongs to, or empty."""
        return str(self.fields.get("request_id") or "")

    def is_about(self, what: str) -> bool:
        """Whether the line belongs to that model or request. The first 8 characters of a request id are enough."""
        if what in (self.fields.get("model"), self.fields.get("chain_request_id")):
            return True
        return what == self.request_id or (
            len(what) >= PREFIX_SHORTEST and self.request_id.startswith(what)
        )


@dataclass(frozen=True)
class Wanted:
    """Which lines are asked for: about a model or a request, of this rank (RANKS) and higher, since a time."""

    what: str
    rank: int = 0
    since: datetime | None = None

    def has(self, line: Line) -> bool:
        """Whether the line is one of them."""
        if not line.is_about(self.what) or SHORT_RANKS.get(level_of(line), 1) < self.rank:
            return False
        return self.since is None or (line.at is not None and _zoned(line.at) >= self.since)

    @property
    def words(self) -> str:
        """What was asked for, in words, for the sentence that there are no such lines."""
        narrow = " of that level and time" if self.rank or self.since else ""
        return f"lines{narrow} about {self.what!r}"


def _zoned(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse(raw: bytes) -> Line | None:
    """The line, None when it is not a JSON object."""
    text = raw.decode(errors="replace").strip()
    try:
        fields: object = json.loads(text)
    except ValueError:
        return None
    return Line(text, cast("dict[str, object]", fields)) if isinstance(fields, dict) else None


class Follower:
    """Reads one log file as it grows, also when it is renamed and a new one begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._begun_line = b""
        self._saw_next = False

    def fresh(self) -> Iterator[bytes]:
        """The complete lines that were written since the last call."""
        if self._file is None and not self._open(self.path):
            return
        assert self._file
        while True:
            while chunk := self._file.readline():
                self._begun_line += chunk
                if self._begun_line.endswith(b"\n"):
                    yield self._begun_line
                    self._begun_line = b""
            if not self._open_next():
                return

    def _open_next(self) -> bool:
        """Opens the next file after the end of this one. Whether it is open now, or there is more to read at once."""
        files = oldest_first(self.path)
        places = [number for number, file in enumerate(files) if self._is_mine(file)]
        # If this file was removed meanwhile, the oldest one is the next.
        newer = files[places[0] + 1 :] if places else files
        if not newer:
            return False
        # Its writer may still finish a line in it: look once more at the next call.
        if not self._saw_next:
            self._saw_next = True
            return len(newer) > 1  # two newer files: its writer has long left it
        self._saw_next = False
        return self._open(newer[0])

    def _open(self, path: Path) -> bool:
        try:
            fresh = path.open("rb")
        except FileNotFoundError:
            return False
        if self._file:
            self._file.close()
        self._file = fresh
        return True

    def _is_mine(self, path: Path) -> bool:
        assert self._file
        try:
            return path.stat().st_ino == os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False


class LogFolder:
    """All log files of a folder."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self._folder = folder
        self._wanted = wanted
        self._followers: dict[Path, Follower] = {}

    def past(self, count: int) -> list[Line]:
        """The last lines about the model or request, in order of time. `fresh` continues after them."""
        found: list[Line] = []
        for path in sorted(self._folder.glob("*.log")):
            last: deque[Line] = deque(maxlen=count)
            for old in oldest_first(path)[:-1] if path.exists() else []:
                with old.open("rb") as file:
                    last.extend(self._wanted_lines(file))
            self._followers[path] = Follower(path)
            last.extend(self._wanted_lines(self._followers[path].fresh()))
            found += last
        return _in_time(found)[-count:] if count else []

    def fresh(self) -> list[Line]:
        """The lines since the last call, from new files too."""
        for path in self._folder.glob("*.log"):
            self._followers.setdefault(path, Follower(path))
        return _in_time(
            [
                line
                for follower in self._followers.values()
                for line in self._wanted_lines(follower.fresh())
            ]
        )

    def models(self) -> list[str]:
        """The models that any line is about."""
        lines = (
            raw for path in self._folder.glob("*.log") for raw in path.read_bytes().splitlines()
        )
        found = {
            str(line.fields["model"])
            for raw in lines
            if (line := parse(raw)) and "model" in line.fields
        }
        return sorted(found)

    def _wanted_lines(self, lines: "Iterator[bytes] | BinaryIO") -> Iterator[Line]:
        """The lines that are asked for. Only those that contain the model or the id at all are parsed."""
        what = json.dumps(self._wanted.what)[1:-1].encode()
        for raw in lines:
            if what in raw and (line := parse(raw)) and self._wanted.has(line):
                yield line


def _in_time(lines: list[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: line.at.timestamp() if line.at else 0.0)


def level_of(line: Line) -> str:
    """The level of the line, in at most five letters."""
    level = str(line.fields.get("level", "info")).lower()
    return LEVELS.get(level, level)[:5]


def message_of(line: Line) -> str:
    """The message, or the event with its fields; then the traceback, if any."""
    fields = line.fields
    rest = {
        name: value for name, value in fields.items() if name not in KNOWN and value is not None
    }
    words = [str(fields[name]) for name in ("event", "message") if fields.get(name)]
    words += [f"{name}={value}" for name, value in rest.items()]
    trace = str(fields.get("traceback") or fields.get("exception") or "").strip()
    return " ".join(words) + (f"\n{trace}" if trace else "")


def render(line: Line, width: int | None = 80) -> str:
    """Time, level, request and message. With a width, the message is wrapped and indented. Frames stand at the left, whole where they fit."""
    at = line.at.astimezone().strftime("%H:%M:%S") if line.at else "--:--:--"
    head = f"{at} {level_of(line):<5} {line.request_id[:8] or '-':<8} "
    message, _, frames = message_of(line).partition("\n")
    return "\n".join([*_wrapped(message, head, width), *_frames(frames, width)])


def _wrapped(message: str, head: str, width: int | None) -> list[str]:
    """The message behind the head, and more lines below it."""
    text = printable(message)
    if width is None or len(head) + len(text) <= width:
        return [head + text]
    parts = textwrap.wrap(text, max(20, width - len(head)))
    return [head + parts[0], *(" " * len(head) + part for part in parts[1:])]


def _frames(frames: str, width: int | None) -> list[str]:
    """The lines of a traceback with a margin. What has no room goes on in the next line, deeper than it began, so that columns stay."""
    shown: list[str] = []
    for line in printable(frames).split("\n") if frames else ():
        deep = MARGIN + " " * (len(line) - len(line.lstrip()))
        text = MARGIN + line
        if width is None or len(text) <= width:
            shown.append(text)
        else:
            shown += textwrap.wrap(
                line.strip(), max(20, width), initial_indent=deep, subsequent_indent=deep + MARGIN,
                break_on_hyphens=False, drop_whitespace=True,
            )  # fmt: skip
    return shown
