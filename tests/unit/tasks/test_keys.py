"""API keys and webhook secrets in the store: what a verb changes, and what it leaves as it was."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tasks.access import keys
from tasks.api_keys import RUNNING_LIMITS, Limits, key_id
from tasks.errors import KeyRefused, NotFound
from tasks.store.job_store import JobStore
from tasks.webhooks import secrets
from tasks.webhooks.secrets import OVERLAP_SECONDS

LIMITS = Limits(submits_per_minute=0, max_running=3)
KEYS = {
    "plain": {},
    "with everything": {
        "name": 'Ünïcödé "quoted" \\ {} []',
        "scope": "inference",
        "models": ("a", "b/c"),
        "environments": ("staging",),
        "expires_in_seconds": 1e9,
        "limits": LIMITS,
    },
    "half of a surrogate pair": {"name": "caf\udce9"},
}


@pytest.mark.parametrize("fields", KEYS.values(), ids=KEYS)
def test_a_revoked_key_is_the_same_but_revoked(store: JobStore, fields: dict[str, object]) -> None:
    made = store.run(keys.create(keys.fresh(), **fields))  # type: ignore[arg-type]
    assert store.run(keys.find(made.id)) == made
    for _ in range(2):
        assert store.run(keys.revoke(made.id)) == replace(made, revoked=True)
    assert store.run(keys.find(made.id)) == replace(made, revoked=True)


@pytest.mark.parametrize("fields", KEYS.values(), ids=KEYS)
def test_a_limited_key_is_the_same_but_for_the_named_limits(
    store: JobStore, fields: dict[str, object]
) -> None:
    made = store.run(keys.create(keys.fresh(), **fields))  # type: ignore[arg-type]
    limited = replace(made, limits=replace(made.limits, max_running=2**31, max_unfinished=0))
    changes = {"max_running": 2**31, "max_unfinished": 0}
    assert store.run(keys.limit(made.id, changes)) == limited
    assert store.redis.hget(RUNNING_LIMITS, made.id) == b"2147483648"
    back = replace(limited, limits=replace(limited.limits, max_running=None))
    assert store.run(keys.limit(made.id, {"max_running": None})) == back
    assert store.run(keys.limit(made.id, {})) == back == store.run(keys.find(made.id))
    assert not store.redis.hexists(RUNNING_LIMITS, made.id)
    store.run(keys.revoke(made.id))
    with pytest.raises(KeyRefused, match="is revoked for good"):
        store.run(keys.limit(made.id, {"max_running": 1}))
    with pytest.raises(NotFound, match="no API key with the id nobody"):
        store.run(keys.limit("nobody", {}))
    assert not store.redis.exists(RUNNING_LIMITS)


def test_no_key_takes_the_id_of_another(store: JobStore) -> None:
    first, second = (f"kp_abcdefgh.{letter * 20}" for letter in "xy")
    assert key_id(first) == key_id(second)
    assert store.run(keys.install(first, "first"))
    with pytest.raises(KeyRefused, match="Another API key has the id abcdefgh"):
        store.run(keys.install(second))
    with pytest.raises(KeyRefused):
        store.run(keys.create(second))
    assert [use.key.name for use in store.run(keys.known())] == ["first"]


def test_an_install_undoes_no_revocation(store: JobStore) -> None:
    plain = "an-operators-own-key"
    assert store.run(keys.install(plain)) and store.run(keys.install(plain))
    store.run(keys.revoke(key_id(plain)))
    assert not store.run(keys.install(plain))
    assert [use.key.revoked for use in store.run(keys.known())] == [True]
    with pytest.raises(NotFound, match="no API key with the id nobody"):
        store.run(keys.revoke("nobody"))


def test_the_first_secret_is_made_once_and_later_ones_overlap(store: JobStore) -> None:
    assert store.run(secrets.signing()) == []
    assert store.run(secrets.rotate("whsec_a", first=True))
    assert not store.run(secrets.rotate("whsec_b", first=True))
    for fresh in ("whsec_c", "whsec_d"):
        assert store.run(secrets.rotate(fresh))
    known = store.run(secrets.signing())
    assert [secret.secret for secret in known] == ["whsec_d", "whsec_c", "whsec_a"]
    assert known[0].expires is None
    for newer, older in pairwise(known):
        assert older.expires == pytest.approx(newer.created + OVERLAP_SECONDS, abs=0.01)
    later = store.run(secrets.signing(known[0].created + OVERLAP_SECONDS + 1))
    assert [secret.secret for secret in later] == ["whsec_d"]
