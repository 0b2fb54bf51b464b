"""What the overview says needs somebody, and the pages of nodes and settings, on a live stack whose parts get into trouble."""

import html
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import httpx
import pytest

from deployments.registry import verbs as registry
from deployments.registry.nodes import Node, NodeDevice, NodeReplica, forget_node, report_node
from deployments.registry.records import Replica
from tasks.job import RequestId, Submission
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live

LATE = 10  # s
GB = 1 << 30


@pytest.fixture
def page(live: Live) -> Iterator[httpx.Client]:
    with live.client(None) as http:
        http.post("/ui/login", data={"key": live.new_key(scope="admin")})
        yield http


@pytest.fixture
def store(live: Live) -> Iterator[JobStore]:
    store = JobStore(live.settings)
    yield store
    store.close()


def needs(http: httpx.Client) -> dict[str, str]:
    """What needs attention, and the address that it leads to."""
    (found, *_) = re.findall(
        r'<section class="attention".*?</section>', _text(http, "/ui"), re.S
    ) or [""]
    return {
        html.unescape(what): html.unescape(to)
        for to, what in re.findall(r'<li><a href="([^"]+)">([^<]+)', found)
    }


def _text(http: httpx.Client, path: str) -> str:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


@contextmanager
def reported(store: JobStore, node: Node) -> Iterator[None]:
    """A node that says this once."""
    store.run(report_node(node))
    try:
        yield
    finally:
        store.run(forget_node(node.id))


def node(live: Live, release: str) -> Node:
    echo = live.deployment("echo")
    devices = (
        NodeDevice("0", 24 * GB, 0.0, "NVIDIA L4", 6 * GB, 0.75),
        NodeDevice("1", 0, 1.0),
    )
    replicas = (NodeReplica("r1", echo.id, "echo", ("0",), 1.0),)
    return Node("far-1", "far", 1, int(time.time() * 1000), 8, 8, devices, replicas, release)


def test_a_node_is_shown_with_its_gpus_and_what_sits_there(
    live: Live, page: httpx.Client, store: JobStore
) -> None:
    assert "No node reports" in _text(page, "/ui/nodes")
    with reported(store, node(live, version("kingpost"))):
        for path in ("/ui", "/ui/nodes"):
            text = _text(page, path)
            assert "GPU 0 NVIDIA L4" in text and "6 GiB of 24 GiB" in text, path
            assert "75 % of the time" in text and "GPU 1" in text and "unknown" in text, path
            assert f'href="/ui/models/{live.deployment("echo").model_id}' in text, path
        assert not [what for what in needs(page) if "node" in what]
        (device, _) = page.get("/ui/api/v1/nodes").json()["nodes"][0]["devices"]
        assert (device["used_bytes"], device["utilisation"]) == (6 * GB, 0.75)
    assert "started by hand" in _text(page, "/ui")
    assert "No node tells of a GPU: models run on CPUs." in _text(page, "/ui")


def test_a_node_of_another_release_needs_somebody(
    live: Live, page: httpx.Client, store: JobStore
) -> None:
    with reported(store, node(live, "0.0.1")):
        assert needs(page)["The node far runs Kingpost 0.0.1"] == "/ui/nodes#nfar-1"
        assert 'id="nfar-1"' in _text(page, "/ui/nodes")


def test_a_store_that_forgets_needs_somebody_who_administers(
    live: Live, page: httpx.Client, store: JobStore
) -> None:
    store.redis.config_set("appendonly", "no")
    try:
        assert needs(page)["The store writes no log to its disk"] == "/ui/settings#store"
        assert "a restart of the store loses every request" in _text(page, "/ui/settings")
        with live.client(None) as http:
            http.post("/ui/login", data={"key": live.new_key(scope="inference")})
            assert "writes no log" not in _text(http, "/ui")
    finally:
        store.redis.config_set("appendonly", "yes")
    gone = "The store writes no log to its disk"
    wait_until(lambda: gone not in needs(page), LATE, "the store writes its log again")


def test_requests_that_end_their_replicas_lead_to_those_requests(
    live: Live, page: httpx.Client, store: JobStore
) -> None:
    deployment = live.deployment("talker")
    job = Submission(RequestId("ab" * 16), deployment.id, deployment.model_id, b"{}")
    live.processes["talker"].signal(signal.SIGSTOP)  # it leaves the request to us
    try:
        store.run(verbs.submit([job], "nobody", 100))
        for number in range(3):
            taken = store.run(verbs.claim(deployment.id, "us", f"us{number:030d}", "r"))
            assert taken
            store.run(verbs.release(taken.lease, verbs.Release.DEATH))
    finally:
        live.processes["talker"].signal(signal.SIGCONT)
    what = "1 request of talker ended the replica each time it ran"
    wait_until(lambda: what in needs(page), LATE, "the overview does not tell of it")
    assert "abababab" in _text(page, needs(page)[what])


def test_a_model_that_has_been_loading_for_long_needs_somebody(
    live: Live, page: httpx.Client, store: JobStore
) -> None:
    talker = live.deployment("talker")

    def report(minutes: float) -> None:
        began = int((time.time() - minutes * 60) * 1000)
        about = (talker.id, "talker", "loading", None, "/nowhere.sock", 1, 0, 1, 2)
        store.run(registry.report(Replica("r-long", *about, load_began=began), 60_000))

    what = f"talker {talker.id} has been loading for 3 min"
    try:
        report(1.5)
        assert not [found for found in needs(page) if "loading" in found]
        report(3.2)
        wait_until(lambda: what in needs(page), LATE, "the overview does not tell of it")
        assert needs(page)[what].endswith(f"#d{talker.id}")
    finally:
        store.run(registry.remove("r-long", ""))


def test_settings_are_shown_without_secrets(live: Live, page: httpx.Client) -> None:
    text = _text(page, "/ui/settings")
    assert "KINGPOST_STATE_DIR" in text and str(live.settings.state_dir) in text
    assert KEY not in text and re.search(r"KINGPOST_API_KEY</code></th><td>\s*set", text)
    assert "appendonly yes" in text
