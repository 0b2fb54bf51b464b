"""The reader of packages' archives: the same files in and out, and a sentence for each hostile one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.packages.archive import Limits, sketch, unpack, verify
from kingpost.packing.config_file import PackageError
from kingpost.packing.files import folder_hash, selection_of
from tests.unit.deployments import archives

LIMITS = Limits(entries=5_000, size=10_000_000, file_size=5_000_000)


def in_pieces(archive: bytes, size: int) -> Iterator[bytes]:
    for begin in range(0, len(archive), size):
        yield archive[begin : begin + size]


@pytest.mark.parametrize("size", [1, 7, 512, 513, 1 << 20])
def test_pieces_of_any_size_are_one_archive(tmp_path: Path, size: int) -> None:
    unpack(in_pieces(archives.good(), size), archives.content_hash(), LIMITS, tmp_path)
    found = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*.*")}
    assert found == archives.FILES


def test_what_a_push_writes_comes_out_again(tmp_path: Path) -> None:
    """Long and odd names, an executable file, an empty one."""
    root, to = tmp_path / "from", tmp_path / "to"
    names = (
        "config.yaml",
        "ü/ñ" * 30,
        "x" * 200,
        "deep/" * 30 + "file",
        "line\nend",
        "empty",
        "run",
    )
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"%d" % number * number)
    (root / "run").chmod(0o755)
    selection = selection_of(root, {name: root / name for name in names})
    to.mkdir()
    archive = b"".join(selection.tar())
    assert len(archive) == selection.tar_size
    for offset in (0, 1, 511, 512, 700, 5000, len(archive) - 600, len(archive)):
        assert b"".join(selection.tar(offset)) == archive[offset:]
    unpack(in_pieces(archive, 1000), selection.content_hash, LIMITS, to)
    assert folder_hash(to) == selection.content_hash
    assert [(to / name).stat().st_mode & 0o777 for name in ("run", "empty")] == [0o755, 0o644]


@pytest.mark.parametrize("kind", archives.HOSTILE)
def test_a_hostile_archive_is_refused_with_a_sentence(tmp_path: Path, kind: str) -> None:
    archive, sentence = archives.HOSTILE[kind]
    inside = tmp_path / "inside"
    inside.mkdir()
    for attempt in (
        lambda: verify(in_pieces(archive, 700), archives.content_hash(), LIMITS),
        lambda: unpack(in_pieces(archive, 700), archives.content_hash(), LIMITS, inside),
    ):
        with pytest.raises(PackageError) as refused:
            attempt()
        assert sentence in str(refused.value)
        assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [inside]  # nothing was written outside


def test_too_many_entries_are_noticed_before_they_are_read() -> None:
    given = 0

    def counted() -> Iterator[bytes]:
        nonlocal given
        for piece in archives.many(1_000_000):
            given += 1
            yield piece

    with pytest.raises(PackageError, match="more than 5000 files and folders"):
        verify(counted(), "", LIMITS)
    assert given <= 5_001


def test_folders_that_nobody_named_count_as_well() -> None:
    with pytest.raises(PackageError, match="more than 5000 files and folders"):
        verify(archives.many(200, "%06d/" + "d/" * 40 + "f"), "", LIMITS)


def test_bytes_are_bounded_in_one_file_and_in_all() -> None:
    with pytest.raises(PackageError, match="big has 5000001 bytes, above the limit of 5000000"):
        verify([archives.header("big", 5_000_001)], "", LIMITS)
    three = (archives.file(name, bytes(4_000_000)) for name in "abc")
    with pytest.raises(PackageError, match="more than 10000000 bytes"):
        verify(three, "", LIMITS)


def test_a_sketch_has_the_code_and_the_names_of_all_else(tmp_path: Path) -> None:
    files = {**archives.FILES, "weights/big.bin": b"x" * 5000}
    sketch(in_pieces(archives.good(files), 1000), LIMITS, tmp_path)
    assert (tmp_path / "config.yaml").read_bytes() == files["config.yaml"]
    assert (tmp_path / "model/model.py").read_bytes() == files["model/model.py"]
    assert (tmp_path / "weights/big.bin").read_bytes() == b""
