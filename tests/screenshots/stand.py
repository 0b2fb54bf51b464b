"""A stack for pictures: `kingpost up` with four models, requests in every state, and an hour that has passed."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import redis

from cli.stack.ports import free_port
from kingpost import Client, JobFailed
from kingpost.packages import DeploymentStep
from tasks.settings import Settings
from tasks.store import keys
from tests import nvml
from tests.api_keys import ApiKeys
from tests.conditions import wait_until

MODELS = Path(__file__).parent / "models"
ONCE = {"retry": {"max_attempts": 1}}
LIKE = {"translator": (9, 6.0), "painter": (3, 14.0), "classifier": (40, 0.08)}  # a minute, seconds


@dataclass(frozen=True)
class Stand:
    """The stack, and what the pictures are of."""

    url: str
    key: str
    painted: str
    classified: str
    running: str
    failed: str


@contextlib.contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    """Runs it in that folder until the block ends."""
    port, log = free_port(), folder / "up.log"
    env = os.environ | {
        "KINGPOST_NODE_GPUS": "0=24Gi,1=24Gi",
        "LD_LIBRARY_PATH": str(nvml.build(folder)),
        "KINGPOST_WEBHOOK_ALLOW_PRIVATE": "1",
        "KINGPOST_WEBHOOK_ALLOW_HTTP": "1",
        "KINGPOST_LOAD_FAILURES": "1",
        "KINGPOST_DRAIN_SECONDS": "1",
    }
    command = [sys.executable, "-m", "kingpost", "up", "--no-flower"]
    with log.open("wb") as file:
        up = subprocess.Popen(
            [*command, "--port", str(port)], cwd=folder, env=env, stdout=file, stderr=file
        )
    try:
        wait_until(lambda: _ready(up, log), 120, "`kingpost up` is not ready")
        url = f"http://127.0.0.1:{port}"
        store = json.loads((folder / ".kingpost" / "up.json").read_text())["redis_url"]
        settings = Settings(redis_url=store, state_dir=folder / ".kingpost")
        key = ApiKeys(settings).create(scope="admin", name="operator")
        with redis.Redis.from_url(store) as known, Client(url, key) as client:
            yield _with_work(client, known, folder, url, key)
    finally:
        up.terminate()
        up.wait(90)


def _ready(up: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert up.poll() is None, log.read_text()
    return "Kingpost is ready" in log.read_text()


def _with_work(client: Client, store: "redis.Redis", folder: Path, url: str, key: str) -> Stand:
    packages = sorted(folder for folder in MODELS.iterdir() if (folder / "config.yaml").exists())
    for package in (_older(MODELS / "classifier", folder), *packages):
        *_, last = client.push(package)
        assert isinstance(last, DeploymentStep), last
        assert (last.state == "failed") == (package.name == "summariser"), last
    client.keys.create("inference", name="web shop", limits={"submits_per_minute": 600})
    _an_hour_ago(store, {row.model: row.deployment_id for row in client.overview()})
    painted = client.submit("painter", {"prompt": "sunrise over the sea", "steps": 8})
    painted.result(timeout=60)
    for text in ("What a day!", "The report is due on Monday.", "We won! We won!"):
        classified = client.submit("classifier", {"text": text})
        classified.result(timeout=60)
    with _refusing() as hook:
        failed = client.submit("classifier", {"text": ""}, webhook=hook, **ONCE)
        with contextlib.suppress(JobFailed):
            failed.result(timeout=60)
        wait_until(lambda: client.webhooks.list().given_up == 1, 60, "no webhook was given up")
    classified = client.submit(
        "classifier", {"text": "Hello!"}, webhook="https://example.invalid/hook"
    )
    classified.result(timeout=60)
    running = client.submit("translator", {"text": "A novel.", "to": "de", "pages": 120})
    wait_until(lambda: running.status().status == "IN_PROGRESS", 60, "nothing runs")
    for number in range(9):
        page = {"text": f"Letter {number + 1}.", "to": "de"}
        client.submit("translator", page, priority=number % 3)
    client.submit("summariser", {"text": "A long story."})
    return Stand(url, key, painted.id, classified.id, running.id, failed.id)


def _older(package: Path, folder: Path) -> Path:
    """The version before this one, which could do less at once."""
    older = shutil.copytree(package, folder / "older" / package.name)
    config = older / "config.yaml"
    config.write_text(
        config.read_text().replace("predict_concurrency: 4", "predict_concurrency: 2")
    )
    return older


def _an_hour_ago(store: "redis.Redis", told: dict[str, str]) -> None:
    """Counts as the scripts leave them behind, for a picture that would else take an hour."""
    now = int(store.time()[0]) // 60  # type: ignore[index]
    for at in range(59, 0, -1):
        wave = 1 + 0.6 * math.sin(at / 7) + 0.3 * math.sin(at / 2.3)
        for name, (often, seconds) in LIKE.items():
            count = round(often * wave)
            if name not in told or not count:
                continue
            step = int(2 * math.log2(seconds * 1000 * wave))
            counts = {f"w{step}": count, f"w{step - 2}": count // 2, "SUCCEEDED": count}
            counts |= {"FAILED": count // 12} if 20 < at < 30 else {}
            named = {f"{told[name]}:{what}": count for what, count in counts.items() if count}
            store.hset(keys.keyed("history", str(now - at)), mapping=named)


@contextlib.contextmanager
def _refusing() -> Iterator[str]:
    """The address of a server that wants no webhooks any more."""

    class Gone(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(410)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gone)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        server.server_close()
