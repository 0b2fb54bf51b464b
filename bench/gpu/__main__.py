"""`python -m bench.gpu [--out FILE]`: ten checks on the first GPU of this machine, in at most 8 minutes, as a table. Exit code 1 if one failed.

Without a GPU the models are tiny and run on the CPU, the node lists a GPU that is not there, and each check says "no device" and what it has shown.
"""

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path

from bench.gpu import checks
from bench.gpu.rig import found_gpu


def main() -> None:
    """Runs all checks, prints each as it ends, and writes the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("build/gpu.md"), help="file for the table")
    options = parser.parse_args()
    gpu, began, rows = found_gpu(), time.monotonic(), list[str]()
    where = f"{gpu.name}, {gpu.total} MiB" if gpu else f"no GPU; {platform.machine()}, CPU"
    print(where, flush=True)

    def tell(name: str, verdict: str, words: str) -> None:
        rows.append(f"| {name} | {verdict} | {words.replace('|', '/')} |")
        print(f"{time.monotonic() - began:5.0f} s  {name}: {verdict}; {words}", flush=True)

    with tempfile.TemporaryDirectory(prefix="kingpost-gpu-") as folder:
        good = checks.run(Path(folder), gpu, tell)
    head = [f"{where}; {time.monotonic() - began:.0f} s", "", "| check | | |", "|---|---|---|"]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join([*head, *rows, ""]))
    print(f"The table: {options.out}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
