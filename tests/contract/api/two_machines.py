"""Two machines made of namespaces: `unshare -rnm python -m tests.contract.api.two_machines PLAY FOLDER`.

Near: Valkey, the API and one replica. Far: a replica with a network of its own at the other end of a cable and a state
folder that nobody else sees. The store reaches it over a pipe of its own (`namespace.py`), so that only sync calls use the
cable. Says what it saw as JSON.
"""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx

from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.cable import Cable
from tests.contract.api.test_across_machines import CONFIG, HEADERS, KEY, MODEL, path
from tests.contract.deployments.namespace import loopback
from tests.contract.host.running import write_package
from tests.processes import Process, variables
from tests.valkey import Valkey

NEAR, FAR = "10.77.0.1", "10.77.0.2"
PORT, STORE_PORT = 8000, 6379


class TwoMachines:
    """The stack; leave it by `stack.close()`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        loopback("up")
        (folder / "valkey").mkdir()
        self.valkey = Valkey(folder / "valkey", fsync="everysec").start()
        stack.callback(self.valkey.stop)
        self.settings = Settings(redis_url=self.valkey.url, state_dir=folder / "near")
        self.package = write_package(folder / "package", MODEL, CONFIG.format(name="far"))
        (folder / "near").mkdir()
        (folder / "far").mkdir()
        self.api = self._kingpost("api", "api", "--port", str(PORT))
        # Longer than a play: a call that its client gives up while another replica starts does not move.
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", headers=HEADERS, timeout=180)
        wait_until(self._answers, 90, "the API does not answer")

    def _kingpost(self, name: str, *command: str) -> Process:
        env = variables(self.settings, KINGPOST_API_KEY=KEY, KINGPOST_SYNC_PARK_SECONDS="30")
        process = Process(list(command), env, self.folder / f"{name}.log").start()
        self.stack.callback(process.stop, 60)
        return process

    def _answers(self) -> bool:
        try:
            return self.http.get("/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def ready(self, count: int) -> list[Replica]:
        """That many ready replicas, the latest last."""
        found: list[Replica] = []

        def enough() -> bool:
            found[:] = [
                replica
                for replica in JobStore(self.settings).run(registry.replicas())
                if replica.state == "ready"
            ]
            return len(found) == count

        wait_until(enough, 90, f"{count} replicas are not ready")
        return found

    def start_far(self) -> tuple[Cable, int]:
        """The cable to the far machine, and its first process."""
        state = self.folder / "far"
        hidden = f'mount -t tmpfs none {state} && exec "$@"'
        command = ["unshare", "-nm", "sh", "-c", hidden, "sh", sys.executable]
        command += ["-m", "tests.contract.deployments.namespace"]
        command += [str(self.valkey.socket), str(STORE_PORT)]
        waits = f'until ip addr show to {FAR} | grep -q {FAR}; do sleep 0.05; done; exec "$@"'
        command += ["sh", "-c", waits, "sh"]
        command += [sys.executable, "-m", "cli.parts", "replica", str(self.package)]
        env = variables(
            self.settings,
            KINGPOST_REDIS_URL=f"redis://127.0.0.1:{STORE_PORT}/0",
            KINGPOST_STATE_DIR=str(state),
            KINGPOST_HOST_ADDRESS=FAR,
        )
        with (self.folder / "far.log").open("wb") as log:
            machine = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.stack.callback(machine.wait, 60)
        self.stack.callback(machine.terminate)
        here = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{machine.pid}/ns/net") != here, 60)
        return Cable(NEAR, FAR, machine.pid), machine.pid

    def start_near(self) -> None:
        """A replica beside the API; not waited for."""
        self._kingpost("near", "replica", str(self.package))

    def marks(self) -> int:
        """On how many hosts the marked call has run."""
        return len(list(self.folder.glob("mark.[0-9]*")))

    def predict(self, given: object) -> httpx.Response:
        """A sync call."""
        return self.http.post(path("far"), json=given)


def cut_in_a_call(folder: Path) -> dict[str, object]:
    """Calls over the cable; then it is cut, in the middle of a call and before the next ones."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as threads:
        both = TwoMachines(folder, stack)
        cable, _ = both.start_far()
        (far,) = both.ready(1)
        first = both.predict({})
        call = threads.submit(both.predict, {"mark": str(folder / "mark")})
        wait_until(lambda: both.marks() == 1, 60)
        both.start_near()
        both.ready(2)
        cable.cut()
        cut = time.monotonic()
        wait_until(lambda: both.marks() == 2, 60, "the call did not move")
        moved = time.monotonic() - cut
        wait_until((folder / "mark.canceled").exists, 30, "the far host still runs the call")
        (folder / "mark.go").touch()
        answer = call.result()
        began = time.monotonic()
        others = [both.predict({}) for _ in range(20)]
        took = time.monotonic() - began
        return {
            "machine": far.machine == Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "socket_seen": Path(far.address).exists(),
            "first": [first.status_code, first.json()["pid"] == far.host_pid],
            "moved_seconds": round(moved, 1),
            "moved": [answer.status_code, answer.headers["x-baseten-model-prediction-attempts"]],
            "others": sorted({answer.status_code for answer in others}),
            "others_seconds": round(took, 1),
        }


def lost_before_a_call(folder: Path, reaches_store: bool = False) -> dict[str, object]:
    """The machine is out of reach, and the API sends it a call before anybody knows."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as threads:
        both = TwoMachines(folder, stack)
        cable, machine = both.start_far()
        both.ready(1)
        both.predict({})  # over a connection that the API keeps
        cable.cut()
        if not reaches_store:
            os.kill(machine, signal.SIGUSR1)
        cut = time.monotonic()
        call = threads.submit(both.predict, {"mark": str(folder / "mark")})
        both.start_near()
        wait_until(lambda: both.marks() == 1, 100, "the call did not move")
        moved = time.monotonic() - cut
        (folder / "mark.go").touch()
        if not reaches_store:
            os.kill(machine, signal.SIGUSR2)
        return {"moved_seconds": round(moved, 1), "status": call.result().status_code}


def too_long(*_: object) -> None:
    """Ends the play, and what it has started."""
    raise TimeoutError("the play takes too long")


PLAYS = {
    "cut": cut_in_a_call,
    "dead": lost_before_a_call,
    "apart": partial(lost_before_a_call, reaches_store=True),
}

if __name__ == "__main__":
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(150)
    print(json.dumps(PLAYS[sys.argv[1]](Path(sys.argv[2]))))
