"""The audit log in the store: bounded by time and by number, and read page by page."""

import pytest

from tasks.access import audit
from tasks.access.audit import DONE, Change, read_audit
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conftest import Clock


def write(store: JobStore, action: str = "key.create", actor: str = "k", target: str = "t") -> str:
    return store.run(Change(actor, "name", action, target).entry(DONE))


def test_entries_go_after_their_days(store: JobStore, clock: Clock, settings: Settings) -> None:
    old = write(store)
    clock.jump((settings.audit_days - 0.01) * 86_400)
    assert [entry.id for entry in store.run(read_audit(10)).entries] == [old]
    clock.jump(0.02 * 86_400)
    assert store.run(read_audit(10)).entries == [], "no longer shown, although nobody wrote"
    write(store)  # at the server's own time, which no test moves; it drops both
    assert store.redis.xlen("{kingpost}:audit") == 0


def test_of_too_many_the_oldest_go(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_ENTRIES", 200)
    ids = [write(store, target=str(number)) for number in range(700)]
    kept = store.run(read_audit(1000)).entries
    assert 200 <= len(kept) <= 300  # whole nodes of a stream go
    assert [entry.id for entry in kept] == ids[: -len(kept) - 1 : -1]


def test_a_page_that_finds_nothing_says_where_to_go_on(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LOOKED_AT", 600)
    wanted = write(store, actor="rare")
    for _ in range(1000):
        write(store)
    first = store.run(read_audit(10, actor="rare"))
    assert first.entries == [] and first.cursor
    second = store.run(read_audit(10, first.cursor, actor="rare"))
    assert [entry.id for entry in second.entries] == [wanted] and second.cursor is None


def test_an_action_is_found_whole_or_by_its_kind(store: JobStore) -> None:
    for action in ("key.create", "key.revoke", "keyboard.press"):
        write(store, action)

    def found(action: str) -> list[str]:
        return [entry.action for entry in store.run(read_audit(10, action=action)).entries]

    assert found("key") == ["key.revoke", "key.create"]
    assert found("key.create") == ["key.create"]
    assert found("key.cre") == found("*") == []


def test_what_others_wrote_is_kept_short_and_steers_no_terminal(store: JobStore) -> None:
    write(store, target="\x1b[2J\udce9" + "x" * 10_000)
    (entry,) = store.run(read_audit(10)).entries
    assert entry.target.startswith("\\x1b[2J\\udce9xxx") and len(entry.target) == audit.LONGEST
