"""The verbs of the outbox, like those of the queue in tasks/store/verbs.py."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, cast

from tasks.job import Job, Milliseconds
from tasks.store import records
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import Argument, ScriptCall

FINALS_PLACE = re.compile(r"([0-9]{1,15})-([0-9A-Za-z]{0,64})")
LOOKED_AT = 1000  # due rows in one taking: some milliseconds of the store


@dataclass(frozen=True)
class Taken:
    """A due delivery that this sender holds under a lease. `job` is parsed at its first use, so that a damaged record affects this row only."""

    request_id: str
    attempts: int
    output: bytes
    token: str
    places: tuple[bytes, bytes]  # what it counts for: its API key and its host
    record: list[Reply]

    @cached_property
    def job(self) -> Job:
        """The record of the job."""
        return records.job(self.request_id, self.record)


@dataclass(frozen=True)
class GivenUp:
    """A webhook whose attempts are used up, or that its receiver refused for good."""

    request_id: str
    at: Milliseconds
    url: str
    attempts: list[dict[str, Any]]  # as the sender wrote them: at, status, error, ms, answer


@dataclass(frozen=True)
class Delivery:
    """How the webhook of a request stands. `url` is '' if it has none. `status` is '' also before the request is final."""

    url: str
    status: str  # a WebhookStatus
    attempts: list[dict[str, Any]]  # as of GivenUp
    next_in: Milliseconds | None  # until the next attempt; None if none is planned


@dataclass(frozen=True)
class OnItsWay:
    """A webhook that is not delivered yet."""

    request_id: str
    url: str
    attempts: list[dict[str, Any]]  # as of GivenUp
    next_in: Milliseconds | None  # until the next attempt; None while one runs


@dataclass(frozen=True)
class OutboxStatus:
    """The numbers of webhooks on their way and given up, the latest that were given up, and the next that are tried."""

    pending: int
    exhausted: int
    latest: list[GivenUp]
    following: list[OnItsWay]


@dataclass(frozen=True)
class FinalsPlace:
    """A place in the order in which requests became final. Its text is the id of an event."""

    score: str = ""  # ms at which the request is forgotten
    request_id: str = ""

    def __str__(self) -> str:
        return f"{self.score}-{self.request_id}"

    @classmethod
    def of(cls, given: str) -> "FinalsPlace":
        """The place of such a text; of anything else the beginning."""
        found = FINALS_PLACE.fullmatch(given)
        return cls(*found.groups()) if found else cls()


BEGINNING = FinalsPlace()


@dataclass(frozen=True)
class Final:
    """A final request, its output if the job store has it, and its place."""

    job: Job
    output: bytes
    place: FinalsPlace


@dataclass(frozen=True)
class Finals:
    """Some requests that became final, and where it goes on."""

    finals: list[Final]
    place: FinalsPlace


class DeliveryResult(StrEnum):
    """The result of recording an attempt. STALE: another sender holds the delivery by now."""

    DONE = "done"
    STALE = "stale"
    MISSING = "missing"


class Redelivery(StrEnum):
    """The result of a redelivery."""

    QUEUED = "queued"
    NOT_FINAL = "not_final"
    NO_WEBHOOK = "no_webhook"
    MISSING = "missing"


def take_deliveries(
    limit: int,
    lease_ms: int,
    token: str,
    free: int = 10**6,
    per_host: int = 10**6,
    busy: Mapping[bytes, int] | None = None,
) -> ScriptCall[list[Taken]]:
    """Takes due deliveries under a lease. `free` is the number of free places, `busy` how many each key and host uses."""
    arguments: list[Argument] = [limit, lease_ms, token, free, per_host, LOOKED_AT]
    for place, count in (busy or {}).items():
        arguments += [place, count]

    def read(reply: Reply) -> list[Taken]:
        return [_taken(items(row), token) for row in items(reply)]

    return ScriptCall("take_deliveries", arguments, read)


def _taken(row: list[Reply], token: str) -> Taken:
    request_id, attempts, api_key, host, record, output = row
    places = (cast(bytes, api_key), cast(bytes, host))
    return Taken(
        text(request_id), number(attempts), cast(bytes, output), token, places, items(record)
    )


def settle_delivery(
    taken: Taken, verdict: str, delay_ms: int, record: str
) -> ScriptCall[DeliveryResult]:
    """Records one attempt. `verdict` is delivered, retry or failed."""
    arguments = [taken.request_id, taken.token, verdict, delay_ms, record]
    return ScriptCall("settle_delivery", arguments, lambda reply: DeliveryResult(text(reply)))


def redeliver(request_id: str, owner: str = "") -> ScriptCall[Redelivery]:
    """Sends the webhook of a final job again. The owner '' means any."""
    return ScriptCall("redeliver", [request_id, owner], lambda reply: Redelivery(text(reply)))


def delivery(request_id: str, owner: str = "") -> ScriptCall[Delivery | None]:
    """How the webhook of a request stands; None if there is no such request. The owner '' means any."""

    def read(reply: Reply) -> Delivery | None:
        word, *rest = items(reply)
        if text(word) == "missing":
            return None
        url, status, log, due = (text(part) for part in rest)
        return Delivery(url, status, json.loads(f"[{log}]"), int(due) if due != "-1" else None)

    return ScriptCall("delivery", [request_id, owner], read)


def outbox_status(latest: int = 0) -> ScriptCall[OutboxStatus]:
    """The numbers of webhooks, those that were given up last, and those that are tried next, at most `latest` of each."""

    def read(reply: Reply) -> OutboxStatus:
        pending, exhausted, rows, due = items(reply)
        given_up = [_given_up(items(row)) for row in items(rows)]
        following = [_on_its_way(items(row)) for row in items(due)]
        return OutboxStatus(number(pending), number(exhausted), given_up, following)

    return ScriptCall("outbox_status", [latest], read)


def finals(
    api_key: str, place: FinalsPlace, looked_at: int = LOOKED_AT, most: int = 10
) -> ScriptCall[Finals]:
    """The next requests of a key that became final after that place. From BEGINNING there are none, only the place of now."""

    def read(reply: Reply) -> Finals:
        score, last, rows = items(reply)
        return Finals(
            [_final(items(row)) for row in items(rows)], FinalsPlace(text(score), text(last))
        )

    arguments: list[Argument] = [api_key, place.score, place.request_id, looked_at, most]
    return ScriptCall("finals", arguments, read)


def _final(row: list[Reply]) -> Final:
    request_id, score, record, output = row
    job = records.job(text(request_id), items(record))
    return Final(job, cast(bytes, output), FinalsPlace(text(score), text(request_id)))


def _given_up(row: list[Reply]) -> GivenUp:
    request_id, at, url, log = (text(part) for part in row)
    return GivenUp(request_id, int(float(at)), url, json.loads(f"[{log}]"))


def _on_its_way(row: list[Reply]) -> OnItsWay:
    request_id, due, url, log = (text(part) for part in row)
    return OnItsWay(request_id, url, json.loads(f"[{log}]"), None if due == "-1" else int(due))
