"""Logins of the console in the store: how long they last, and how many an API key may have."""

from tasks.access import sessions
from tasks.store.job_store import JobStore

LIVES = 3600_000  # ms


def test_a_login_and_all_that_is_known_of_it_end_by_themselves(store: JobStore) -> None:
    token = sessions.fresh()
    store.run(sessions.open_session(token, "alice", LIVES))
    found = store.run(sessions.session(token))
    assert found and found.key_id == "alice"
    names = [key for key in store.redis.scan_iter() if b"session" in key]
    assert len(names) == 2
    assert all(0 < store.redis.pttl(name) <= LIVES for name in names)  # type: ignore[operator]
    assert store.run(sessions.session(sessions.fresh())) is None


def test_the_login_before_the_last_fifty_ends(store: JobStore) -> None:
    tokens = [sessions.fresh() for _ in range(sessions.MOST_OF_A_KEY + 1)]
    other = sessions.fresh()
    store.run(sessions.open_session(other, "bob", LIVES))
    for token in tokens:
        store.run(sessions.open_session(token, "alice", LIVES))
    open_now = [token for token in tokens if store.run(sessions.session(token))]
    assert len(open_now) == sessions.MOST_OF_A_KEY and open_now[-1] == tokens[-1]
    assert store.run(sessions.close_sessions("alice")) == sessions.MOST_OF_A_KEY
    assert not any(store.run(sessions.session(token)) for token in tokens)
    assert store.run(sessions.session(other))
