"""The verbs of the log store, like those of jobs in tasks/store/verbs.py."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.job import Milliseconds
from tasks.log_store.library import LOGS
from tasks.log_store.lines import KeptLine
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import Argument, ScriptCall

Order = Literal["newest", "oldest"]
LINE_ID = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")


@dataclass(frozen=True, order=True, slots=True)
class LineId:
    """The place of a line among those of all deployments. Its text is a cursor."""

    ms: int
    number: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"

    @classmethod
    def of(cls, said: str) -> "LineId | None":
        """The id of a text, None for any other text."""
        found = LINE_ID.fullmatch(said)
        return cls(*map(int, found.groups())) if found else None


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A line of a deployment's log. `text` is a JSON object."""

    id: LineId
    deployment_id: str
    text: str


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Which lines are asked for. `rank` is that of the least level, as an index of LEVELS. A request id may be its first characters."""

    rank: int = 0
    request_id: str = ""
    since: Milliseconds = 0


@dataclass(frozen=True, slots=True)
class LogPart:
    """A part of a deployment's log, and the id that the next part begins beyond; None at the end."""

    lines: list[StoredLine]
    beyond: LineId | None


def keep_lines(deployment_id: str, lines: Sequence[KeptLine]) -> ScriptCall[int]:
    """Appends lines. The reply is how many old ones had to go."""
    arguments: list[Argument] = [deployment_id]
    for line in lines:
        arguments += [line.rank, line.request_id, line.chain_request_id, line.text]
    return ScriptCall("keep_lines", arguments, number, LOGS)


def logged(since: Milliseconds = 0) -> ScriptCall[tuple[LineId, list[str]]]:
    """The id of the latest line of all, and the deployments that have lines since that time."""

    def read(reply: Reply) -> tuple[LineId, list[str]]:
        latest, deployments = items(reply)
        return _id(latest), [text(entry) for entry in items(deployments)]

    return ScriptCall("logged", [since], read, LOGS)


def read_log(
    deployment_id: str,
    order: Order,
    begin: str,
    end: str,
    most: int,
    looked_at: int,
    wanted: LineFilter,
) -> ScriptCall[LogPart]:
    """Lines from `begin` to `end`: ids, with '(' before one that is left out; `-` and `+` are the ends of the log."""
    arguments: list[Argument] = [deployment_id, order, begin, end, most, looked_at]
    arguments += [wanted.rank, wanted.request_id]

    def read(reply: Reply) -> LogPart:
        rows, beyond = items(reply)
        pairs = [items(row) for row in items(rows)]
        lines = [StoredLine(_id(place), deployment_id, text(line)) for place, line in pairs]
        return LogPart(lines, LineId.of(text(beyond)))

    return ScriptCall("read_log", arguments, read, LOGS)


@dataclass(frozen=True, slots=True)
class Purged:
    """How many requests were purged until `upto` and may have lines, and the deployments that have lines at all."""

    count: int
    upto: Milliseconds
    deployments: list[str]


def purged(settled: Milliseconds) -> ScriptCall[Purged]:
    """The requests that were purged at least `settled` ago and may still have lines."""

    def read(reply: Reply) -> Purged:
        count, upto, deployments = items(reply)
        return Purged(number(count), number(upto), [text(entry) for entry in items(deployments)])

    return ScriptCall("purged", [settled], read, LOGS)


def forget_lines(
    deployment_id: str, beyond: LineId | None, most: int
) -> ScriptCall[tuple[int, LineId | None]]:
    """Deletes the lines of purged requests among the next ones. The reply is how many went, and where to go on; None at the end."""

    def read(reply: Reply) -> tuple[int, LineId | None]:
        gone, last = items(reply)
        return number(gone), LineId.of(text(last))

    begin = f"({beyond}" if beyond else "-"
    return ScriptCall("forget_lines", [deployment_id, begin, most], read, LOGS)


def forget_purged(upto: Milliseconds) -> ScriptCall[int]:
    """Forgets the requests that were purged until then, because none of their lines is left. The reply is their number."""
    return ScriptCall("forget_purged", [upto], number, LOGS)


def _id(reply: Reply) -> LineId:
    found = LineId.of(text(reply))
    assert found, reply
    return found
