"""Engines behind a start command are promoted, scaled and addressed as models are."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tests.conditions import wait_until
from tests.contract.deployments.engines import engine_package
from tests.contract.deployments.rig import KEY, Rig

pytestmark = pytest.mark.stack

CHAT = "/v1/chat/completions"
SERVES = "served_model_names: [org/tiny-7b, tiny]"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("engines")) as rig:
        rig.node(KINGPOST_NODE_SLOTS="6")
        yield rig


def push(rig: Rig, name: str, version: str, *more: str, **how: str) -> Deployment:
    folder = rig.folder / "packages" / f"{name}-{version}"
    rig.kingpost("push", str(engine_package(folder, name, version, **how)), *more)
    known = rig.store.run(registry.deployments())
    return [deployment for deployment in known if deployment.model_name == name][-1]


@pytest.fixture(scope="module")
def tiny(rig: Rig) -> Deployment:
    deployment = push(rig, "my-tiny", "one", runtime=SERVES)
    rig.until_ready(deployment)
    return deployment


@dataclass
class Load:
    """Clients that call one model all the time: sync, streaming and async."""

    rig: Rig
    name: str
    stop: threading.Event = field(default_factory=threading.Event)
    answers: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    submitted: list[str] = field(default_factory=list[str])

    def __enter__(self) -> "Load":
        steps = (self._chat, self._chat, self._stream, self._submit)
        self.threads = [threading.Thread(target=self._repeat, args=(step,)) for step in steps]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _repeat(self, step: Any) -> None:
        url, headers = f"http://127.0.0.1:{self.rig.port}", {"Authorization": f"Api-Key {KEY}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            while not self.stop.is_set():
                try:
                    step(client)
                except (httpx.HTTPError, AssertionError, KeyError) as error:
                    self.failures.append(repr(error))

    def _chat(self, client: httpx.Client) -> None:
        answer = client.post(CHAT, json={"model": self.name, "seconds": 0.05})
        assert answer.status_code == 200, answer.text
        self.answers[answer.json()["version"]] += 1

    def _stream(self, client: httpx.Client) -> None:
        answer = client.post(CHAT, json={"model": self.name, "stream": True})
        assert answer.status_code == 200 and answer.text.endswith("[DONE]\n\n"), answer.text

    def _submit(self, client: httpx.Client) -> None:
        body = {"model_input": {"seconds": 0.05}}
        answer = client.post(f"/models/{self.name}/production/async_predict", json=body)
        self.submitted.append(answer.json()["request_id"])
        client.get(f"/async_request/{self.submitted[-1]}?wait=20")


def promoted_under_load(rig: Rig, name: str, switches: int) -> Load:
    """Two versions of an engine, and so many switches between them, none before the last has shown."""
    rig.until_ready(push(rig, name, "one"))
    with Load(rig, name) as load:
        for number in range(switches):
            wanted, before = ("two", "one")[number % 2], load.answers.copy()
            if number == 0:
                push(rig, name, "two", "--promote")
            else:
                rig.kingpost("rollback", name)
            wait_until(
                lambda w=wanted, b=before: load.answers[w] > b[w] + 20, 60, "it never switched"
            )
    return load


def check_nothing_failed(rig: Rig, load: Load) -> None:
    assert load.failures == []
    outcomes = Counter(rig.result(request_id)["version"] for request_id in load.submitted)
    attempts = Counter(rig.status(request_id)["attempt"] for request_id in load.submitted)
    print(f"sync {dict(load.answers)}, async {dict(outcomes)}, failed {len(load.failures)}")
    assert set(outcomes) == {"one", "two"}
    assert set(attempts) == {1}


def test_two_promotions_of_an_engine_under_load_fail_nothing(rig: Rig) -> None:
    check_nothing_failed(rig, promoted_under_load(rig, "engine", 2))


@pytest.mark.slow
def test_five_promotions_of_an_engine_under_load_fail_nothing(rig: Rig) -> None:
    check_nothing_failed(rig, promoted_under_load(rig, "engine5", 5))


def test_two_replicas_of_an_engine_and_another_engine_run_on_one_machine(
    rig: Rig, tiny: Deployment
) -> None:
    rig.autoscale(tiny, min_replica=2, max_replica=2)
    rig.until_ready(tiny, 2)
    other = push(rig, "other", "one")
    rig.until_ready(other)
    assert rig.predict("other", {"model": "x"})["version"] == "one"
    rig.autoscale(tiny, min_replica=1, max_replica=1)


def test_an_engine_with_a_port_in_its_command_has_one_replica_and_its_successor_says_why(
    rig: Rig,
) -> None:
    port = str(free_port())
    first = push(rig, "fixed", "one", port=port)
    rig.autoscale(first, min_replica=2, max_replica=2)
    rig.until_ready(first)
    assert "docker_server.start_command names its port itself" in " ".join(first.warnings)
    second = push(rig, "fixed", "two", "--promote", port=port)
    wait_until(lambda: "is taken by another replica" in failure(rig, second), 60)
    assert "Write {port} or $PORT there" in failure(rig, second)
    assert (
        len(rig.replicas_of(first.id)) == 1
    )  # a second one could only fail, and take the first along
    assert rig.predict("fixed", {})["version"] == "one"
    rig.kingpost("deactivate", second.id)
    rig.kingpost("deactivate", first.id)


def failure(rig: Rig, deployment: Deployment) -> str:
    return rig.store.run(registry.deployment(deployment.id)).failure


@pytest.mark.slow
def test_an_engine_that_is_not_live_for_its_threshold_is_replaced(rig: Rig) -> None:
    checks = "health_checks: {restart_threshold_seconds: 10}"
    deployment = push(rig, "frail", "one", runtime=checks)
    rig.until_ready(deployment)
    (replica,) = rig.replicas(deployment)
    for engine in rig.folder.glob("**/engine.py"):
        if "frail" in engine.with_name("config.yaml").read_text():
            engine.with_name("ill").touch()
    wait_until(lambda: any(r.host_ends for r in rig.replicas_of(deployment.id)), 60)
    assert rig.replicas_of(deployment.id)[0].id == replica.id
    rig.kingpost("deactivate", deployment.id)


@pytest.mark.parametrize(
    ("model", "heard"),
    [
        ("my-tiny", "org/tiny-7b"),
        ("{id}", "org/tiny-7b"),
        ("org/tiny-7b", "org/tiny-7b"),
        ("tiny", "tiny"),
        ("my-tiny:sql", "sql"),
        ("tiny:sql-v2", "sql-v2"),
    ],
)
def test_an_engine_hears_the_name_that_it_serves(
    rig: Rig, tiny: Deployment, model: str, heard: str
) -> None:
    name = model.replace("{id}", tiny.model_id)
    body = f'{{"a": 1.0, "model" : "{name}", "messages": [{{"model": "x"}}]}}'
    answer = rig.http.post(CHAT, content=body)
    assert (answer.status_code, answer.json()["model"]) == (200, heard)


@pytest.mark.parametrize(
    ("model", "heard"),
    [("my-tiny", "org/tiny-7b"), ("{id}", "org/tiny-7b"), ("tiny", "tiny"), ("tiny:sql", "sql"), ("my-tiny:sql", "sql"),
     ("other", "other")],
)  # fmt: skip
def test_an_engine_hears_its_name_at_its_own_address(
    rig: Rig, tiny: Deployment, model: str, heard: str
) -> None:
    for target in ("production", f"deployment/{tiny.id}"):
        body = {"model": model.replace("{id}", tiny.model_id), "messages": []}
        answer = rig.http.post(f"/models/my-tiny/{target}/sync{CHAT}", json=body)
        assert (answer.status_code, answer.json()["model"]) == (200, heard)


def test_what_no_model_serves_is_not_found_and_all_names_are_listed(
    rig: Rig, tiny: Deployment
) -> None:
    answer = rig.http.post(CHAT, json={"model": "org/other:sql"})
    assert answer.status_code == 404 and "org/other:sql" in answer.text
    listed = [model["id"] for model in rig.http.get("/v1/models").json()["data"]]
    assert {"my-tiny", "org/tiny-7b", "tiny"} <= set(listed)
    for path in ("org/tiny-7b", "org%2Ftiny-7b"):
        assert rig.http.get(f"/v1/models/{path}").json()["name"] == "my-tiny"


def test_a_name_that_two_models_serve_is_refused(rig: Rig, tiny: Deployment) -> None:
    twin = push(rig, "twin", "one", runtime="served_model_names: [tiny]")
    wait_until(lambda: _refused(rig), 10)
    listed = [model["id"] for model in rig.http.get("/v1/models").json()["data"]]
    assert "tiny" not in listed and "org/tiny-7b" in listed
    assert rig.http.delete(f"/v1/models/{twin.model_id}").status_code == 200


def _refused(rig: Rig) -> bool:
    answer = rig.http.post(CHAT, json={"model": "tiny"})
    return answer.status_code == 404 and "Several models serve the name" in answer.text
