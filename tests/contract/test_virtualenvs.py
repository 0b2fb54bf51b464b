"""Own virtualenvs, built by the real installers; every wheel is packed here, so no index is asked."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deployments.registry import verbs as registry
from tasks.job import RequestId, Submission
from tasks.process.programs import with_users_modules
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.host.running import write_package
from tests.processes import Process, ready_replicas, variables
from tests.wheels import write_wheel, write_wheelhouse
from workers.processes.turns import ReplicaStops
from workers.virtualenvs import build as virtualenv_build
from workers.virtualenvs import pythons
from workers.virtualenvs.build import VirtualenvFailed
from workers.virtualenvs.needs import host_needs
from workers.virtualenvs.pythons import find_python
from workers.virtualenvs.shared import HostPython, Virtualenvs, folder_of, prune

pytestmark = pytest.mark.stack

# What Truss's image has for every model and the host does not need.
BASE = {
    requirement.name
    for requirement in map(Requirement, metadata.requires("kingpost") or ())
    if requirement.marker and "base" in str(requirement.marker)
}
MODEL = "class Model:\n    def predict(self, given): return given\n"
PEEK = """
import importlib.util, sys
import shouting

class Model:
    def predict(self, given):
        names = ("celery", "redis", "structlog", "torch", "typer", "tasks.store", "api", "cli")
        return {
            "shouted": shouting.shout(given), "prefix": sys.prefix,
            "leaks": [name for name in names if importlib.util.find_spec(name)],
        }
"""


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the host needs; in small, what Truss's image has; and two versions of a module."""
    host = [need for need in host_needs() if Requirement(need).name not in BASE]
    folder = write_wheelhouse(tmp_path_factory.mktemp("wheels"), host)
    for name in (name_in_index.replace("-", "_") for name_in_index in BASE):
        if name != "numpy" and not list(
            folder.glob(f"{name}-*.whl")
        ):  # FastAPI brings one of them along
            write_wheel(folder, name, "99.0", "")
    for version in ("1.26.4", "2.4"):
        write_wheel(folder, "numpy", version, "")
    for version in ("1.0", "2.0"):
        code = f"VERSION = '{version}'\ndef shout(text): return text.upper()\n"
        write_wheel(folder, "shouting", version, code)
    return folder


@pytest.fixture
def offline(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip and uv find those wheels and nothing else: no index, not even one that uv's cache remembers."""
    config = tmp_path / "uv.toml"
    config.write_text(f"no-index = true\nfind-links = [{json.dumps(str(wheelhouse))}]\n")
    for name, value in {
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse), "PIP_CONFIG_FILE": "/dev/null",
        "UV_OFFLINE": "1", "UV_CONFIG_FILE": str(config),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return tmp_path


@dataclass
class User:
    """One that wants a package's virtualenv, as a replica's host thread does."""

    package: Path
    settings: Settings
    stopping: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list[str])

    def use(self) -> HostPython:
        with Virtualenvs(self.package, self.settings, self.stopping).use(self.said.append) as it:
            return it

    def version(self) -> str:
        """Which `shouting` a program of the virtualenv imports."""
        return self.prints("import shouting; print(shouting.VERSION)")

    def holds(self) -> dict[str, str]:
        """What is installed there: names and versions."""
        code = "from importlib.metadata import distributions as all\nfor o in all(): print(o.name, o.version)"
        pairs = [line.split() for line in self.prints(code).splitlines()]
        return {name.replace("_", "-"): version for name, version in pairs}

    def prints(self, code: str) -> str:
        """What a program of the virtualenv prints."""
        python = self.use()
        command = [python.command[0], "-c", code]
        done = subprocess.run(
            command, env=dict(python.variables), capture_output=True, text=True, check=True
        )
        return done.stdout.strip()


@dataclass
class Maker:
    """Packages and users on one state folder."""

    folder: Path
    settings: Settings

    def user(self, config: str, files: dict[str, str] | None = None, **changes: object) -> User:
        package = write_package(self.folder / "package", MODEL, config, files)
        return User(package, self.settings.model_copy(update=changes))

    @property
    def built(self) -> list[Path]:
        return sorted(folder_of(self.settings).glob("*/ready.json"))


