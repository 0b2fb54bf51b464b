"""What was given up goes again, all at once: webhooks to a real receiver, and requests that killed their model host."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cli.stack.ports import free_port
from tasks.settings import Settings
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.client.conftest import Laptop, Shell
from tests.contract.client.test_webhook_commands import Receiver, receiver
from tests.processes import Process, ready_replicas, variables
from tests.valkey import Valkey

pytestmark = pytest.mark.stack

FRAGILE = """
import os
from pathlib import Path

class Model:
    def predict(self, model_input):
        if model_input["fragile"] and not Path(__file__).with_name("mended").exists():
            os._exit(1)
        return model_input["number"]
"""
WAYS = ("http", "command")


@dataclass
class Server:
    """A server, its machine, a laptop that is logged in with a key of the scope `admin`, and a receiver."""

    http: httpx.Client
    laptop: Shell
    machine: Shell
    receiver: Receiver
    model: Path

    def submit(self, count: int, fragile: bool = False) -> set[str]:
        """Submits so many requests with a webhook; their ids."""
        target = "/models/fragile/production/async_predict_batch"
        hook = self.receiver.url
        bodies = [
            {"model_input": {"number": n, "fragile": fragile}, "webhook_endpoint": hook}
            for n in range(count)
        ]
        answer = self.http.post(target, json=bodies)
        assert answer.status_code == 201, answer.text
        return set(answer.json()["request_ids"])

    def refused(self, count: int) -> set[str]:
        """Submits so many requests, whose webhooks the receiver refuses for good; their ids."""
        self.receiver.answer = 410
        ids = self.submit(count)
        assert set(self.received(count)) == ids
        wait_until(lambda: self.given_up() == ids, 20, "not all were given up")
        return ids

    def given_up(self) -> set[str]:
        said = self.http.get("/v1/webhooks").json()
        assert said["given_up"] == len(said["latest"])
        return {hook["request_id"] for hook in said["latest"]}

    def received(self, count: int) -> dict[str, str]:
        """The next so many webhooks: the status of each request."""
        got = [json.loads(self.receiver.got.get(timeout=60)[1]) for _ in range(count)]
        return {said["request_id"]: "FAILED" if said["errors"] else "SUCCEEDED" for said in got}

    def status(self, request_id: str) -> str:
        return self.http.get(f"/async_request/{request_id}").json()["status"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("redrive")
    for name in ("valkey", "model", "model/model", "laptop", "machine"):
        (folder / name).mkdir()
    config = {"model_name": "fragile", "runtime": {"predict_concurrency": 1}}
    (folder / "model" / "config.yaml").write_text(json.dumps(config))
    (folder / "model" / "model" / "model.py").write_text(FRAGILE)
    valkey = Valkey(folder / "valkey", fsync="everysec").start()
    settings = Settings(redis_url=valkey.url, state_dir=folder)
    env = variables(settings, KINGPOST_WEBHOOK_ALLOW_HTTP="true")
    env["KINGPOST_WEBHOOK_ALLOW_PRIVATE"] = "true"
    url = f"http://127.0.0.1:{(port := free_port())}"
    parts = (["api", "--port", str(port)], ["maintenance"], ["replica", str(folder / "model")])
    processes = [
        Process(part, env, folder / f"{part[0]}.log", cwd=folder).start() for part in parts
    ]
    key = ApiKeys(settings).create(scope="admin")
    laptop = Laptop(folder / "laptop", {"KINGPOST_URL": url, "KINGPOST_API_KEY": key})
    machine = Laptop(folder / "machine", {"KINGPOST_REDIS_URL": valkey.url})
    headers = {"Authorization": f"Api-Key {key}"}
    try:
        ready_replicas(settings)
        wait_until(lambda: _answers(url), 30, "the API does not answer")
        with (
            receiver() as target,
            httpx.Client(base_url=url, headers=headers, timeout=60) as http,
        ):
            yield Server(http, laptop, machine, target, folder / "model" / "model")
    finally:
        for process in processes:
            process.stop()
        valkey.stop()


def test_webhooks_that_are_named_arrive_when_the_receiver_is_mended(server: Server) -> None:
    ids = server.refused(12)
    server.receiver.answer = 200
    answer = server.http.post("/v1/webhooks/redrive", json={"request_ids": sorted(ids)})
    assert answer.json() == {"results": dict.fromkeys(ids, "queued")}
    assert server.received(12) == dict.fromkeys(ids, "SUCCEEDED")
    wait_until(lambda: {server.status(each) for each in ids} == {"SUCCEEDED"})
    assert server.given_up() == set() and server.receiver.got.empty()
    entries = server.http.get("/v1/audit", params={"action": "webhook.redeliver"}).json()["entries"]
    assert entries[0]["target"].startswith("12 of 12 requests: ")


@pytest.mark.parametrize("way", ["of the laptop", "on the machine"])
def test_all_webhooks_that_were_given_up_are_one_operation(server: Server, way: str) -> None:
    """Those that the receiver refuses once more are left for the next one."""
    ids, shell = server.refused(12), server.laptop if way == "of the laptop" else server.machine
    counted = json.loads(shell.type("kingpost webhooks resend --all --dry-run --json"))
    assert (counted["matched"], counted["done"], counted["dry_run"]) == (12, 0, True)
    said = "12 webhooks given up; nothing was sent.\n"
    assert shell.type("kingpost webhooks resend --all --dry-run") == said
    assert server.given_up() == ids
    assert shell.type("kingpost webhooks resend --all") == "12 webhooks sent again.\n"
    assert set(server.received(12)) == ids
    wait_until(lambda: server.given_up() == ids, 20, "not all were given up once more")
    server.receiver.answer = 200
    said = json.loads(shell.type("kingpost webhooks resend --all --json --operation again"))
    assert (said["operation"], said["finished"]) == ("again", True)
    assert (said["matched"], said["done"], said["failed"]) == (12, 12, 0)
    assert server.received(12) == dict.fromkeys(ids, "SUCCEEDED")
    wait_until(lambda: {server.status(each) for each in ids} == {"SUCCEEDED"})
    assert server.given_up() == set() and server.receiver.got.empty()
    assert shell.type("kingpost webhooks resend --all") == "No webhook was given up.\n"
    query = {"action": "webhook.redeliver_all", "limit": 2}
    latest, first = server.http.get("/v1/audit", params=query).json()["entries"]
    assert latest["target"] == "operation=again: 12 sent again"
    assert first["target"].endswith(": 12 sent again") and first["result"] == "done"
    assert (latest["actor"] == "command line") == (way == "on the machine")
    assert "for --all" in shell.refused(f"kingpost webhooks resend {min(ids)} --dry-run")


@pytest.mark.parametrize("way", WAYS)
def test_all_requests_that_killed_their_host_run_again_when_the_model_is_mended(
    server: Server, way: str
) -> None:
    server.receiver.answer = 200
    (server.model / "mended").unlink(missing_ok=True)
    ids = server.submit(2, fragile=True)
    assert server.received(2) == dict.fromkeys(ids, "FAILED")
    (server.model / "mended").touch()
    poisoned = {"error_code": "poison", "status": "FAILED"}
    before = server.http.get("/v1/jobs", params=poisoned).json()["jobs"]
    assert ids <= {job["request_id"] for job in before}
    if way == "http":
        wanted = {**poisoned, "created_after": min(_created(before, each) for each in ids)}
        answer = server.http.post("/v1/jobs/retry", json=wanted).json()
    else:
        line = "kingpost jobs retry --error-code poison --status FAILED --json --yes"
        since = min(_created(before, each) for each in ids)
        answer = json.loads(server.laptop.type(f"{line} --since {since}"))
    assert (answer["matched"], answer["done"], answer["failed"]) == (2, 2, 0)
    again = server.received(2)
    assert set(again.values()) == {"SUCCEEDED"}
    olds = {server.http.get(f"/async_request/{each}").json()["retry_of"] for each in again}
    assert olds == ids


def _created(jobs: list[dict[str, str]], request_id: str) -> str:
    (found,) = [job["created_at"] for job in jobs if job["request_id"] == request_id]
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=2).is_success
    except httpx.HTTPError:
        return False
