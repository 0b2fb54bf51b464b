"""The official JavaScript clients against a live stack: OpenAI's, Anthropic's, Vercel's `ai`, and calls as LiveKit's agents make them.

tests/contract/js has their versions and what they ask, all of it in one process of node.
"""

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

from tests.contract.api.conftest import KEY, ROOT, Live

SOURCE = ROOT / "tests" / "contract" / "js"
OLDEST_NODE = 20
HELLO = ["Hello", " ", "there"]
EXPECTED: dict[str, object] = {
    "openai chat": "Hello there",
    "openai chat stream": HELLO,
    "openai chat stream at the model's own address": HELLO,
    "openai embeddings": [1, 2],
    "openai responses stream": ["response.output_text.delta", "response.completed"],
    "anthropic message": "Hello",
    "anthropic stream": ["Hello"],
    "anthropic stream helper": "Hello",
    "anthropic with a token": "Hello",
    "anthropic stream at the model's own address": ["Hello"],
    "ai generateText": "Hello there",
    "ai streamText": HELLO,
    "livekit openai stream": HELLO,
    "livekit openai stream at the model's own address": HELLO,
    "livekit anthropic stream": ["Hello"],
}
REFUSED: dict[str, tuple[str, int, str]] = {
    "openai unknown model": ("NotFoundError", 404, "nobody"),
    "openai wrong key": ("AuthenticationError", 401, "api-key"),
    "anthropic unknown model": ("NotFoundError", 404, "nobody"),
}


def missing() -> str:
    """Why the clients cannot run here, '' if they can."""
    node = shutil.which("node")
    if not node or not shutil.which("npm"):
        return "node and npm are not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    major = int(re.sub(r"\D.*", "", version.removeprefix("v")) or 0)
    return "" if major >= OLDEST_NODE else f"node {OLDEST_NODE} or newer is needed, not {version}"


def installed() -> Path:
    """A folder with clients.mjs and its packages, kept under build/ for each lock file."""
    lock = (SOURCE / "package-lock.json").read_bytes()
    folder = ROOT / "build" / f"js-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for name in ("package.json", "package-lock.json", "clients.mjs"):
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


@pytest.fixture(scope="module")
def found(live: Live) -> dict[str, Any]:
    """What every case got."""
    if reason := missing():
        assert not os.environ.get("CI"), f"CI has to run these: {reason}"
        pytest.skip(reason)
    node = subprocess.run(
        ["node", "clients.mjs", live.url, KEY],
        cwd=installed(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert node.returncode == 0, node.stderr
    return json.loads(node.stdout)


def test_no_case_is_left_out(found: dict[str, Any]) -> None:
    assert found.keys() == {*EXPECTED, *REFUSED}


@pytest.mark.parametrize("case", EXPECTED)
def test_a_client_gets_what_the_model_says(found: dict[str, Any], case: str) -> None:
    assert found[case] == {"got": EXPECTED[case]}


@pytest.mark.parametrize("case", REFUSED)
def test_a_client_raises_its_own_error_with_the_reason(found: dict[str, Any], case: str) -> None:
    name, status, said = found[case]["got"]
    assert (name, status) == REFUSED[case][:2]
    assert REFUSED[case][2] in said


def test_the_lock_file_names_every_package_and_no_registry() -> None:
    packages = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    packages.pop("")
    assert all(package["integrity"] and "resolved" not in package for package in packages.values())
