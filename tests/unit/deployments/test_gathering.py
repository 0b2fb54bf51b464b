"""external_package_dirs outside of the package are taken along at a push, as Truss gathers them."""

import tarfile
from pathlib import Path

import pytest
import yaml

from deployments.packages.package import Package
from kingpost.packing import gathering
from kingpost.packing.config_file import PackageError
from kingpost.packing.files import content_hash, files_of
from kingpost.packing.gathering import gather
from tests.contract.host.running import write_package

MODEL = "import shared\nclass Model:\n    def predict(self, x): return shared.VALUE\n"
CAP = 1 << 20


def package_in(folder: Path, config: str = "external_package_dirs: [../common, own]") -> Package:
    for name, value in (
        ("common/shared.py", 1),
        ("common/deep/more.py", 2),
        ("package/own/o.py", 3),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"VALUE = {value}\n")
    return Package.load(write_package(folder / "package", MODEL, config))


def test_their_content_lands_in_packages_and_what_is_unpacked_is_a_package(tmp_path: Path) -> None:
    package = package_in(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    selection = gather(package.root, CAP, scratch)
    with (tmp_path / "tar").open("wb") as out:
        out.writelines(selection.tar())
    with tarfile.open(tmp_path / "tar") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    unpacked = Package.load(tmp_path / "unpacked")
    assert (unpacked.root / "packages" / "shared.py").read_text() == "VALUE = 1\n"
    assert (unpacked.root / "packages" / "deep" / "more.py").is_file()
    said = yaml.safe_load((unpacked.root / "config.yaml").read_text())
    assert said == {"external_package_dirs": ["own"]}
    assert content_hash(unpacked.root, files_of(unpacked.root)) == selection.content_hash


def test_a_package_without_them_is_taken_as_it_is(tmp_path: Path) -> None:
    package = package_in(tmp_path, "external_package_dirs: [own]  # a comment stays")
    selection = gather(package.root, CAP, tmp_path)
    assert selection.content_hash == content_hash(package.root, files_of(package.root))


def test_they_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST_FILES", 1)
    with pytest.raises(PackageError, match="is too large to be included"):
        gather(package_in(tmp_path).root, CAP, tmp_path)
