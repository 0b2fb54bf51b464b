"""The sync path to model hosts on other machines: the same calls, over TCP with a token."""

import asyncio
import itertools
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import redis

from cli.stack.ports import free_port
from deployments.host_address import TOKEN_HEADER
from deployments.registry import keys as registry_keys
from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from tests.contract.private_routes import ATTEMPTS, ask
from tests.memory import MEGABYTE
from tests.processes import Process, variables
from tests.valkey import Valkey

pytestmark = pytest.mark.stack

KEY = "kp_tcptests.0123456789abcdef0123456789abcdef"
HEADERS = {"Authorization": f"Api-Key {KEY}"}

PREDICT = "/v1/models/model:predict"
MODEL = """
import asyncio
import os

class Model:
    async def predict(self, given, request):
        if isinstance(given, str):
            return len(given)
        if "stream" in given:
            return self._chunks(given["stream"], given["gate"])
        if "megabytes" in given:
            return (b"x" * 1048576 for _ in range(given["megabytes"]))
        if "mark" in given:
            open(f"{given['mark']}.{os.getpid()}", "w").close()
            try:
                while not os.path.exists(given["mark"] + ".go"):
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                open(given["mark"] + ".canceled", "w").close()
                raise
        return {"pid": os.getpid(), "headers": dict(request.headers)}

    async def _chunks(self, chunks, gate):
        for number, chunk in enumerate(chunks):
            while not os.path.exists(f"{gate}.{number}"):
                await asyncio.sleep(0.01)
            yield chunk
"""
SOCKET = """
import os

class Model:
    async def websocket(self, websocket):
        await websocket.send_json({"pid": os.getpid(), "headers": dict(websocket.headers)})
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "close":
                await websocket.close(4321)
                return
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
"""
CONFIG = "model_name: {name}\nruntime: {{predict_concurrency: 8}}\n"


@dataclass
class Rig:
    """Valkey and an API here; each test starts replicas of a model of its own, here or elsewhere."""

    folder: Path
    settings: Settings
    url: str
    api: Process
    names: Iterator[str]
    replicas: dict[str, Process] = field(default_factory=dict[str, Process])

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=HEADERS, timeout=60)

    def start(self, name: str, elsewhere: bool = True, model: str = MODEL, **env: str) -> Replica:
        """One more replica of that model, ready, and seen by the API."""
        folder = self.folder / "packages" / name
        package = write_package(folder, model, CONFIG.format(name=name))
        boot_id = self.folder / "boot-id"
        boot_id.write_text("another machine")
        more = {"KINGPOST_HOST_ADDRESS": "127.0.0.1"} if elsewhere else {}
        known = {replica.id for replica in self.of(name)}
        process = Process(
            ["replica", str(package)],
            variables(self.settings, **{**more, **env}),
            self.folder / f"{name}.log",
            elsewhere=boot_id if elsewhere else None,
        ).start()
        self.replicas[f"{name}-{process.pid}"] = process
        new: list[Replica] = []

        def ready() -> bool:
            new[:] = [r for r in self.of(name) if r.id not in known and r.state == "ready"]
            return bool(new)

        wait_until(ready, 30, f"{name} did not start")
        assert (new[0].machine == "another machine") == elsewhere
        return new[0]

    def of(self, name: str) -> list[Replica]:
        return [
            replica
            for replica in JobStore(self.settings).run(registry.replicas())
            if replica.model_name == name
        ]

    def token(self, replica: Replica) -> str:
        with redis.Redis.from_url(self.settings.redis_url) as client:
            return client.get(registry_keys.keyed("host-token", replica.token_ref or "")).decode()  # type: ignore[union-attr]

    def process_of(self, replica: Replica) -> Process:
        return next(process for process in self.replicas.values() if process.pid == replica.pid)

    def lose(self, replica: Replica) -> None:
        """The machine is gone: the worker with its gate and the host, without a goodbye."""
        assert replica.host_pid
        self.process_of(replica).kill()
        wait_until(lambda: not Path(f"/proc/{replica.host_pid}").exists(), 10)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("across")
    (folder / "valkey").mkdir()
    valkey = Valkey(folder / "valkey", fsync="everysec").start()
    settings = Settings(redis_url=valkey.url, state_dir=folder)
    port = free_port()
    env = variables(settings, KINGPOST_API_KEY=KEY, KINGPOST_SYNC_PARK_SECONDS="3")
    api = Process(["api", "--port", str(port)], env, folder / "api.log").start()
    names = (f"far{number}" for number in itertools.count())
    rig = Rig(folder, settings, f"http://127.0.0.1:{port}", api, names)
    try:
        wait_until(lambda: _answers(rig.url), 30, "the API does not answer")
        yield rig
    finally:
        running = [
            process
            for process in (*rig.replicas.values(), api)
            if process.popen and process.popen.poll() is None
        ]
        for process in running:
            process.signal(signal.SIGTERM)
        for process in running:
            process.stop(60)
        valkey.stop()


