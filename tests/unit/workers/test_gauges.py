"""What a node reads of its GPUs: through nvidia-ml-py's own calls, on a driver's library that this test builds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import nvml
from workers.node.gauges import UNKNOWN, Gauges

READ = """
import asyncio, json
from dataclasses import asdict
from workers.node.gauges import Gauges
found = asyncio.run(Gauges().read(["0", "2", "MIG-a"]))
print(json.dumps({device: asdict(gauge) for device, gauge in found.items()}))
"""


def read(libraries: Path) -> dict[str, dict[str, object]]:
    env = os.environ | {"LD_LIBRARY_PATH": str(libraries)}
    done = subprocess.run(
        [sys.executable, "-c", READ], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_gpu_is_read_and_what_the_driver_does_not_say_is_unknown(tmp_path: Path) -> None:
    pytest.importorskip("pynvml")
    found = read(nvml.build(tmp_path))
    assert list(found["0"].values()) == ["NVIDIA L4", 17 << 30, 0.86, 61, 2]
    assert list(found["2"].values()) == ["", None, None, None, None]
    assert list(found["MIG-a"].values()) == ["NVIDIA L4", 5 << 30, None, None, None]


def test_without_a_driver_nothing_is_known_and_nothing_is_wrong(tmp_path: Path) -> None:
    if any(Path(folder, "nvidia-smi").exists() for folder in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("this machine has a driver")
    assert read(tmp_path) == {}


async def test_a_reading_that_fails_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Gauges, devices: object) -> None:
        raise AttributeError("planted: an old binding")

    gauges = Gauges()
    with monkeypatch.context() as patch:
        patch.setattr(Gauges, "_read", broken)
        with pytest.raises(AttributeError):
            await gauges.read(["0"])
    monkeypatch.setattr(Gauges, "_read", lambda self, devices: {"0": UNKNOWN})
    assert await gauges.read(["0"]) == {"0": UNKNOWN}