@pytest.fixture
def make(offline: Path) -> Maker:
    return Maker(offline, Settings(state_dir=offline / "state"))


def test_without_requirements_it_is_the_workers_own(make: Maker) -> None:
    user = make.user("model_name: x")
    assert user.use().command == with_users_modules("workers.host.main")
    assert (user.said, make.built) == ([], [])


def test_it_is_built_once_for_each_content_of_the_requirements(make: Maker) -> None:
    first = make.user("requirements: [shouting==1.0]")
    assert first.version() == "1.0"
    assert any("shouting" in line for line in first.said)
    again = make.user("requirements: [shouting==1.0]\nmodel_name: other")
    assert (again.version(), again.said) == ("1.0", [])
    file = make.user("requirements_file: r.txt", {"r.txt": "shouting\n"})
    assert file.version() == "2.0"
    assert len(make.built) == 2


def test_what_a_model_imports_does_not_decide_which_virtualenv_it_gets(make: Maker) -> None:
    """The same list gives the same virtualenv, whose FastAPI every model may import, as in Truss's image."""
    plain = make.user("requirements: [shouting==1.0]").use()
    write_package(make.folder / "other", f"from fastapi import HTTPException\n{MODEL}")
    (make.folder / "other" / "config.yaml").write_text("requirements: [shouting==1.0]")
    importing = User(make.folder / "other", make.settings).use()
    assert importing.command == plain.command
    assert len(make.built) == 1
    done = subprocess.run([plain.command[0], "-c", "from fastapi import HTTPException"])
    assert done.returncode == 0


def test_it_holds_what_truss_s_image_has_for_every_model(make: Maker) -> None:
    held = make.user("requirements: [shouting]").holds()
    assert held.keys() >= BASE
    assert not held.keys() & {"pip", "setuptools", "wheel"}  # which nobody there uses
    assert held["numpy"] == "1.26.4"  # below 2, as Truss has it
    assert make.user("requirements: [numpy==2.4]").holds()["numpy"] == "2.4"  # a pin wins


def test_another_python_is_found_by_uv_with_and_without_requirements(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pythons, "OURS", "py399"
    )  # so that there is another one, whose wheels we have
    asked = f"python_version: py3{sys.version_info.minor}"
    for config in (asked, f"{asked}\nrequirements: [shouting]"):
        user = make.user(config)
        assert user.prints("import sys; print(sys.version_info[1])") == str(sys.version_info.minor)
        assert user.holds().keys() >= BASE
    assert len(make.built) == 2


def test_a_python_that_is_not_there_is_said_unless_any_will_do(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(make.folder))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(make.folder))
    user = make.user("python_version: py314\nrequirements: [shouting]")
    with pytest.raises(VirtualenvFailed, match=r"no Python 3\.14 .*uv python install 3\.14"):
        user.use()
    never = make.user("python_version: py314", own_virtualenvs="never")
    with pytest.raises(VirtualenvFailed, match="KINGPOST_OWN_VIRTUALENVS=never keeps"):
        never.use()
    any_python = Virtualenvs(never.package, make.settings, never.stopping, any_python=True)
    with any_python.use(never.said.append) as python:
        assert python.command == with_users_modules("workers.host.main")


def test_a_stand_in_that_cannot_start_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pythons, "OURS", "py399")
    name = f"python3.{sys.version_info.minor}"
    (tmp_path / name).write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / name).chmod(0o755)
    real = Path(sys.base_prefix) / "bin"
    monkeypatch.setenv("PATH", f"{tmp_path}:{real}")
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path))
    found = find_python(f"py3{sys.version_info.minor}")
    assert Path(found).resolve().is_relative_to(Path(sys.base_prefix).resolve())


def test_two_at_once_build_one(make: Maker) -> None:
    users = [make.user("requirements: [shouting]") for _ in range(2)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda u=u: found.append(u.use().command[0])) for u in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2 and len(set(found)) == 1
    builders = [user for user in users if any("pip install: " in line for line in user.said)]
    waiters = [user for user in users if "another replica builds this virtualenv" in user.said]
    assert len(builders) == len(waiters) == 1
    assert builders != waiters


