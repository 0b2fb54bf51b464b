"""A real Prometheus scrapes a running stack: every query of every dashboard has data after some work, and no alert fires."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cli.stack.ports import free_port
from deployments.registry.nodes import Node, NodeDevice, report_node
from tasks.store.job_store import JobStore
from tasks.webhooks.verbs import outbox_status
from tests.conditions import wait_until
from tests.contract.api.conftest import ROOT, Live, submit

OBSERVE = ROOT / "deploy" / "observe"
QUERIES = sorted(
    (path.stem, target["expr"])
    for path in (OBSERVE / "dashboards").glob("*.json")
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
)
GPU = NodeDevice("0", 80_000_000_000, 0.5, "H100", 40_000_000_000, 0.7, 61, 0)


@pytest.fixture(scope="module")
def prometheus(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Prometheus with the shipped configuration, but for address, key and interval."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config: dict[str, Any] = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())
    (folder / "key").write_text(live.new_key(scope="metrics"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(OBSERVE / "alerts.yml")]
    (scrape,) = config["scrape_configs"]
    scrape["authorization"]["credentials_file"] = str(folder / "key")
    scrape["static_configs"] = [{"targets": [live.url.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    arguments = [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            wait_until(
                lambda: _is_up(client), 30, f"no scrape: {Path(log.name).read_text()[-500:]}"
            )
            yield client
    finally:
        process.terminate()
        process.wait()


def _is_up(client: httpx.Client) -> bool:
    """Whether it serves and has scraped; while it starts, it answers 503 with a plain text."""
    try:
        ready = client.get("/-/ready").is_success
    except httpx.HTTPError:
        return False
    return ready and bool(ask(client, "up == 1"))


def ask(client: httpx.Client, query: str) -> list[Any]:
    """The rows of a query."""
    answer = client.get("/api/v1/query", params={"query": query})
    said = answer.json()
    assert said["status"] == "success", (query, said)
    return said["data"]["result"]


def rules(client: httpx.Client) -> list[Any]:
    """All rules with their states."""
    return [
        rule
        for group in client.get("/api/v1/rules").json()["data"]["groups"]
        for rule in group["rules"]
    ]


@pytest.fixture(scope="module")
def faults_before(live: Live, prometheus: httpx.Client) -> set[str]:
    """The alerts for what other tests have done to the same stack, such as webhooks that were given up."""

    def evaluated() -> bool:
        found = rules(prometheus)
        return bool(found) and all(rule["health"] != "unknown" for rule in found)

    wait_until(evaluated, 30, "the rules are not evaluated")
    known = {rule["name"] for rule in rules(prometheus) if rule["state"] != "inactive"}
    left = JobStore(live.settings).run(outbox_status()).pending  # may be given up meanwhile
    return known | ({"KingpostWebhooksGivenUp"} if left else set())


@pytest.fixture(scope="module")
def worked(live: Live, prometheus: httpx.Client, faults_before: set[str]) -> httpx.Client:
    """Prometheus after requests of each kind: good ones, one that fails twice, and one whose webhook is not received."""
    JobStore(live.settings).run(report_node(Node("n", "gpu-1", 1, 0, 4, 2, (GPU,), (), clock=1)))
    retry = {"max_attempts": 2, "initial_delay_ms": 0, "max_delay_ms": 0}
    with live.client() as http:
        http.base_url = httpx.URL(live.url + "/models/echo")
        submit(http, {"delay": 4}, webhook_endpoint="https://receiver.invalid/hook")
        submit(http, {"fail": "no"}, inference_retry_config=retry)
        http.post("/production/predict", json=1)
        slow = [submit(http, {"delay": 1}) for _ in range(30)]
        for request_id in slow:
            http.get(f"{live.url}/async_request/{request_id}", params={"wait": 25})
    return prometheus


@pytest.mark.parametrize(("dashboard", "query"), QUERIES)
def test_a_query_of_a_dashboard_has_data(worked: httpx.Client, dashboard: str, query: str) -> None:
    asked = query.replace("$__rate_interval", "1m").replace("$model", ".*")
    if "oldest_request_age" in query:
        asked = (
            asked.replace("}", "}[2m:1s]", 1).replace("(kingpost", "(max_over_time(kingpost") + ")"
        )
    wait_until(lambda: ask(worked, asked), 20, f"{dashboard}: no data for {asked}")


def test_no_alert_fires_without_a_fault_and_all_rules_are_read(
    worked: httpx.Client, faults_before: set[str]
) -> None:
    found = rules(worked)
    assert len(found) == len(
        yaml.safe_load((OBSERVE / "alerts.yml").read_text())["groups"][0]["rules"]
    )
    assert {rule["health"] for rule in found} <= {"ok", "unknown"}
    assert {rule["name"] for rule in found if rule["state"] == "firing"} <= faults_before
