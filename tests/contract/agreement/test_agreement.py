"""Five doors, one truth: whatever a model says, sync, async, stream, events and webhook agree on it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cli.stack.ports import free_port
from tasks.settings import Settings
from tests.conditions import wait_until
from tests.contract.agreement.cases import Case, generated
from tests.contract.agreement.doors import Hooks, disagreements, see, submit
from tests.processes import Process, ready_replicas, variables
from tests.valkey import Valkey

pytestmark = pytest.mark.stack

KEY = "kp_agreement.0123456789abcdef0123456789abcdef"
PARROT = Path(__file__).parent / "models" / "parrot"
OPEN = {"KINGPOST_WEBHOOK_ALLOW_HTTP": "1", "KINGPOST_WEBHOOK_ALLOW_PRIVATE": "1"}
AT_ONCE = 6
BATCH = 25


@dataclass
class Stack:
    """A running stack with one model, and a receiver of its webhooks."""

    client: httpx.Client
    hooks: Hooks


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("agreement")
    (folder / "valkey").mkdir()
    valkey = Valkey(folder / "valkey", fsync="everysec").start()
    settings = Settings(redis_url=valkey.url, state_dir=folder)
    more = OPEN | {"KINGPOST_MAX_ASYNC_BODY_BYTES": "50000000", "KINGPOST_WEBHOOK_PER_HOST": "50"}
    env = variables(settings, KINGPOST_API_KEY=KEY, **more)
    port = free_port()
    parts = (["api", "--port", str(port)], ["maintenance"], ["replica", str(PARROT)])
    processes = [Process(part, env, folder / f"{part[0]}.log").start() for part in parts]
    hooks = Hooks()
    base = f"http://127.0.0.1:{port}"
    try:
        ready_replicas(settings)
        wait_until(lambda: _answers(base), 30, "the API does not answer")
        headers = {"Authorization": f"Api-Key {KEY}"}
        with httpx.Client(base_url=base, headers=headers, timeout=120) as client:
            yield Stack(client, hooks)
    finally:
        for process in processes:
            process.stop()
        hooks.stop()
        valkey.stop()


def _answers(base: str) -> bool:
    try:
        return httpx.get(base + "/health/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def check(stack: Stack, cases: list[Case]) -> None:
    """Sends every case through every door and compares."""

    def batch(start: int) -> list[str]:
        some = cases[start : start + BATCH]
        wrong: list[str] = []
        for case, request_id in zip(some, submit(stack.client, some, stack.hooks.url), strict=True):
            seen = see(stack.client, stack.hooks, case, request_id)
            wrong += [f"{case!r:.300}\n    {line}" for line in disagreements(case, seen)]
        return wrong

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [line for found in pool.map(batch, range(0, len(cases), BATCH)) for line in found]
    assert not wrong, f"{len(wrong)} disagreements in {len(cases)} cases:\n" + "\n".join(wrong[:20])


def test_300_values_through_every_door(stack: Stack) -> None:
    check(stack, generated(150))


@pytest.mark.chaos
def test_5000_values_through_every_door(stack: Stack) -> None:
    check(stack, generated(2500))
