"""Runs the programs of this folder by node, with the packages of the lock file."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent
ROOT = SOURCE.parents[2]
PROGRAMS = ("clients.mjs", "errors.mjs")
OLDEST_NODE = 20


def said_by(program: str, *arguments: str) -> Any:
    """What a program prints, which is JSON. Skips the test where there is no node, but not in CI."""
    if reason := missing():
        assert not os.environ.get("CI"), f"CI has to run these: {reason}"
        pytest.skip(reason)
    command = ["node", program, *arguments]
    node = subprocess.run(command, cwd=installed(), capture_output=True, text=True, timeout=120)
    assert node.returncode == 0, node.stderr
    return json.loads(node.stdout)


def missing() -> str:
    """Why the clients cannot run here, '' if they can."""
    node = shutil.which("node")
    if not node or not shutil.which("npm"):
        return "node and npm are not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    major = int(re.sub(r"\D.*", "", version.removeprefix("v")) or 0)
    return "" if major >= OLDEST_NODE else f"node {OLDEST_NODE} or newer is needed, not {version}"


def installed() -> Path:
    """A folder with the programs and their packages, kept under build/ for each lock file."""
    lock = (SOURCE / "package-lock.json").read_bytes()
    folder = ROOT / "build" / f"js-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for name in ("package.json", "package-lock.json", *PROGRAMS):
            shutil.copy(SOURCE / name, folder)
        if not (folder / ".ready").exists():
            command = [
                "npm",
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--prefer-offline",
            ]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"the JavaScript clients were not installed: {done.stderr}"
            (folder / ".ready").touch()
    return folder
