"""What a package wants installed, when that changes, and what the host needs beside it."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import truss
from packaging.requirements import Requirement

from deployments.packages.package import Package, PackageError
from deployments.packages.requirements import Requirements
from tests.contract.host.running import write_package
from workers.virtualenvs.needs import CODE, host_needs
from workers.virtualenvs.pythons import OURS, PythonMissing, find_python

MODEL = "class Model:\n    def predict(self, given): return given\n"
PROJECT = '[project]\nname = "x"\nversion = "0"\ndependencies = ["six>=1", "tinydb"]\n'


def wanted(folder: Path, config: str, **files: str) -> Requirements | None:
    named = {name.replace("_", "."): text for name, text in files.items()}
    return Requirements.of(Package.load(write_package(folder, MODEL, config, named)))


def key(folder: Path, config: str, **files: str) -> str:
    found = wanted(folder, config, **files)
    assert found
    return found.key("3.11")


@pytest.mark.parametrize("config", ["model_name: x", "requirements: []", "requirements: ['# no']"])
def test_a_package_that_wants_nothing_gets_nothing(tmp_path: Path, config: str) -> None:
    assert wanted(tmp_path, config) is None


def test_a_requirements_file_of_comments_is_nothing(tmp_path: Path) -> None:
    config = "requirements_file: requirements.txt"
    assert wanted(tmp_path, config, requirements_txt="# none\n\n") is None


def test_the_kinds_that_truss_takes(tmp_path: Path) -> None:
    listed = wanted(tmp_path / "a", "requirements: ['six==1.17.0  # pinned', '--pre']")
    assert listed and (listed.kind, listed.lines) == ("list", ("six==1.17.0", "--pre"))
    config = "requirements_file: requirements.txt"
    plain = wanted(tmp_path / "b", config, requirements_txt="six \\\n  ==1.17.0\n")
    assert plain and plain.kind == "file" and plain.lines[0].split() == ["six", "==1.17.0"]
    project = wanted(tmp_path / "c", "requirements_file: pyproject.toml", pyproject_toml=PROJECT)
    assert project and (project.kind, project.lines) == ("pyproject", ("six>=1", "tinydb"))
    config = "requirements_file: uv.lock"
    locked = wanted(tmp_path / "d", config, uv_lock="version = 1", pyproject_toml=PROJECT)
    assert locked and locked.kind == "uv_lock"
    with pytest.raises(PackageError, match=re.escape("uv.lock needs a pyproject.toml beside it.")):
        wanted(tmp_path / "e", config, uv_lock="version = 1")


def test_the_key_is_of_the_requirements_and_not_of_the_model(tmp_path: Path) -> None:
    lines = "requirements: ['--extra-index-url https://example.org/simple', six]"
    first = key(tmp_path / "a", lines)
    assert key(tmp_path / "b", lines, model_py="OTHER = 1") == first
    assert key(tmp_path / "c", "requirements: [six, tinydb]") != first


@pytest.mark.parametrize(
    "line",
    ["-r more.txt", "--find-links=wheels", "./wheels/a.whl", "a @ file:///a.whl", "-ewheels"],
)
def test_a_line_that_names_a_file_follows_the_files_of_the_package(
    tmp_path: Path, line: str
) -> None:
    config = f"requirements: ['{line}']"
    assert key(tmp_path / "a", config, more_txt="six") != key(tmp_path / "b", config, more_txt="x")


def test_lines_with_file_names_can_be_read_from_elsewhere(tmp_path: Path) -> None:
    found = wanted(tmp_path, "requirements: ['-r more.txt', '-c https://a.org/c.txt', six]")
    assert found
    assert found.pip_lines() == [f"-r {tmp_path}/more.txt", "-c https://a.org/c.txt", "six"]


def test_what_is_missing_here(tmp_path: Path) -> None:
    lines = ["pydantic>=2", "uvicorn[standard]", "redis[hiredis]", "pydantic==1.0", "nosuch-package",
             "nosuch; python_version < '3'", "--pre", "./a.whl"]  # fmt: skip
    found = wanted(tmp_path, f"requirements: {lines}")
    assert found
    missing = found.missing_here()
    assert missing[-4:] == ["pydantic==1.0", "nosuch-package", "--pre", "./a.whl"]
    assert "pydantic>=2" not in missing and "redis[hiredis]" not in missing


def test_the_extra_host_says_the_same_as_the_dependencies() -> None:
    assert _declared("host") and _declared("host") <= _declared("") | _declared("server")


def test_every_model_may_import_what_truss_s_image_has() -> None:
    """In a virtualenv of its own, and in the worker's, which it runs in without requirements."""
    listed = Path(truss.__file__).parent / "templates" / "server" / "requirements.txt"
    lines = [line.partition("#")[0].strip() for line in listed.read_text().splitlines()]
    wanted = {Requirement(line).name for line in lines if line and not line.startswith("-")}
    wanted -= {"aiocontextvars", "truss-transfer"}  # see pyproject.toml
    assert len(wanted) > 15
    own = {Requirement(need).name for need in host_needs()}
    workers = {name for name, _ in _declared("") | _declared("server")}
    assert wanted <= own and wanted <= workers
    assert {name for name, _ in _declared("base")} <= workers


def test_a_marker_is_for_the_python_that_it_is_installed_for() -> None:
    numpy = sorted(need for need in host_needs() if need.startswith("numpy"))
    assert [need.partition("; ")[2] for need in numpy] == [
        'python_version < "3.13"',
        'python_version >= "3.13"',
    ]
    assert not any("extra" in need for need in host_needs())


def _declared(extra: str) -> set[tuple[str, str]]:
    """Name and versions of what pyproject.toml lists, under an extra or for all."""
    declared = [Requirement(line) for line in metadata.requires("kingpost") or ()]
    named = f"extra == '{extra}'"
    mine = [o for o in declared if (named in _quoted(o) if extra else "extra" not in _quoted(o))]
    return {(requirement.name, str(requirement.specifier)) for requirement in mine}


def _quoted(requirement: Requirement) -> str:
    return str(requirement.marker or "").replace('"', "'")


def test_the_host_imports_nothing_beyond_what_it_declares() -> None:
    code = (
        "import sys, workers.host.main\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        "jobs = {name for name in sys.modules if name.startswith('tasks.')}\n"
        "print(*sorted(tops & set(sys.argv[1:]) | jobs))"
    )
    kept = {name for name, _ in _declared("host")}  # the others are the models'
    ours = {Requirement(line).name for line in metadata.requires("kingpost") or ()} - kept
    others = [name.replace("-", "_") for name in ours] + ["api", "cli", "priority", "yaml"]
    done = subprocess.run(
        [sys.executable, "-c", code, *others], capture_output=True, text=True, check=True
    )
    # yaml shows that the question can be answered; those of `tasks`, and `kingpost`, are what `CODE` links.
    ours_of_tasks = [
        "tasks.outside_text",
        "tasks.process",
        "tasks.process.mistakes",
        "tasks.process.tracing",
        "tasks.process.variables",
    ]
    assert done.stdout.split() == ["kingpost", *ours_of_tasks, "yaml"]
    linked = {code.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for code in CODE}
    assert set(ours_of_tasks) <= linked


def test_the_host_runs_in_pythons_that_it_can_have() -> None:
    assert find_python(OURS) == sys.executable
    for version in ("py39", "py310"):
        with pytest.raises(
            PythonMissing, match=r"needs Python 3\.11 or later; set it to py311 or later"
        ):
            find_python(version)
