"""One client, one request at a time: `python -m bench.tools.roundtrip` reads an order from stdin, prints JSON."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from http.client import HTTPConnection

from bench.tools.load import ROOT, percentile
from bench.tools.rounds import Figures
from bench.tools.stack import AUTHORIZED

LIMIT_SECONDS = 120
LONG_POLL = 2  # s; a poll that lasts so long has missed the news


@dataclass(frozen=True)
class Trips:
    """Submit, then look until the request is final, so many times."""

    target: str
    kind: str  # kingpost: one long poll; textbook: polls without a pause
    count: int
    body: str = '{"model_input": {}}'


def drive(trips: Trips) -> Figures:
    """Runs the trips in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.tools.roundtrip"],
        input=json.dumps(asdict(trips)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The round trips failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


class _Client:
    """One kept connection."""

    def __init__(self, trips: Trips) -> None:
        self._trips = trips
        self._connection = HTTPConnection(trips.target, timeout=30)

    def _call(self, method: str, path: str, body: str | None = None) -> dict[str, object]:
        headers = {"content-type": "application/json", **AUTHORIZED}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        said = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {said[:500]!r}")
        return json.loads(said)

    def kingpost(self) -> None:
        """Submit and long polls: one, unless the gateway does not notice the end."""
        accepted = self._call("POST", "/production/async_predict", self._trips.body)
        path = f"/async_request/{accepted['request_id']}?wait={LONG_POLL}"
        while (said := self._call("GET", path))["status"] in ("QUEUED", "IN_PROGRESS"):
            pass
        if said["status"] != "SUCCEEDED":
            raise RuntimeError(f"not done: {said}")

    def textbook(self) -> None:
        """Submit and poll: Celery has nothing to wait on over HTTP."""
        accepted = self._call("POST", "/submit", self._trips.body)
        while True:
            said = self._call("GET", f"/status/{accepted['id']}")
            if said["state"] == "SUCCESS":
                return
            if said["state"] not in ("PENDING", "STARTED"):
                raise RuntimeError(f"not done: {said}")


def main() -> None:
    """One order from stdin; the first tenth warms up."""
    trips = Trips(**json.loads(sys.stdin.read()))
    client = _Client(trips)
    once = client.kingpost if trips.kind == "kingpost" else client.textbook
    took: list[float] = []
    for _ in range(trips.count):
        began = time.monotonic()
        once()
        took.append((time.monotonic() - began) * 1000)
    kept = took[trips.count // 10 :]
    missed = sum(late > LONG_POLL * 1000 for late in kept)
    figures = {"p50 ms": percentile(kept, 0.5), "p99 ms": percentile(kept, 0.99)}
    print(json.dumps(figures | {"missed %": 100 * missed / len(kept)}))


if __name__ == "__main__":
    main()
