"""The audit log: who changed what, when, and with which result. A change over the API and one by a command make the same entry."""

from dataclasses import dataclass
from typing import cast

from tasks.access.library import ACCESS
from tasks.job import Milliseconds
from tasks.outside_text import printable, utf8
from tasks.store.records import Reply, items, text
from tasks.store.verbs import ScriptCall

MOST_ENTRIES = 100_000  # about 20 MB of the store; more entries go before their days are over
LOOKED_AT = 5000  # entries in one reading: some milliseconds of the store
LONGEST = 300  # characters of a field
COMMAND_LINE = "command line"  # the actor of a command, which uses the store itself
DONE = "done"
NEWEST = "+"


@dataclass(frozen=True)
class AuditEntry:
    """One change. `actor` is the id of an API key, or `command line`; `name` is the key's name, or the user of the machine."""

    id: str
    at: Milliseconds
    actor: str
    name: str
    action: str
    target: str
    result: str


@dataclass
class Change:
    """A change that is being made. Whoever makes it may name its target more exactly, or say that it changes nothing."""

    actor: str
    name: str
    action: str
    target: str = ""
    changes: bool = True  # false for a call that only counts, which makes no entry

    def entry(self, result: str) -> ScriptCall[str]:
        """Appends it to the audit log, with its result."""
        arguments: list[str | int] = [MOST_ENTRIES]
        fields = {name: getattr(self, name) for name in ("actor", "name", "action", "target")}
        for name, value in {**fields, "result": result}.items():
            arguments += [name, printable(utf8(value))[:LONGEST]]
        return ScriptCall("write_audit", arguments, text, ACCESS)


@dataclass(frozen=True)
class AuditPage:
    """Entries, newest first, and where the next page begins; None after the last page. A page may be empty although more follow."""

    entries: list[AuditEntry]
    cursor: str | None


def read_audit(
    limit: int,
    cursor: str | None = None,
    since: Milliseconds = 0,
    until: Milliseconds | None = None,
    actor: str = "",
    action: str = "",
) -> ScriptCall[AuditPage]:
    """Entries from `since` to `until`, which are Unix milliseconds. `action` is exact, or its kind: `key` for `key.create`."""
    start = NEWEST if until is None else str(max(until, 0))
    arguments = [f"({cursor}" if cursor else start, max(since, 0), limit, LOOKED_AT, actor, action]

    def read(reply: Reply) -> AuditPage:
        rows, last = items(reply)
        return AuditPage([_entry(items(row)) for row in items(rows)], text(last) or None)

    return ScriptCall("read_audit", arguments, read, ACCESS)


def _entry(row: list[Reply]) -> AuditEntry:
    entry_id, flat = text(row[0]), [cast(bytes, word).decode() for word in items(row[1])]
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return AuditEntry(id=entry_id, at=int(entry_id.partition("-")[0]), **fields)
