"""No command on a hot path may cost more with a longer queue: all that Valkey runs is watched by MONITOR."""

import re
import threading
import uuid

import pytest
import redis

from tasks.job import Outcome, RequestId, Submission
from tasks.state import Status
from tasks.steering import verbs as steering
from tasks.steering.filters import FIRST, START, JobFilter
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.webhooks.verbs import take_deliveries
from tests.valkey import Valkey

QUEUED = 1500
LARGE = 150  # members; what a whole-key command reads must stay below
DEPLOYMENT, KEY = "dep00001", "k"
NEVER = {"KEYS", "SCAN", "LREM", "SORT", "LINSERT", "LPOS", "FLUSHALL"}
WHOLE = {"HGETALL", "HKEYS", "HVALS", "SMEMBERS", "SUNION", "SINTER"}
RANGES = {"LRANGE", "ZRANGE", "ZREVRANGE", "XRANGE"}
BY_SCORE = {"ZRANGEBYSCORE", "ZREVRANGEBYSCORE"}
COUNTS = {"SET": "scard", "HASH": "hlen", "LIST": "llen", "ZSET": "zcard", "STREAM": "xlen"}


class Watch:
    """The commands that a server ran, as lists of words."""

    def __init__(self, port: int) -> None:
        self._client = redis.Redis(port=port)
        self._monitor = self._client.monitor()
        self.commands: list[list[str]] = []

    def __enter__(self) -> "Watch":
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def _follow(self) -> None:
        for said in self._monitor.listen():
            words = re.findall(r'[^\s"]+', said["command"])
            if words[:2] == ["ECHO", "end-of-the-watch"]:
                return
            self.commands.append(words)

    def __exit__(self, *_: object) -> None:
        self._client.echo("end-of-the-watch")
        self._thread.join(10)
        self._monitor.connection.disconnect()
        self._client.close()


def submission(webhook: str = "") -> Submission:
    return Submission(RequestId(uuid.uuid4().hex), DEPLOYMENT, "model001", b"{}", webhook=webhook)


@pytest.fixture
def long_queue(store: JobStore) -> RequestId:
    """A job in the middle of many."""
    jobs = [submission() for _ in range(QUEUED)]
    for start in range(0, QUEUED, 100):
        store.run(verbs.submit(jobs[start : start + 100], KEY, 10**6))
    return jobs[QUEUED // 2].request_id


def hot_path(store: JobStore, waiting: RequestId) -> None:
    """Everything that is run for each job or by the sweeper."""
    (canceled,) = store.run(verbs.submit([submission("https://a.example/x")], KEY, 10**6))
    store.run(verbs.read(waiting, KEY))
    store.run(verbs.cancel(canceled, KEY))
    store.run(verbs.move(waiting, 1, KEY))
    for number in range(3):
        claim = store.run(verbs.claim(DEPLOYMENT, "r:0", f"fence{number:011d}", "r"))
        assert claim is not None
        store.run(verbs.renew([claim.lease]))
        store.run(verbs.progress(claim.lease, 0.5, "half"))
        outcome = Outcome(Status.SUCCEEDED, 1.0, b"{}", "application/json")
        store.run(verbs.finish(claim.lease, outcome))
    store.run(verbs.queue_status(DEPLOYMENT))
    for wanted in (JobFilter(key=KEY), JobFilter(deployments=(DEPLOYMENT,))):
        store.run(steering.find(wanted, START, 20, looked_at=100))
        store.run(steering.count(wanted, START, looked_at=100))
    store.run(steering.upcoming(JobFilter(deployments=(DEPLOYMENT,)), FIRST, 20, looked_at=100))
    store.run(verbs.reindex(KEY, 0, 100))
    for sweep in (
        verbs.rescue(100),
        verbs.expire(100),
        verbs.rewake(0, 100),
        verbs.end_backoffs(100),
        verbs.forget(100),
    ):
        store.run(sweep)
    store.run(take_deliveries(100, 1000, "token"))
    store.run(verbs.wake(DEPLOYMENT))


def count(client: "redis.Redis", key: str) -> int:
    kind = client.type(key).decode().upper()
    return getattr(client, COUNTS[kind])(key) if kind in COUNTS else 0


def too_much(client: "redis.Redis", words: list[str]) -> bool:
    """Whether that command's cost grows with the queue."""
    name = words[0].upper()
    if name in BY_SCORE:
        return "LIMIT" not in [word.upper() for word in words]
    if name in RANGES and words[1:] and count(client, words[1]) > LARGE:
        first, last = words[2:4]
        return not last.isdigit() or int(last) - int(first) >= LARGE
    return name in NEVER or (name in WHOLE and count(client, words[1]) > LARGE)


def test_no_command_costs_more_with_a_longer_queue(
    store: JobStore, valkey: Valkey, long_queue: RequestId
) -> None:
    with Watch(valkey.port) as watch:
        hot_path(store, long_queue)
    names = {words[0].upper() for words in watch.commands}
    assert {"ZADD", "ZPOPMIN", "HGETALL", "ZRANGEBYSCORE"} <= names  # the inside of scripts is seen
    assert not [words[:5] for words in watch.commands if too_much(store.redis, words)]


@pytest.mark.parametrize(
    "command",
    [
        ["ZRANGE", "{kingpost}:expiry", "0", "-1"],
        ["ZRANGEBYSCORE", "{kingpost}:expiry", "-inf", "+inf"],
        ["KEYS", "*"],
        ["HGETALL", "large"],
    ],
)
def test_the_watch_sees_such_a_command(
    store: JobStore, valkey: Valkey, long_queue: RequestId, command: list[str]
) -> None:
    store.redis.hset("large", mapping={str(n): n for n in range(LARGE + 1)})
    with Watch(valkey.port) as watch:
        store.redis.eval(f"redis.call({', '.join(repr(word) for word in command)})", 0)
    assert any(too_much(store.redis, words) for words in watch.commands)
