"""A store that loses its data: the note beside it brings keys and models back, and says what is lost."""

import json
import stat
import uuid
from pathlib import Path

import pytest
import redis

from cli.stack.registering import install_key
from cli.stack.store_watch import StoreWatch
from deployments.registry import store_copy
from deployments.registry import verbs as registry
from tasks.api_keys import Limits, key_id
from tasks.errors import NotFound
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tasks.webhooks.secrets import rotate
from tasks.webhooks.signatures import new_secret
from tests.api_keys import ApiKeys

EPOCH = keys.plain("epoch")


@pytest.fixture
def watch(settings: Settings) -> StoreWatch:
    return StoreWatch(settings, "embedded")


@pytest.fixture
def client(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(settings.redis_url)


def submit(store: JobStore, count: int) -> None:
    jobs = [
        Submission(RequestId(uuid.uuid4().hex), "deployment", "model", b"{}", 0)
        for _ in range(count)
    ]
    store.run(verbs.submit(jobs, "alice", 100))


def filled(settings: Settings) -> dict[str, str]:
    """Keys, a webhook secret, models of both kinds and an environment; the keys in plain text by name."""
    api_keys, store = ApiKeys(settings), JobStore(settings)
    made = {
        "good": api_keys.create("good", limits=Limits(max_running=2)),
        "bad": api_keys.create("bad"),
    }
    api_keys.revoke(key_id(made["bad"]))
    store.run(rotate(new_secret()))
    store.run(registry.register("folder", "/models/folder", "hash", 1))
    store.run(registry.push("pushed", "hash1", 1))
    second = store.run(registry.push("pushed", "hash2", 1))
    store.run(registry.promote(second))
    chain = store.run(registry.register("chain", "/chain", "hash", 1, "chain"))
    store.run(registry.alias("Entry", chain.model_id))
    store.run(registry.link_chainlets(chain.id, {"Adder": second.id}))
    return made


def test_an_empty_store_gets_back_what_can_be_written_again(
    settings: Settings, store: JobStore, watch: StoreWatch, client: redis.Redis
) -> None:
    filled(settings)
    submit(store, 3)
    assert watch.look() == ""
    before, epoch = store_copy.read(client), client.get(EPOCH)
    submit(store, 2)
    assert watch.look() == ""
    client.flushall()
    assert watch.look() == (
        "The store came back empty. Requests lost: 5, of which 5 had not finished. "
        "Restored: API keys 2, deployments 4."
    )
    assert (store_copy.read(client), client.get(EPOCH)) == (before, epoch)
    assert watch.look() == ""
    chain = store.run(registry.model("Entry"))
    deployment = chain.environments["production"].deployment_id
    assert list(store.run(registry.chainlets_of(deployment))) == ["Adder"]


def test_a_note_outlives_its_process_and_an_older_copy_is_noticed(
    settings: Settings, store: JobStore, watch: StoreWatch, client: redis.Redis
) -> None:
    submit(store, 1)
    older = {key: client.dump(key) for key in client.scan_iter()}
    filled(settings)
    submit(store, 3)
    watch.look()
    now = store_copy.read(client)
    client.flushall()
    for key, value in older.items():
        client.restore(key, 0, value)
    said = StoreWatch(settings, "embedded").look()
    assert said == (
        "The store came back as an older copy of itself. Requests lost: 3, of which 3 had not finished. "
        "Restored: API keys 2, deployments 4."
    )
    assert store_copy.read(client) == now


def test_a_revoked_key_stays_revoked_though_the_store_forgot_it(
    settings: Settings, watch: StoreWatch, client: redis.Redis
) -> None:
    made = filled(settings)
    watch.look()
    client.flushall()
    assert ApiKeys(settings).install(made["bad"])  # an API that knows no better
    assert watch.look()
    assert not ApiKeys(settings).install(made["bad"])
    assert {key.name: key.revoked for key in ApiKeys(settings).list()} == {
        "good": False,
        "bad": True,
    }


def test_a_note_of_another_store_says_nothing(
    settings: Settings, watch: StoreWatch, client: redis.Redis
) -> None:
    filled(settings)
    watch.look()
    client.flushall()
    assert StoreWatch(settings, "redis://elsewhere:6379/0").look() == ""
    with pytest.raises(NotFound):
        JobStore(settings).run(registry.model("folder"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"store": "embedded"}'])
def test_a_torn_note_is_none(settings: Settings, client: redis.Redis, text: str) -> None:
    note = settings.state_dir / "store.json"
    note.parent.mkdir(parents=True)
    note.write_text(text)
    assert StoreWatch(settings, "embedded").look() == ""
    assert json.loads(note.read_text())["store"] == "embedded"
    assert client.get(EPOCH)


def test_nobody_else_reads_the_note(settings: Settings, watch: StoreWatch) -> None:
    filled(settings)
    watch.look()
    note: Path = settings.state_dir / "store.json"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600


def test_the_key_of_the_state_folder_is_valid_again_unless_it_was_revoked(
    settings: Settings, client: redis.Redis
) -> None:
    plain = install_key(settings)
    assert plain
    client.flushall()
    assert install_key(settings) is None  # clients have it
    assert [key.id for key in ApiKeys(settings).list()] == [key_id(plain)]
    ApiKeys(settings).revoke(key_id(plain))
    assert install_key(settings) not in (None, plain)
