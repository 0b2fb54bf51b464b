"""`python -m bench.gpu` on a machine without a GPU: its ten checks run with tiny models, and say that there was no device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wheels import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.stack]

CHECKS = [
    "placement", "shares", "after kill", "after cancel", "out of memory", "device assert", "swap",
    "diffusion", "llm", "through",
]  # fmt: skip


def test_ten_checks_without_a_device(tmp_path: Path) -> None:
    out = tmp_path / "gpu.md"
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu", "--out", str(out)], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row.split(" | ") for row in out.read_text().splitlines() if row.startswith("| ")][1:]
    assert [(name.removeprefix("| "), verdict) for name, verdict, _ in rows] == [(name, "no device") for name in CHECKS]  # fmt: skip
