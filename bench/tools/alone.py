"""A batching model with nothing around it: `python -m bench.tools.alone PACKAGE BODY BATCH SECONDS` prints items a second.

The limit of what any server can get out of that model with batches of that size on one thread.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[2]
WARM_SECONDS = 0.5


def alone(package: Path, body: str, batch: int, seconds: float) -> float:
    """Items a second, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "bench.tools.alone",
        str(package),
        body,
        str(batch),
        str(seconds),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=seconds + 60
    )
    return float(done.stdout)


def _run(model: Any, items: list[Any], seconds: float) -> float:
    began, batches = perf_counter(), 0
    while perf_counter() - began < seconds:
        model.predict_batch(items)
        batches += 1
    return batches * len(items) / (perf_counter() - began)


def main() -> None:
    """Loads the model as a host does, warms it up, measures."""
    package, body, batch, seconds = sys.argv[1:]
    sys.path.insert(0, package)
    from model.model import Model  # pyright: ignore[reportMissingImports] - of the package

    model: Any = Model()
    model.load()
    items = [json.loads(body)] * int(batch)
    _run(model, items, WARM_SECONDS)
    print(_run(model, items, float(seconds)))


if __name__ == "__main__":
    main()
