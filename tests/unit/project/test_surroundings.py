"""Tests run the same on every machine: nothing of the shell that started them reaches them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tasks.errors import StoreUnavailable
from tasks.process.logs import get_logger
from tests.surroundings import clean
from tests.typed import typed

FOREIGN = (
    "KINGPOST_REDIS_URL", "KINGPOST_API_KEY", "CELERY_BROKER_URL", "FLOWER_PORT", "FLOWER_URL_PREFIX",
    "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS",
    "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "AWS_PROFILE", "OPENAI_API_KEY", "BASETEN_API_KEY", "HF_HOME",
    "LANGSMITH_TRACING", "WEB_CONCURRENCY", "COLUMNS", "NO_COLOR", "LC_ALL", "XDG_RUNTIME_DIR",
)  # fmt: skip
INSTALLERS = ("PIP_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "UV_INDEX_URL", "SSL_CERT_FILE")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_variable_of_the_shell_does_not_reach_a_test(name: str, tmp_path: Path) -> None:
    assert name not in clean({name: "x"}, tmp_path)
    assert name not in os.environ


@pytest.mark.parametrize("name", INSTALLERS)
def test_what_an_installer_needs_does(name: str, tmp_path: Path) -> None:
    assert clean({name: "x"}, tmp_path)[name] == "x"


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR"])
def test_homes_and_caches_are_the_runs_own(name: str, tmp_path: Path) -> None:
    assert clean({name: "/root"}, tmp_path)[name].startswith(str(tmp_path))
    assert "kingpost-tests-" in os.environ[name]


def test_installers_find_their_configuration_from_another_home(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert "PIP_CONFIG_FILE" not in clean({"HOME": str(old)}, new)
    for name in ("pip/pip.conf", "uv/uv.toml"):
        (old / ".config" / name).parent.mkdir(parents=True)
        (old / ".config" / name).touch()
    found = clean({"HOME": str(old)}, new)
    assert found["PIP_CONFIG_FILE"] == str(old / ".config/pip/pip.conf")
    assert found["UV_CONFIG_FILE"] == str(old / ".config/uv/uv.toml")
    given = {"HOME": str(old), "PIP_CONFIG_FILE": "/given"}
    assert clean(given, new)["PIP_CONFIG_FILE"] == "/given"


def test_ctrl_c_reaches_what_a_test_starts_though_the_tests_run_in_the_background() -> None:
    line = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_command_in_this_process_leaves_no_logger_that_a_later_test_cannot_capture() -> None:
    log = get_logger("of a module")
    for _ in range(2):
        done = typed(["api"], env={"KINGPOST_REDIS_URL": "redis://127.0.0.1:1"})
        assert isinstance(done.exception, StoreUnavailable)  # by then, logs are set up
        log.info("used.meanwhile")
    with capture_logs() as logged:
        log.info("said.now")
    assert [entry["event"] for entry in logged] == ["said.now"]
