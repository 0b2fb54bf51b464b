"""Five small chainlets, apart and in one process: `python -m bench.extra.chains [--rounds N]`. Memory, and what a call costs.

Two whole stacks run side by side and take turns, so that a busy neighbour meets both.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from bench.tools.stack import MODELS
from cli.stack.ports import free_port
from deployments.registry import verbs as registry
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.conditions import wait_until

SOURCE = MODELS / "chain" / "five.py"
APART = "OPTIONS = chains.ChainletOptions()"
TOGETHER = 'OPTIONS = chains.ChainletOptions(metadata={"kingpost": {"process": "small"}})'
CALLS = 200
MIB = 1 << 20


@dataclass(frozen=True)
class Rig:
    """One stack."""

    client: httpx.Client
    settings: Settings

    def calls(self, at_once: bool) -> float:
        """The median milliseconds of a call that the entrypoint makes (or of four at once)."""
        body = {"calls": CALLS, "at_once": at_once}
        answer = self.client.post("/chains/five/production/run_remote", json=body)
        return median(answer.raise_for_status().json())

    def through_the_gateway(self) -> float:
        """The median milliseconds of a call from here."""
        return _timed(self.client, "/chains/five.One/production/run_remote")

    def at_the_host(self) -> float:
        """The same at the host's own socket: what a call without the gateway would cost."""
        found = JobStore(self.settings).run(registry.replicas())
        address = next(replica.address for replica in found if replica.model_name == "five.One")
        with httpx.Client(transport=httpx.HTTPTransport(uds=address)) as client:
            return _timed(client, "http://host/v1/models/model:predict")

    def memory(self) -> dict[str, float]:
        """MiB of all replicas: resident, and the share that is theirs alone or proportionally (PSS)."""
        found = JobStore(self.settings).run(registry.replicas())
        hosts = {replica.host_pid for replica in found if replica.host_pid}
        workers = {replica.pid for replica in found}
        return {
            "hosts": len(hosts),
            "hosts RSS": sum(_memory(pid, "Rss") for pid in hosts),
            "hosts PSS": sum(_memory(pid, "Pss") for pid in hosts),
            "workers": len(workers),
            "workers RSS": sum(_memory(pid, "Rss") for pid in workers),
            "workers PSS": sum(_memory(pid, "Pss") for pid in workers),
        }


def _timed(client: httpx.Client, url: str) -> float:
    took: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        client.post(url, json={"number": 1}).raise_for_status()
        took.append((time.perf_counter() - began) * 1000)
    return median(took)


def _memory(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MIB for line in lines if line.startswith(f"{what}:"))


@contextlib.contextmanager
def stack(together: bool) -> Generator[Rig]:
    """`kingpost up` on the chain."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        file = folder / "models" / "five" / "five.py"
        file.parent.mkdir(parents=True)
        text = SOURCE.read_text()
        file.write_text(text.replace(APART, TOGETHER) if together else text)
        log, state = folder / "up.log", folder / "state"
        command = [sys.executable, "-m", "cli.main", "up", "--models", str(folder / "models")]
        command += ["--state", str(state), "--port", str(port), "--no-flower"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("KINGPOST_")}
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env=env)
        try:
            wait_until(lambda: "Kingpost is ready" in log.read_text() or process.poll(), 120)
            up = json.loads((state / "up.json").read_text())
            key = (state / "api_key").read_text().strip()
            headers = {"Authorization": f"Api-Key {key}"}
            with httpx.Client(base_url=up["api"], headers=headers, timeout=120) as client:
                yield Rig(client, Settings(redis_url=up["redis_url"], state_dir=state))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    what: dict[str, Callable[[Rig], float]] = {
        "a call by a chainlet, ms": lambda rig: rig.calls(at_once=False),
        "four calls at once, ms": lambda rig: rig.calls(at_once=True),
        "a call from outside, ms": Rig.through_the_gateway,
        "a call at the host's socket, ms": Rig.at_the_host,
    }
    with stack(together=False) as apart, stack(together=True) as together:
        rigs = {"apart": apart, "in one process": together}
        found: dict[str, dict[str, list[float]]] = {n: {r: [] for r in rigs} for n in what}
        for turn in range(rounds + 1):
            for name, measure in what.items():
                for side in list(rigs) if turn % 2 else list(rigs)[::-1]:
                    value = measure(rigs[side])
                    if turn:  # the first round warms up
                        found[name][side].append(value)
        print(f"| | {' | '.join(rigs)} |\n|---|---|---|")
        for name, sides in found.items():
            print(f"| {name} | {' | '.join(spread(values) for values in sides.values())} |")
        memory = {side: rig.memory() for side, rig in rigs.items()}
        for name in memory["apart"]:
            print(
                f"| {name} | {' | '.join(f'{figures[name]:.0f}' for figures in memory.values())} |"
            )


if __name__ == "__main__":
    main()
