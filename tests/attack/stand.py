"""What is attacked: a Valkey and one API process, with a deployment that has no replica yet."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests import memory
from tests.api_keys import ApiKeys
from tests.conditions import lasts, wait_until
from tests.processes import Process, variables
from tests.valkey import Valkey

KEY = "kp_attacked.0123456789abcdef0123456789abcdef"


@dataclass
class Stand:
    """The API as a stranger sees it, and what its operator can measure."""

    settings: Settings
    port: int
    process: Process
    deployment: Deployment
    smallest: str  # a key of the scope `inference`
    most: int  # connections that the API takes

    @property
    def address(self) -> tuple[str, int]:
        """For a raw socket."""
        return "127.0.0.1", self.port

    def rss(self) -> int:
        """Resident bytes of the API."""
        return memory.rss(self.process.pid)

    def worked(self) -> float:
        """Seconds of work that the API's loop has done; other programs of the machine do not count."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e9

    def log(self) -> str:
        """All that the API wrote."""
        return self.process.log.read_text(errors="replace")

    def status(self, path: str = "/health/live", key: str = "", **more: object) -> int:
        """The status of one call on a connection of its own; 0 when there was no answer."""
        headers = {"Authorization": f"Api-Key {key}"} if key else {}
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            return httpx.get(url, headers=headers, timeout=20, **more).status_code  # type: ignore[arg-type]
        except httpx.HTTPError:
            return 0

    def live(self) -> float | None:
        """Seconds that /health/live took on a new connection; None when it failed."""
        began = time.monotonic()
        with contextlib.suppress(OSError):
            answer = self.send(iter([request("/health/live")]))
            if answer.startswith(b"HTTP/1.1 200"):
                return time.monotonic() - began
        return None

    def client(self, key: str = "") -> httpx.Client:
        """With the smallest key, or that one."""
        headers = {"Authorization": f"Api-Key {key or self.smallest}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60)

    def new_key(self) -> str:
        """One more key of the smallest scope."""
        return ApiKeys(self.settings).create(scope="inference")

    @contextlib.contextmanager
    def sockets(
        self, count: int, said: bytes = b"", buffer: int = 0
    ) -> Iterator[list[socket.socket]]:
        """Raw connections that say that and then nothing, and read nothing."""
        opened: list[socket.socket] = []
        try:
            for _ in range(count):
                connection = socket.socket()
                if buffer:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
                connection.settimeout(60)
                opened.append(connection)
                with contextlib.suppress(OSError):  # cut already: that is an answer, too
                    connection.connect(self.address)
                    connection.sendall(said)
            yield opened
        finally:
            for connection in opened:
                connection.close()

    def send(self, pieces: Iterator[bytes]) -> bytes:
        """Sends until the other side has had enough, and answers what it said."""
        with socket.create_connection(self.address, timeout=20) as connection:
            with contextlib.suppress(OSError):
                for piece in pieces:
                    connection.sendall(piece)
            with contextlib.suppress(OSError):
                return connection.recv(65536)
        return b""

    def all_of(self, said: bytes) -> bytes:
        """All that comes back until the other side closes."""
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall(said)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def connections(self) -> int:
        """How many the API has, by the table of the kernel."""
        port = f":{self.port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


@dataclass
class Watch:
    """What /health/live and the memory did during an attack."""

    stand: Stand
    slowest: float = 0.0  # s until /health/live was answered
    hardest: float = (
        0.0  # s of the API's own work in that time: the same on a machine that others use
    )
    largest: int = 0  # bytes
    failed: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Asks until the attack is over."""
        while not self._over.is_set():
            before = self.stand.worked()
            took = self.stand.live()
            self.failed += took is None
            self.slowest = max(self.slowest, took or 0.0)
            self.hardest = max(self.hardest, self.stand.worked() - before)
            self.largest = max(self.largest, self.stand.rss())
            lasts(0.05)

    @contextlib.contextmanager
    def watching(self) -> Generator["Watch"]:
        """For the time of an attack."""
        asking = threading.Thread(target=self.run)
        asking.start()
        try:
            yield self
        finally:
            self._over.set()
            asking.join()


@contextlib.contextmanager
def standing(folder: Path, most: int, limit: int = 0, **more: str) -> Generator[Stand]:
    """A stand whose API takes so many connections, and may have so many descriptors."""
    (folder / "valkey").mkdir(parents=True, exist_ok=True)
    valkey = Valkey(folder / "valkey", fsync="off").start()
    settings = Settings(redis_url=valkey.url, state_dir=folder)
    deployment = JobStore(settings).run(registry.register("echo", "/nowhere", "hash", 1))
    port = free_port()
    env = variables(settings, KINGPOST_API_KEY=KEY, KINGPOST_MAX_CONNECTIONS=str(most), **more)
    process = Process(
        ["api", "--port", str(port)], env, folder / "api.log", descriptors=limit
    ).start()
    try:
        smallest = ApiKeys(settings).create(scope="inference")
        stand = Stand(settings, port, process, deployment, smallest, most)
        wait_until(lambda: stand.status("/health/ready") == 200, 30, "the API does not answer")
        yield stand
    finally:
        process.stop()
        valkey.stop()


def request(path: str, key: str = "", *headers: str, method: str = "GET") -> bytes:
    """The head of a request, as written."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if key:
        lines.append(f"Authorization: Api-Key {key}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def submitted(stand: Stand) -> str:
    """The id of a job that nobody runs, of the smallest key."""
    with stand.client() as client:
        answer = client.post("/production/async_predict", content=json.dumps({"model_input": 1}))
    return answer.json()["request_id"]
