"""What `kingpost doctor` says of stores and machines that are set up wrongly."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
import redis

from cli.client.doctor import _clock as clock_of
from cli.client.doctor import sentence
from cli.local import doctor
from deployments.registry import verbs as registry
from deployments.registry.records import Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.typed import typed
from tests.valkey import Valkey


def levels(settings: Settings) -> dict[str, str]:
    """The level of each thing that is said of the store, by its first word."""
    found = doctor._store(settings)  # pyright: ignore[reportPrivateUsage]
    return {finding.said.split()[0]: finding.level for finding in found}


def test_a_store_that_may_lose_requests_fails(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    server = Valkey(tmp_path / "valkey", fsync="always").start()
    settings = Settings(redis_url=server.url, state_dir=tmp_path)
    try:
        assert set(levels(settings).values()) == {"ok"}
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("appendfsync", "everysec")
            client.config_set("appendonly", "no")
        said = levels(settings)
        assert said["maxmemory-policy"] == said["appendonly"] == "fail"
        assert said["appendfsync"] == "warn" and said["Valkey"] == "ok"
    finally:
        server.stop()
    (gone,) = levels(settings).values()
    assert gone == "fail"


@pytest.mark.parametrize(
    ("version", "levels"), [("6.2.14", ["fail"]), ("7.0.0", []), ("8.2", []), ("?", [])]
)
def test_a_store_that_is_too_old_fails(version: str, levels: list[str]) -> None:
    known = {"role": "master", "redis_version": version}
    assert [finding.level for finding in doctor._kind_of_store(known)] == levels


def test_each_line_that_is_not_ok_says_what_to_do_and_a_failure_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("DISK_WARN", "DISK_FAIL"):
        monkeypatch.setattr(doctor, bound, 1e18)
    monkeypatch.setattr(doctor, "TORCH", "raise ImportError('libcudart.so.12: no such file')")
    monkeypatch.setattr(doctor, "DRIVER", [sys.executable, "-c", "exit('driver mismatch')"])
    done = typed(["doctor", "--state", str(tmp_path), "--json"])
    assert done.exit_code == 1, done.output
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert found["stack"]["level"] == "warn" and "No stack runs" in found["stack"]["said"]
    assert [found[name]["level"] for name in ("driver", "torch", "disk")] == ["fail"] * 3
    assert "driver mismatch" in found["driver"]["said"] and "libcudart" in found["torch"]["said"]
    assert all(row["advice"] for row in found.values() if row["level"] != "ok")


def test_a_load_that_has_taken_very_long_is_named(store: JobStore, settings: Settings) -> None:
    for name, minutes in (("quick", 1.5), ("big model", 3.2)):
        began = int((time.time() - minutes * 60) * 1000)
        about = ("dep00001", name, "loading", None, "/nowhere.sock", 1, 0, 1, 2)
        store.run(registry.report(Replica(f"r-{name}", *about, load_began=began), 60_000))
    found = doctor._store(settings)  # pyright: ignore[reportPrivateUsage]
    (load,) = [finding for finding in found if finding.name == "load"]
    assert load.level == "warn" and load.said == "big model has been loading for 3 min."
    assert "`kingpost logs 'big model'`" in load.advice


def test_a_wrong_setting_is_a_finding(tmp_path: Path) -> None:
    done = typed(["doctor", "--state", str(tmp_path)], env={"KINGPOST_LEASE_SECOND": "3"})
    assert done.exit_code == 1
    assert "fail  settings" in done.stdout and "KINGPOST_LEASE_SECOND" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"), [("kingpost jobs r", ["result", "retry"]), ("kingpost doc", ["doctor"])]
)
def test_commands_are_completed(words: str, said: list[str], tmp_path: Path) -> None:
    """As bash asks for it after `kingpost --install-completion`."""
    variables = {
        "_KINGPOST_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = str(Path(sys.executable).parent / "kingpost")
    done = subprocess.run([program], env=variables, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == said, done.stderr


@pytest.mark.parametrize(
    ("apart", "level", "said"),
    [
        (0.4, "ok", "agree, within 0.6 s."),
        (-1.5, "ok", "are 1.5 s apart (give or take 0.6 s)."),
        (3.0, "warn", "are 3.0 s apart (give or take 0.6 s)."),
        (-90.0, "fail", "are 90.0 s apart"),
    ],
)
def test_clocks_are_compared_as_well_as_whole_seconds_and_the_way_allow(
    apart: float, level: str, said: str
) -> None:
    """The server read its clock in the middle of 0.2 s, and said whole seconds."""
    there = datetime.fromtimestamp(1_800_000_000, UTC)
    asked = there.timestamp() + 0.5 - 0.1 + apart
    found = clock_of(format_datetime(there, usegmt=True), asked, 0.2)
    assert found.level == level and said in found.said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "The store cannot be reached.", "error_code": "x"}', "The store cannot be reached."),
        (b'{"error": {"a": 1}}', '{"error": {"a": 1}}'),
        (b"<html>\n<h1>no</h1>", "<html>"),
        (b"", "nothing"),
    ],
)  # fmt: skip
def test_an_answer_is_shown_as_a_sentence(body: bytes, said: str) -> None:
    assert sentence(httpx.Response(503, content=body)) == said


def test_the_doctor_advises_the_torch_that_the_readme_installs() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert f"pip install torch=={doctor.TESTED_TORCH} " in readme
