"""Which jobs a list or a bulk operation is about, and how far along the index of jobs it is."""

import re
from dataclasses import dataclass

from tasks.job import Milliseconds
from tasks.outside_text import utf8
from tasks.state import Status

# A cursor: the ms of creation, and a member of the index. In an earlier version a member had no 13 digits of arrival.
PLACE = re.compile(r"([0-9]{1,15})-((?:[0-9]{13}:)?[0-9A-Za-z]{1,64})")

# The same in the order in which jobs will be claimed: a deployment, one of its lines, and the score and the member there.
TURN = re.compile(
    r"([0-9A-Za-z_]{1,64})\.([123])\.([0-9]{0,17})\.((?:[0-9]{13}:[0-9A-Za-z]{1,64})?)"
)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a job must be like. A field that is None, '' or () matches any job. Only `deployments` differs: () matches none."""

    key: str = ""  # the id of its API key
    model: str = ""  # the id of its model
    deployments: tuple[str, ...] | None = None
    statuses: tuple[Status, ...] = ()
    level: int | None = None  # the priority of the API
    created_after: Milliseconds | None = None  # at that time or later
    created_before: Milliseconds | None = None  # earlier than that
    error_code: str = ""
    error_text: str = ""  # a part of an error's message, in upper or lower case
    detailed: bool = (
        False  # looks for `error_text` in the model's exception instead, if there is one
    )

    def arguments(self) -> list[str]:
        """The fields that are set, as pairs of name and value for the scripts."""
        words = {
            "key": self.key,
            "model": self.model,
            "deployments": None if self.deployments is None else " ".join(self.deployments),
            "statuses": " ".join(self.statuses),
            "level": self.level,
            "after": self.created_after,
            "before": self.created_before,
            "code": self.error_code,
            "text": utf8(self.error_text),
            "detailed": "1" if self.detailed else "",
        }
        given = {name: str(word) for name, word in words.items() if word is not None}
        return [
            part
            for name, word in given.items()
            if word or name == "deployments"
            for part in (name, word)
        ]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the index of jobs: just after a job. That job may be deleted meanwhile. `str()` gives the cursor."""

    created: str = ""  # ms since 1970
    member: str = ""  # of the index: the number of the job's arrival, a colon and its request id

    def __str__(self) -> str:
        return f"{self.created}-{self.member}"

    @classmethod
    def of(cls, cursor: str) -> "Place":
        """The place of a cursor. Any text that does not match PLACE, such as '', is the beginning."""
        found = PLACE.fullmatch(cursor)
        return cls(*found.groups()) if found else cls()


START = Place()


@dataclass(frozen=True, slots=True)
class Turn:
    """A place in the order in which queued jobs will be claimed: just after a job, which may be running meanwhile. `str()` gives the cursor."""

    deployment: str = ""
    line: int = (
        1  # 1 its queue, 2 jobs held for the limit of their API key, 3 those in their backoff
    )
    score: str = ""
    member: str = ""  # of the queue

    def __str__(self) -> str:
        return f"{self.deployment}.{self.line}.{self.score}.{self.member}"

    @classmethod
    def of(cls, cursor: str) -> "Turn":
        """The place of a cursor. Any text that does not match TURN, such as '', is the beginning."""
        found = TURN.fullmatch(cursor)
        return cls(found[1], int(found[2]), found[3], found[4]) if found else cls()


FIRST = Turn()
