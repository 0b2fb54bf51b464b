"""The examples in models/extra, with their real weights, which are kept under build/."""

import runpy
import shutil
from pathlib import Path

from tests.contract.api.conftest import ROOT, Live

EXTRA = ROOT / "models" / "extra"


def unpacked(live: Live, name: str) -> tuple[Path, Path]:
    """A copy of the example's package without weights, and the folder of its weights."""
    weights = ROOT / "build" / name
    runpy.run_path(str(EXTRA / "fetch.py"))["fetch"](name, weights)
    folder = live.folder / name
    shutil.copytree(EXTRA / name, folder, ignore=shutil.ignore_patterns("data"))
    return folder, weights
