"""Wheels: of this project, as pip would build it, and made by hand, so that tests need no package index."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"


def copy_tree(folder: Path) -> Path:
    """The files of this project that git tracks or would track, without what builds and runs leave behind."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():  # deleted, and git does not know yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def docker_context(folder: Path) -> Path:
    """The image's folder as the Dockerfile's COPY lines fill it."""
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            *sources, target = line.split()[1:]
            for name in sources:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, folder / target)
    return folder


def build(tree: Path) -> tuple[Path, Path]:
    """The wheel and the source archive of a tree, by the backend that pip calls, with what is installed here."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", BUILD], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next(tree.glob("dist/*.whl")), next(tree.glob("dist/*.tar.gz"))


def write_wheel(folder: Path, name: str, version: str, code: str) -> Path:
    """A wheel with one module of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**files, f"{about}/RECORD": record}.items():
            wheel.writestr(file, text)
    return path


def write_wheelhouse(folder: Path, names: Iterable[str]) -> Path:
    """Wheels of installed distributions and all that they need, packed again from where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted, seen = [Requirement(name) for name in names], set[str]()
    while wanted:
        requirement = wanted.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        _repack(distribution, folder)
        wanted += [Requirement(line) for line in distribution.requires or ()]
    return folder


def _repack(distribution: metadata.Distribution, folder: Path) -> None:
    lines = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line[:4] == "Tag:"]
    tag = "-".join(".".join(sorted(set(part))) for part in zip(*tags, strict=True))
    name = distribution.metadata["Name"].replace("-", "_").replace(".", "_")
    path = folder / f"{name}-{distribution.version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in distribution.files or ():
            if (
                ".." not in file.parts
                and "__pycache__" not in file.parts
                and file.locate().is_file()
            ):
                wheel.write(str(file.locate()), file.as_posix())