@pytest.fixture(scope="module")
def far(rig: Rig) -> Replica:
    """A replica elsewhere that lives as long as the module."""
    return rig.start("far")


@pytest.fixture
def name(rig: Rig) -> str:
    """A model that no other test has."""
    return next(rig.names)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/health/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def path(name: str) -> str:
    return f"/models/{name}/production/predict"


def rss(pid: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def door_of(replica: Replica) -> str:
    return f"http://{replica.tcp}"


def connections(pid: int, port: int) -> int:
    """How many TCP connections to that port a process holds."""
    inodes = {
        match[1]
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if (match := re.match(r"socket:\[(\d+)\]", _target(fd)))
    }
    rows = [row.split() for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[9] in inodes for row in rows)


def _target(fd: Path) -> str:
    try:
        return os.readlink(fd)
    except OSError:
        return ""


def test_predict_goes_over_tcp_and_the_model_sees_no_token(rig: Rig, far: Replica) -> None:
    with rig.client() as http:
        answer = http.post(path("far"), json={})
    assert answer.status_code == 200
    assert answer.json()["pid"] == far.host_pid
    assert not [header for header in answer.json()["headers"] if header.startswith("x-kingpost")]
    assert rig.token(far) not in answer.text
    assert far.tcp and connections(rig.api.pid, int(far.tcp.rpartition(":")[2])) == 1


def test_chunks_are_passed_on_as_they_come(rig: Rig, far: Replica) -> None:
    gate = rig.folder / "gate"
    Path(f"{gate}.0").touch()
    order = {"stream": ["one", "two"], "gate": str(gate)}
    with rig.client() as http, http.stream("POST", path("far"), json=order) as answer:
        chunks = answer.iter_text()
        assert next(chunks) == "one"  # the model waits for its second gate now
        Path(f"{gate}.1").touch()
        assert next(chunks) == "two"


async def test_a_caller_who_leaves_ends_the_call(rig: Rig, far: Replica) -> None:
    mark = rig.folder / "left"
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        call = asyncio.create_task(session.post(rig.url + path("far"), json={"mark": str(mark)}))
        started = Path(f"{mark}.{far.host_pid}")
        await asyncio.to_thread(wait_until, started.exists, 10)
        call.cancel()
        await asyncio.to_thread(wait_until, Path(f"{mark}.canceled").exists, 10)


async def test_a_websocket_carries_both_ways_and_closes_with_the_model_s_code(
    rig: Rig, name: str
) -> None:
    url = f"{rig.url}/models/{name}/production/websocket"
    socket_host = await asyncio.to_thread(rig.start, name, model=SOCKET)
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.ws_connect(url, max_msg_size=0) as socket,
    ):
        said = await socket.receive_json()
        assert said["pid"] == socket_host.host_pid
        assert not [header for header in said["headers"] if header.startswith("x-kingpost")]
        await socket.send_str("héllo")
        assert await socket.receive_str() == "héllo"
        await socket.send_bytes(b"\x00" * 5 * MEGABYTE)
        assert len(await socket.receive_bytes()) == 5 * MEGABYTE
        await socket.send_str("close")
        assert (await socket.receive()).data == 4321


