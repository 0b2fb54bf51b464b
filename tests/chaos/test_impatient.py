"""A client that retries once, while any part of `kingpost up` but the supervisor is killed all the time."""

import asyncio
import contextlib
import os
import random
import signal
import urllib.error
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from tasks.process.loops import pause
from tests.conditions import wait_until
from tests.contract.test_up import Up
from tests.processes import descendants, running_on

SECONDS, SUBMITTED, ENOUGH = 40.0, 400, 380
PARTS = ("api", "maintenance", "node", "flower", "replica")
GAP = (0.4, 1.6)  # s between kills
PATIENCE = aiohttp.ClientTimeout(total=10)  # of one try
BEFORE_RETRY = 1.0  # s, when the answer does not say how long


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    up = Up(tmp_path)
    up.start().ready()
    yield up
    assert up.stop() == 0


async def pass_by(seconds: float) -> None:
    await pause(asyncio.Event(), max(0.0, seconds))


async def submit(session: aiohttp.ClientSession, url: str, n: int) -> tuple[str, str | None]:
    """(why not or '', request id): one try."""
    headers = {"Idempotency-Key": f"impatient-{n}"}
    try:
        async with session.post(url, json={"model_input": n}, headers=headers) as reply:
            said = await reply.json(content_type=None)
            if reply.status == 201:
                return "", str(said["request_id"])
            await pass_by(float(reply.headers.get("Retry-After", BEFORE_RETRY)))
            return str(reply.status), None
    except (aiohttp.ClientError, TimeoutError) as error:
        await pass_by(BEFORE_RETRY)
        return type(error).__name__, None


def parts(up: Up) -> dict[str, list[int]]:
    """The processes of the stack, by part; a process of no other part is of the model host."""
    assert up.process
    found: dict[str, list[int]] = {}
    for pid in descendants(up.process.pid):
        with contextlib.suppress(OSError):  # gone meanwhile
            said = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            words = said.split("\0")
            name = "valkey" if "valkey-server" in said else "host"
            found.setdefault(next((part for part in PARTS if part in words), name), []).append(pid)
    return found


async def kill_all_the_time(up: Up, rng: random.Random, ends: float) -> Counter[str]:
    """SIGKILLs one process after the other, each part as often as every other."""
    killed: Counter[str] = Counter()
    while monotonic() < ends:
        await pass_by(rng.uniform(*GAP))
        living = parts(up)
        least = min(killed[name] for name in living)
        name = rng.choice(sorted(name for name in living if killed[name] == least))
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(living[name]), signal.SIGKILL)
            killed[name] += 1
    return killed


async def run(up: Up, rng: random.Random) -> tuple[list[str], Counter[str], Counter[str]]:
    """(ids that were acknowledged, why others were not, what was killed)."""
    url = up.up_json()["api"] + "/models/echo/production/async_predict"
    key = (up.state / "api_key").read_text().strip()
    refused: Counter[str] = Counter()
    began = monotonic()
    killer = asyncio.create_task(kill_all_the_time(up, rng, began + SECONDS))

    async def submit_once(session: aiohttp.ClientSession, n: int) -> str | None:
        await pass_by(began + n * SECONDS / SUBMITTED - monotonic())
        for _ in range(2):
            why, request_id = await submit(session, url, n)
            if request_id:
                return request_id
            refused[why] += 1
        return None

    headers = {"Authorization": f"Api-Key {key}"}
    unlimited = aiohttp.TCPConnector(limit=0)  # no queue of the client's own
    async with aiohttp.ClientSession(
        connector=unlimited, headers=headers, timeout=PATIENCE
    ) as session:
        ids = await asyncio.gather(*(submit_once(session, n) for n in range(SUBMITTED)))
    return [request_id for request_id in ids if request_id], refused, await killer


def succeeded(up: Up, path: str) -> bool:
    """Whether it did; while the store comes back from its last kill nobody can say."""
    try:
        return up.call("GET", path)["status"] == "SUCCEEDED"
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return False


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_retries_once_is_acknowledged_while_every_part_is_killed(up: Up, seed: int) -> None:
    ids, refused, killed = asyncio.run(run(up, random.Random(seed)))
    print(f"{len(ids)} of {SUBMITTED} acknowledged; failed tries: {dict(refused)}; {dict(killed)}")
    assert len(ids) >= ENOUGH
    assert set(killed) == {*PARTS, "valkey", "host"}
    for path in [f"/async_request/{request_id}" for request_id in ids]:
        wait_until(lambda path=path: succeeded(up, path), 60, path)
    up.stop()
    wait_until(lambda: not running_on(up.state), 60, "something outlives the stack")