def test_what_a_crash_left_half_built_is_built_again(make: Maker) -> None:
    user = make.user("requirements: [shouting]")
    user.use()
    make.built[0].unlink()  # as if the end had never come
    (make_folder := Path(user.use().command[0]).parents[1]).joinpath("left").touch()
    make.built[0].unlink()
    assert user.version() == "2.0"
    assert not (make_folder / "left").exists()


def test_a_state_folder_that_moved_is_built_again(make: Maker) -> None:
    make.user("requirements: [shouting]").use()
    moved = make.folder / "moved"
    make.settings.state_dir.rename(moved)
    user = make.user("requirements: [shouting]", state_dir=moved)
    assert user.version() == "2.0"
    assert user.said


def test_a_failure_is_the_installers_words_and_one_sentence(make: Maker) -> None:
    user = make.user("requirements: [shouting==3.0]")
    with pytest.raises(VirtualenvFailed) as failed:
        user.use()
    *words, sentence = str(failed.value).splitlines()
    assert sentence.startswith("The virtualenv could not be built: uv pip install ended with 1 (")
    assert any("No solution found" in line for line in words)
    assert "No solution found" in sentence and "unsatisfiable" in sentence  # uv's own, whole
    assert make.built == []


@pytest.mark.slow
def test_without_uv_it_is_venv_and_pip(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtualenv_build, "find_uv", lambda: None)
    locked = make.user("requirements_file: uv.lock", {"uv.lock": "", "pyproject.toml": ""})
    with pytest.raises(VirtualenvFailed, match=r"uv\.lock needs uv\.$"):
        locked.use()
    user = make.user("requirements: [shouting==1.0]")
    assert user.version() == "1.0"
    assert any("pip install: Successfully installed shouting-1.0" in line for line in user.said)


def test_a_project_file_says_what_is_installed(make: Maker) -> None:
    project = '[project]\nname = "x"\nversion = "0"\ndependencies = ["shouting<2"]\n'
    project += 'requires-python = ">=3.11"\n'
    user = make.user("requirements_file: pyproject.toml", {"pyproject.toml": project})
    assert user.version() == "1.0"
    uv = virtualenv_build.find_uv()
    assert uv
    subprocess.run([uv, "lock", "-q"], cwd=user.package, check=True)
    locked = make.user("requirements_file: uv.lock", {"pyproject.toml": project})
    assert locked.version() == "1.0"
    assert len(make.built) == 2


def test_requirements_that_the_host_cannot_run_with_are_said(make: Maker) -> None:
    write_wheel(make.folder / "wheels", "starlette", "99.0", "VALUE = 1")
    user = make.user(f"requirements: ['--find-links {make.folder}/wheels', 'starlette==99.0']")
    with pytest.raises(VirtualenvFailed) as failed:
        user.use()
    sentence = str(failed.value).splitlines()[-1]
    assert sentence.startswith("The model host cannot run with what these requirements pin: ")
    assert "starlette" in sentence
    assert make.built == []


def test_a_build_has_a_limit_and_can_be_stopped(make: Maker) -> None:
    with pytest.raises(VirtualenvFailed, match=r"not built within 0.01 s"):
        make.user("requirements: [shouting]", virtualenv_build_seconds=0.01).use()
    user = make.user("requirements: [shouting]")
    user.stopping.set()
    with pytest.raises(ReplicaStops):
        user.use()
    assert make.built == []


def stopped(user: User) -> None:
    with pytest.raises(ReplicaStops):
        user.use()


def test_a_build_that_hangs_keeps_no_other_from_being_built(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"node_builds": 1, "build_turn_seconds": 0.5, "virtualenv_build_seconds": 90}
    settings = make.settings.model_copy(update=changes)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that never answers
        monkeypatch.delenv("UV_OFFLINE")
        monkeypatch.setenv("UV_HTTP_TIMEOUT", "300")
        wheel = f"http://127.0.0.1:{silent.getsockname()[1]}/slow-1.0-py3-none-any.whl"
        hangs = Maker(make.folder / "hangs", settings).user(f"requirements: ['slow @ {wheel}']")
        thread = threading.Thread(target=stopped, args=[hangs])
        thread.start()
        silent.settimeout(30)
        connection, _ = silent.accept()  # the installer asks
        other = Maker(make.folder / "other", settings).user("requirements: [shouting]")
        assert other.version() == "2.0" and thread.is_alive()
        hangs.stopping.set()
        thread.join(30)
        connection.close()
    assert not thread.is_alive() and len(make.built) == 1