def test_100_megabytes_stream_through_api_and_door_in_little_memory(rig: Rig, far: Replica) -> None:
    pids = (rig.api.pid, far.pid)
    with rig.client() as http:
        http.post(path("far"), json={"megabytes": 1})
        before = [rss(pid) for pid in pids]
        zeros = (b"0" * MEGABYTE for _ in range(95))
        body = itertools.chain([b'"'], zeros, [b'"'])
        answer = http.post(path("far"), content=body)
        assert answer.json() == 95 * MEGABYTE
        received = 0
        with http.stream("POST", path("far"), json={"megabytes": 100}) as down:
            for chunk in down.iter_raw():
                received += len(chunk)
    assert received == 100 * MEGABYTE
    assert [rss(pid) - old < 20 * MEGABYTE for pid, old in zip(pids, before, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("token", [None, "", "x" * 43, "é"])
@pytest.mark.parametrize("target", ["/", "/v1/models/model", PREDICT, "/state", "/none"])
def test_the_door_tells_nothing_without_the_token(
    rig: Rig, far: Replica, token: str | None, target: str
) -> None:
    headers = {} if token is None else {TOKEN_HEADER: token.encode()}
    answer = httpx.request("POST", door_of(far) + target, headers=headers, content=b"{}")
    assert (answer.status_code, answer.content) == (401, b"")
    assert set(answer.headers) == {"content-length", "connection", "x-kingpost-gate"}


async def test_the_door_opens_no_websocket_without_the_token(rig: Rig, far: Replica) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(door_of(far) + "/v1/websocket")
    assert refused.value.status == 401


def test_the_token_opens_the_model_s_routes_and_not_the_worker_s(rig: Rig, far: Replica) -> None:
    headers = {TOKEN_HEADER: rig.token(far)}
    with httpx.Client(base_url=door_of(far), headers=headers) as http:
        assert http.get("/v1/models/model").status_code == 200
        assert http.post(PREDICT, json="abc").json() == 3
        chunks = iter([b'"ab', b"", b'cd"'])
        assert http.post(PREDICT, content=chunks).json() == 4
    assert far.tcp
    host, _, port = far.tcp.rpartition(":")
    token, key = f"{TOKEN_HEADER}: {rig.token(far)}", f"Authorization: Api-Key {KEY}"
    gateway = ("127.0.0.1", int(rig.url.rpartition(":")[2]))
    sync = path("far").removesuffix("predict") + "sync/"
    for method, target in ATTEMPTS:
        for said in (
            ask((host, int(port)), method, f"/{target}", token),
            ask(gateway, method, f"{sync}{target}", key),
        ):
            assert (said.status in (400, 404), said.is_private) == (True, False), target


def test_what_is_no_http_or_has_no_end_is_refused(rig: Rig, far: Replica) -> None:
    import socket

    assert far.tcp
    host, _, port = far.tcp.rpartition(":")
    endless = b"GET / HTTP/1.1\r\n" + b"".join(
        b"a%d: %b\r\n" % (n, b"x" * 1000) for n in range(150)
    )
    for said, status in ((b"\x16\x03\x01 hello\r\n\r\n", b"400"), (endless, b"431")):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(said)
            assert connection.recv(4096).split()[1] == status


def test_calls_go_to_hosts_here_and_elsewhere(rig: Rig, name: str) -> None:
    here, away = rig.start(name, elsewhere=False), rig.start(name)
    mark = rig.folder / name
    with rig.client() as http, ThreadPoolExecutor(6) as threads:
        wait_until(lambda: _seen(http, name, {here.host_pid, away.host_pid}), 10)
        calls = [threads.submit(http.post, path(name), json={"mark": str(mark)}) for _ in range(6)]
        Path(f"{mark}.go").touch()
        counts = [call.result().json()["pid"] for call in calls]
    assert len(counts) == 6
    assert set(counts) == {here.host_pid, away.host_pid}


def _seen(http: httpx.Client, name: str, pids: set[int | None]) -> bool:
    """Whether two calls at once go to these hosts: the API has read their entries."""
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: http.post(path(name), json={}), range(8)))
    return {answer.json()["pid"] for answer in answers} == pids


def test_a_call_whose_host_dies_goes_to_the_other_replica(rig: Rig, name: str) -> None:
    first = rig.start(name)
    mark = rig.folder / name
    with rig.client() as http, ThreadPoolExecutor(1) as threads:
        call = threads.submit(http.post, path(name), json={"mark": str(mark)})
        wait_until(Path(f"{mark}.{first.host_pid}").exists, 10)
        second = rig.start(name)
        assert first.host_pid
        os.kill(first.host_pid, signal.SIGKILL)
        wait_until(Path(f"{mark}.{second.host_pid}").exists, 10)
        Path(f"{mark}.go").touch()
        answer = call.result()
    assert (answer.status_code, answer.json()["pid"]) == (200, second.host_pid)
    assert answer.headers["x-baseten-model-prediction-attempts"] == "2"


