"""Where the time goes: `python -m bench.tools.hotspots submit | status | sync | drain`. py-spy looks at a process under load.

For each process: functions by their own share of the time that the lock is held, and by the share of all below them. Then Valkey's
`commandstats` for each call or job. The rates are lower than those of the benches: being watched costs.
"""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from bench.status import finished, polls
from bench.submit import BODY, PATH
from bench.sync import BARE
from bench.tools import jobs
from bench.tools.load import Order, drive
from bench.tools.stack import AUTHORIZED, MODELS, ROOT, Stack
from tests.conditions import wait_until

ECHO = ROOT / "models" / "echo"
NULL = MODELS / "null"
SECONDS = 6
RATE = "200"  # samples a second
SHOWN = 40
DRAINED = 12_000
PY_SPY = Path(sys.executable).with_name("py-spy")


def record(pid: int, out: Path) -> None:
    """Samples whichever thread holds the interpreter lock into folded stacks."""
    command = [
        str(PY_SPY),
        "record",
        "-p",
        str(pid),
        "-d",
        str(SECONDS),
        "-r",
        RATE,
        "-f",
        "raw",
        "--gil",
    ]
    said = subprocess.run(
        [*command, "-o", str(out)], capture_output=True, text=True, timeout=60, check=False
    )
    if said.returncode:
        raise RuntimeError(f"py-spy: {said.stderr[-500:]}")


def show(name: str, folded: Path) -> None:
    """The functions with the largest shares."""
    own, below, total = Counter[str](), Counter[str](), 0
    for line in folded.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_short(frame) for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            below[frame] += int(count)
    print(f"\n{name}: {total} samples with the lock held")
    for title, counted in (("own", own), ("with all below", below)):
        print(f"  {title}:")
        everywhere = total * 0.95 if counted is below else total + 1  # the way down to our code
        ranked = [pair for pair in counted.most_common() if pair[1] < everywhere]
        for frame, count in ranked[:SHOWN]:
            print(f"    {100 * count / total:5.1f} %  {frame}")


def _short(frame: str) -> str:
    """`function (file)` without the line, the last two parts of the path."""
    function, _, rest = frame.partition(" (")
    path = rest.rstrip(")").rpartition(":")[0] or rest.rstrip(")")
    return f"{function} ({'/'.join(Path(path).parts[-2:])})"


def watched(stack: Stack, pids: dict[str, int], load: Callable[[], float]) -> None:
    """Runs the load, which answers how many calls it made, with every process watched."""
    client: Any = stack.store().redis
    client.config_resetstat()
    outs = {name: stack.folder / f"{name}.folded" for name in pids}
    watchers = [threading.Thread(target=record, args=(pids[name], outs[name])) for name in pids]
    for watcher in watchers:
        watcher.start()
    count = load()
    for watcher in watchers:
        watcher.join()
    for name, out in outs.items():
        show(name, out)
    stats = cast(dict[str, dict[str, float]], client.info("commandstats"))
    print(f"\nValkey, for each of {count:.0f} calls:")
    for name, row in sorted(stats.items(), key=lambda pair: -pair[1]["usec"])[:18]:
        calls, us = row["calls"] / count, row["usec"] / count
        print(f"  {us:7.1f} us in {calls:6.2f} x {name.removeprefix('cmdstat_')}")


def against_api(stack: Stack, calls: list[tuple[str, str, str]], expect: int) -> None:
    """One API process under 32 connections."""
    order = Order(stack.api(), calls, AUTHORIZED, seconds=SECONDS, warm_seconds=1, expect=expect)

    def load() -> float:
        measured = drive(order)
        print(f"{measured.per_second:.0f} a second while watched, p99 {measured.p99:.1f} ms")
        return measured.answers * (SECONDS + 1) / SECONDS

    watched(stack, {"api": stack.parts()[-1].pid}, load)


def drained(stack: Stack) -> None:
    """One replica and its host while a queue is emptied."""
    store, deployment = stack.store(), stack.deployment(NULL)
    stack.maintenance()
    jobs.queue(store, deployment, DRAINED)
    replica = stack.replica(NULL)
    assert replica.host_pid

    def load() -> float:
        before = jobs.left(store, deployment)
        wait_until(lambda: not jobs.left(store, deployment), 120)
        return before

    watched(stack, {"worker": replica.pid, "host": replica.host_pid}, load)


def main() -> None:
    """One of the four."""
    what = sys.argv[1] if sys.argv[1:] else "submit"
    with Stack() as stack:
        match what:
            case "submit":
                stack.deployment(ECHO)
                against_api(stack, [("POST", PATH, BODY)], 201)
            case "status":
                against_api(stack, polls("/async_request", finished(stack)), 200)
            case "sync":
                stack.replica(ECHO)
                against_api(stack, [("POST", "/production/predict", BARE)], 200)
            case _:
                drained(stack)


if __name__ == "__main__":
    main()
