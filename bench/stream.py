"""Streamed tokens: `python -m bench.stream`. 64 streams of 200 chunks, the gateway against its own model host."""

import json

from bench.sync import HOST_PATH
from bench.tools.command import main
from bench.tools.load import Order, drive
from bench.tools.rounds import Claim, Figures, Pace, Report, alternate, differences, ratios
from bench.tools.stack import AUTHORIZED, MODELS, Stack

STREAMS, CHUNKS, CHUNK_BYTES = 64, 200, 16
ORDER = {"stream": True, "chunks": CHUNKS}
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
    main(measure)