def test_calls_pass_by_a_machine_that_is_gone(rig: Rig, name: str) -> None:
    lost, kept = rig.start(name), rig.start(name)
    rig.lose(lost)  # its entry lives on for up to 15 s
    assert [_predicted(rig, name) for _ in range(4)] == [kept.host_pid] * 4
    assert lost.id in {replica.id for replica in rig.of(name)}


@pytest.mark.slow
async def test_websockets_pass_by_a_machine_that_is_gone(rig: Rig, name: str) -> None:
    lost, kept = [await asyncio.to_thread(rig.start, name, model=SOCKET) for _ in range(2)]
    await asyncio.to_thread(rig.lose, lost)
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        for _ in range(4):
            url = f"{rig.url}/models/{name}/production/websocket"
            async with session.ws_connect(url) as socket:
                assert (await socket.receive_json())["pid"] == kept.host_pid
    assert lost.id in {replica.id for replica in rig.of(name)}


@pytest.mark.slow
def test_a_deployment_whose_only_machine_is_gone_answers_503(rig: Rig, name: str) -> None:
    env = {"KINGPOST_HEARTBEAT_SECONDS": "0.5"}
    rig.lose(rig.start(name, **env))
    with rig.client() as http:
        answer = http.post(path(name), json={})
    assert (answer.status_code, answer.json()["error_code"]) == (503, "model_not_ready")
    assert not rig.of(name)


@pytest.mark.slow
def test_another_host_on_the_same_port_is_told_apart_by_its_token(rig: Rig, name: str) -> None:
    # The longest heartbeat, so that the entry of the first is still there when the second is ready.
    env = {"KINGPOST_HOST_PORTS": str(free_port()), "KINGPOST_HEARTBEAT_SECONDS": "7.5"}
    lost = rig.start(name, **env)
    rig.lose(lost)
    new = rig.start(name, **env)
    assert {replica.tcp for replica in rig.of(name)} == {new.tcp} == {lost.tcp}
    log = rig.folder / "api.log"

    def refused() -> bool:  # calls at once go to both, so one of them meets the wrong gate
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: _predicted(rig, name), range(8)))
        assert answers == [new.host_pid] * 8
        return "GateRefused" in log.read_text()

    assert lost.id in {replica.id for replica in rig.of(name)}
    wait_until(refused, 20, "nobody tried the old token")


def _predicted(rig: Rig, name: str) -> Any:
    with rig.client() as http:
        return http.post(path(name), json={}).json()["pid"]


def test_a_port_range_that_is_used_up_ends_the_replica_with_a_sentence(
    rig: Rig, far: Replica, name: str
) -> None:
    assert far.tcp
    package = write_package(rig.folder / "packages" / name, MODEL, CONFIG.format(name=name))
    taken = {"KINGPOST_HOST_ADDRESS": "127.0.0.1", "KINGPOST_HOST_PORTS": far.tcp.split(":")[1]}
    env = variables(rig.settings, **taken)
    process = Process(["replica", str(package)], env, rig.folder / f"{name}.log").start()
    assert process.popen and process.popen.wait(30) == 1
    assert "is free." in (rig.folder / f"{name}.log").read_text()


def test_no_token_is_in_a_log_a_status_a_metric_or_a_command_line(rig: Rig, far: Replica) -> None:
    tokens = [rig.token(far)]
    said = [log.read_text(errors="replace") for log in rig.folder.glob("*.log")]
    with rig.client() as http:
        said.append(http.get("/metrics").text)
        said.append(http.get("/v1/models").text)
        said.append(http.get("/models/far/production/async_queue_status").text)
    for pid in (far.pid, far.host_pid, rig.api.pid):
        said.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
        said.append(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace"))
    said.append(repr(far))
    assert len(tokens[0]) == 43
    assert not [text for text in said if any(token in text for token in tokens)]
