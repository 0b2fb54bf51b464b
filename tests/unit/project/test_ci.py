"""`.ci/run` is as on a machine that has never seen the project: what it keeps of a shell, and what it runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wheels import ROOT

MAKE = """#!{python}
import json, os, sys
from pathlib import Path

seen = {{"target": sys.argv[1], "home": Path(os.environ["HOME"]).is_dir(), "env": dict(os.environ)}}
with open({log!r}, "a") as log:
    print(json.dumps(seen), file=log)
sys.exit(sys.argv[1] == {fails!r})
"""
KEPT = {
    "PIP_INDEX_URL": "https://pip.example", "UV_INDEX_URL": "https://uv.example", "SSL_CERT_FILE": "/ca.pem",
    "REQUESTS_CA_BUNDLE": "/ca.pem", "https_proxy": "http://proxy:3128", "PYTHON": "python3.11",
}  # fmt: skip
LEFT = {
    "KINGPOST_REDIS_URL": "redis://theirs", "CELERY_BROKER_URL": "redis://theirs", "FLOWER_PORT": "tcp://10.0.0.1:1",
    "PYTHONPATH": "/theirs", "VIRTUAL_ENV": "/theirs", "HF_HOME": "/theirs", "COLUMNS": "20",
}  # fmt: skip
OWN = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR")  # fmt: skip


def run(folder: Path, fails: str = "") -> tuple[int, list[dict[str, object]]]:
    """The script with a `make` that notes how it is called; its exit code, and the calls."""
    for name in (".ci", "bin", "home/.config/pip"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
    (folder / "home/.config/pip/pip.conf").touch()
    make, log = folder / "bin" / "make", folder / "calls"
    make.write_text(MAKE.format(python=sys.executable, log=str(log), fails=fails))
    make.chmod(0o755)
    env = KEPT | LEFT | {name: f"{folder}/theirs" for name in OWN[1:] if "CONFIG" not in name}
    env |= {"HOME": f"{folder}/home", "PATH": f"{make.parent}:{os.environ['PATH']}"}
    done = subprocess.run([folder / ".ci" / "run"], env=env, cwd="/")
    return done.returncode, [json.loads(line) for line in log.read_text().splitlines()]


def test_every_target_has_one_new_home_and_only_what_installers_need(tmp_path: Path) -> None:
    code, calls = run(tmp_path)
    assert (code, [call["target"] for call in calls]) == (
        0,
        ["check", "shipped", "test", "test-stacks"],
    )
    for call in calls:
        seen = call["env"]
        assert isinstance(seen, dict) and call["home"]
        assert seen.items() >= KEPT.items() and not seen.keys() & LEFT.keys()
        assert seen["PIP_CONFIG_FILE"] == f"{tmp_path}/home/.config/pip/pip.conf"
        assert all(seen[name].startswith(seen["HOME"]) for name in OWN)
        assert not seen["HOME"].startswith(str(tmp_path))
        assert not Path(seen["HOME"]).exists()  # it is gone with the run
    assert len({str(call["env"]) for call in calls}) == 1


@pytest.mark.parametrize("fails", ["check", "shipped", "test", "test-stacks"])
def test_the_first_failure_is_the_end(fails: str, tmp_path: Path) -> None:
    code, calls = run(tmp_path, fails)
    assert (code != 0, calls[-1]["target"]) == (True, fails)
