"""Streamed tokens: `python -m bench.stream`. 64 streams of 200 chunks, the gateway against its own model host.

Then streams at the pace of a model, 50 chunks a second: 32 of them, and one. For these it gives the CPU time of API and host for each
chunk, and how late chunks come. `python -m bench.stream --paced` measures these alone.
"""

import json
import sys
from pathlib import Path

from bench.sync import HOST_PATH
from bench.tools.command import main
from bench.tools.load import Order, drive
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate, differences, ratios
from bench.tools.stack import AUTHORIZED, MODELS, Stack

STREAMS, CHUNKS, CHUNK_BYTES = 64, 200, 16
ORDER = {"stream": True, "chunks": CHUNKS}
EACH_SECOND = 50  # chunks of a paced stream
MANY = 32  # paced streams
CALMLY = 4.0  # streams a second, each chunk 5 ms after the other: nobody is short of anything


def figures(target: str, path: str, pace: Pace) -> Figures:
    """Chunks a second when everybody hurries; the first chunk's time when nobody does."""
    hurried = [("POST", path, json.dumps(ORDER))]
    full = drive(Order(target, hurried, AUTHORIZED, STREAMS, pace.seconds))
    calm_calls = [("POST", path, json.dumps(ORDER | {"every_ms": 5}))]
    calm = drive(Order(target, calm_calls, AUTHORIZED, 16, 2.0 if pace.quick else 5.0, rate=CALMLY))
    return {
        "chunks per second": full.bytes_per_second / CHUNK_BYTES,
        "first chunk, hurried p50 ms": full.first_p50,
        "first chunk, calm p50 ms": calm.first_p50,
    }


def cpu_seconds(pid: int) -> float:
    """The CPU time that the threads of a process have taken, in s; finer than the ticks of psutil."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def paced(target: str, path: str, streams: int, pids: dict[str, int], pace: Pace) -> Figures:
    """What a chunk costs each process, in ms of CPU time, and how late chunks come, when so many streams have 50 chunks a second."""
    seconds = 2 if pace.quick else max(5, int(pace.seconds))
    chunks = EACH_SECOND * seconds
    asked = {"stream": True, "timed": True, "chunks": chunks, "every_ms": 1000 / EACH_SECOND}
    order = Order(
        target, [("POST", path, json.dumps(asked))], AUTHORIZED, streams,
        seconds=4.0 * seconds, warm_seconds=0, most=streams, timed=True,
    )  # fmt: skip
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    found = drive(order)
    costs = {
        f"{name} CPU ms a chunk": 1000 * (cpu_seconds(pid) - before[name]) / (streams * chunks)
        for name, pid in pids.items()
    }
    return {**costs, "chunk late p50 ms": found.late_p50, "chunk late p99 ms": found.late_p99}


def measure_paced(pace: Pace) -> Report:
    """CPU time of each chunk at the pace of a model."""
    with Stack() as stack:
        replica = stack.replica(MODELS / "tokens")
        api = stack.api()
        pids = {"API": stack.parts()[-1].pid, "host": replica.host_pid or 0}
        rounds: dict[str, list[Figures]] = {}
        for streams in (MANY, 1):
            name = f"{streams} stream{'s' * (streams > 1)}"
            targets = {
                f"host, direct, {name}": (f"unix:{replica.address}", HOST_PATH),
                f"Kingpost, {name}": (api, "/production/predict"),
            }
            rounds |= alternate(
                {
                    contender: lambda where=where, n=streams: paced(*where, n, pids, pace)
                    for contender, where in targets.items()
                },
                pace,
            )
    claims = list[Claim]()
    for streams, aim in ((f"{MANY} streams", 0.05), ("1 stream", 0.2)):
        ours = rounds[f"Kingpost, {streams}"]
        for part, limit in (("API", aim), ("host", None)):
            values = [figures[f"{part} CPU ms a chunk"] for figures in ours]
            claims.append(
                Claim(f"{part} CPU time of a chunk, {streams}", values, limit, False, "ms")
            )
        late = differences(rounds, f"Kingpost, {streams}", f"host, direct, {streams}", "chunk late p50 ms")  # fmt: skip
        claims.append(Claim(f"added delay of a chunk, p50, {streams}", late, None, False, "ms"))
    title = f"{MANY} streams and one, {EACH_SECOND} chunks of 16 bytes a second each"
    return Report("stream, paced", title, rounds, claims)


def measure(pace: Pace) -> Report:
    """Chunks a second and the time to the first."""
    with Stack() as stack:
        host = f"unix:{stack.replica(MODELS / 'tokens').address}"
        api = stack.api()
        rounds = alternate(
            {
                "host, direct": lambda: figures(host, HOST_PATH, pace),
                "Kingpost": lambda: figures(api, "/production/predict", pace),
            },
            pace,
        )
    added = differences(rounds, "Kingpost", "host, direct", "first chunk, calm p50 ms")
    share = ratios(rounds, "Kingpost", "host, direct", "chunks per second")
    claims = [
        Claim("added time to the first chunk, p50", added, 2.0, False, "ms"),
        Claim("Kingpost / direct", share, 0.7),
    ]
    return Report("stream", f"{STREAMS} streams of {CHUNKS} chunks of 16 bytes", rounds, claims)


if __name__ == "__main__":
    alone = "--paced" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--paced"]
    main(measure_paced if alone else measure)
