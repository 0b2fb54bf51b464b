"""Promotions and rollbacks under steady load: nobody notices but by the version that answers."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.conditions import lasts, wait_until
from tests.contract.deployments.rig import KEY, Rig

NAMES = ("north", "south", "west")
SECONDS = 60.0
SWITCHES = 5
EVERY = 0.1  # s, between calls of one client


@dataclass
class Load:
    """One client for each model and kind; every answer is noted."""

    rig: Rig
    stop: threading.Event = field(default_factory=threading.Event)
    answers: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    submitted: list[str] = field(default_factory=list[str])
    threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def start(self) -> None:
        for name in NAMES:
            for step in (self._predict, self._submit):
                thread = threading.Thread(target=self._repeat, args=(step, name))
                thread.start()
                self.threads.append(thread)

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _repeat(self, step: object, name: str) -> None:
        url, headers = f"http://127.0.0.1:{self.rig.port}", {"Authorization": f"Api-Key {KEY}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            while not self.stop.is_set():
                try:
                    step(client, name)  # type: ignore[operator]
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                self.stop.wait(EVERY)

    def _predict(self, client: httpx.Client, name: str) -> None:
        answer = client.post(f"/models/{name}/production/predict", json={"delay": 0.05})
        if answer.status_code != 200:
            self.failures.append(answer.text)
        else:
            self.answers[answer.json()] += 1

    def _submit(self, client: httpx.Client, name: str) -> None:
        body = {"model_input": {"delay": 0.05}}
        answer = client.post(f"/models/{name}/production/async_predict", json=body)
        if answer.status_code != 201:
            self.failures.append(answer.text)
        else:
            self.submitted.append(answer.json()["request_id"])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.node(KINGPOST_NODE_SLOTS="6")
        yield rig


@pytest.mark.chaos
def test_five_promotions_and_rollbacks_under_load(rig: Rig) -> None:
    first = {name: rig.push(name, "one") for name in NAMES}
    for deployment in first.values():
        rig.until_ready(deployment)
    load, began = Load(rig), time.monotonic()
    load.start()
    for number in range(SWITCHES):
        wanted = ("two", "one")[number % 2]
        if number == 0:
            rig.push(NAMES[0], "two", "--promote")
        else:
            rig.kingpost("rollback", NAMES[0])
        wait_until(lambda wanted=wanted: rig.predict(NAMES[0]) == wanted, 40, "it never switched")
        lasts(began + SECONDS * (number + 1) / SWITCHES - time.monotonic())
    load.end()
    assert load.failures == []
    outcomes = Counter(str(rig.result(request_id)) for request_id in load.submitted)
    print(f"sync {dict(load.answers)}, async {dict(outcomes)}, failed {len(load.failures)}")
    assert set(load.answers) == set(outcomes) == {"one", "two"}
    attempts = Counter(rig.status(request_id)["attempt"] for request_id in load.submitted)
    assert set(attempts) == {1}