def test_a_setting_can_keep_to_the_workers_python(make: Maker) -> None:
    ours = with_users_modules("workers.host.main")
    never = make.user("requirements: [shouting]", own_virtualenvs="never")
    assert never.use().command == ours
    some = make.user("requirements: ['pydantic>=2']", own_virtualenvs="when_missing")
    assert some.use().command == ours
    assert make.built == []
    missing = make.user("requirements: [shouting]", own_virtualenvs="when_missing")
    assert missing.version() == "2.0"


def test_prune_takes_what_nobody_uses(make: Maker) -> None:
    user = make.user("requirements: [shouting]")
    with Virtualenvs(user.package, user.settings, user.stopping).use(user.said.append):
        assert prune(make.settings, 0) == []
    assert prune(make.settings, 3600) == []
    assert prune(make.settings, 0) == [make_name(user, make)]
    assert user.version() == "2.0"


def make_name(user: User, make: Maker) -> str:
    """The name that its virtualenv has, or had."""
    return next(path.stem for path in folder_of(make.settings).glob("*.lock"))


@pytest.fixture
def start(settings: Settings, offline: Path) -> Callable[[Path], Process]:
    processes: list[Process] = []

    def start(package: Path, *more: str) -> Process:
        command = ["replica", str(package), *more]
        processes.append(Process(command, variables(settings), offline / "log").start())
        return processes[-1]

    yield start  # type: ignore[misc]
    for process in processes:
        if process.popen and process.popen.poll() is None:
            process.kill()


def test_a_model_runs_in_its_virtualenv_and_a_job_waits_for_it(
    settings: Settings, store: JobStore, offline: Path, start: Callable[[Path], Process]
) -> None:
    package = write_package(
        offline / "package", PEEK, "model_name: loud\nrequirements: [shouting==1.0]"
    )
    start(package)
    store = JobStore(settings)
    states: list[str] = []

    def seen(state: str) -> bool:
        states.extend(replica.state for replica in store.run(registry.replicas()))
        return state in states

    wait_until(lambda: seen("building"), 20, "it is never seen to build")
    deployment = JobStore(settings).run(registry.deployments())[0]
    job = Submission(RequestId("b" * 32), deployment.id, deployment.model_id, b'"hi"')
    store.run(verbs.submit([job], "alice", 10))
    wait_until(lambda: seen("ready"), 60, "it never gets ready")
    assert "failed" not in states
    ready_replicas(settings)
    wait_until(lambda: store.run(verbs.read("b" * 32)).job.status is Status.SUCCEEDED, 20)
    result = json.loads(store.output("b" * 32) or b"")
    assert result["shouted"] == "HI"
    assert result["prefix"].startswith(str(settings.state_dir.resolve() / "virtualenvs"))
    assert result["leaks"] == []


def test_a_replica_goes_on_in_the_worker_s_python_where_that_was_allowed(
    settings: Settings, offline: Path, start: Callable[..., Process]
) -> None:
    package = write_package(offline / "package", MODEL, "python_version: py39")
    start(package, "--allow-unsupported", "python_version")
    ready_replicas(settings)


def test_a_failed_build_is_tried_again_with_what_the_file_says_then(
    settings: Settings, offline: Path, start: Callable[[Path], Process]
) -> None:
    config = "model_name: loud\nrequirements: [shouting==9.9]"
    package = write_package(offline / "package", PEEK, config)
    start(package)
    store = JobStore(settings)
    wait_until(
        lambda: [replica.state for replica in store.run(registry.replicas())] == ["failed"],
        40,
        "it did not fail",
    )
    error = store.run(registry.replicas())[0].error or ""
    assert error.splitlines()[-1].startswith("The virtualenv could not be built: ")
    assert "shouting==9.9" in error
    write_package(package, PEEK, config.replace("9.9", "2.0"))
    ready_replicas(settings, timeout=60)
    assert store.run(registry.replicas())[0].error is None
