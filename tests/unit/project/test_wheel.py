"""What is installed is what git tracks: the wheel and the source archive against the tree."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.wheels import ROOT, build, copy_tree, docker_context

SHIPPED = ("api", "cli", "deployments", "kingpost", "priority", "tasks", "workers")
# Nobody has to list a folder or a kind of file that is new.
NEW = (
    "tasks/store/scripts/deep/er/new.lua",
    "deployments/v1.0/rows.json",
    "cli/.hidden",
    "api/py.typed",
)
LEFT = (
    "tasks/__pycache__/left.pyc",
    "tasks/store/scripts/__pycache__/left.pyc",
    "tasks_old/__init__.py",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project with files that are new, and some that do not belong into a wheel."""
    tree = copy_tree(tmp_path_factory.mktemp("tree"))
    for name in NEW + LEFT:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    return tree


@pytest.fixture(scope="module")
def built(tree: Path) -> tuple[Path, Path]:
    return build(tree)


@pytest.fixture(scope="module")
def expected(tree: Path) -> set[str]:
    files = (path for folder in SHIPPED for path in (tree / folder).rglob("*") if path.is_file())
    return {path.relative_to(tree).as_posix() for path in files} - set(LEFT) | {"celeryconfig.py"}


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_every_file_of_our_packages_and_nothing_else(
    built: tuple[Path, Path], expected: set[str]
) -> None:
    assert set(NEW) < expected
    scripts = {"deployments/registry/scripts/register.lua", "tasks/store/scripts/lib.lua"}
    assert scripts | {"priority/order.lua", "priority/README.md"} < expected
    assert contents(built[0]) == expected


def test_the_source_archive_holds_them_too(built: tuple[Path, Path], expected: set[str]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert expected <= names
    assert not names & set(LEFT)


def test_the_image_s_build_installs_the_same(expected: set[str], tmp_path: Path) -> None:
    wheel, _ = build(docker_context(tmp_path))
    assert contents(wheel) == expected - set(NEW)


def test_no_top_folder_of_ours_is_forgotten() -> None:
    """A new package beside the others must be listed in pyproject.toml, or be one of those that stay here."""
    here = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert here - {"bench", "tests"} == set(SHIPPED)
