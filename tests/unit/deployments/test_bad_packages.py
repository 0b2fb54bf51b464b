"""Every kind of bad package is refused with its own sentence at the push, and good ones of the same shapes are not."""

import random
from pathlib import Path

import pytest
import yaml

from cli.commands.deploy import PushRefused, _dry_load
from deployments.packages.names import check_model_name
from deployments.packages.package import Package
from kingpost.packing.config_file import PackageError
from kingpost.packing.files import files_of
from kingpost.packing.gathering import gather
from tests.unit.bad_packages import BAD, GOOD_MODEL, Bad
from workers.virtualenvs.build import _reason

CAP = 1 << 30


def push_check(folder: Path) -> Package:
    """What a push asks before it imports anything."""
    package = Package.accept(folder)
    (scratch := folder.parent / "scratch").mkdir(exist_ok=True)
    gather(package.root, CAP, scratch)
    return package


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.kind)
def test_it_is_refused_in_one_sentence(bad: Bad, tmp_path: Path) -> None:
    with pytest.raises(PackageError) as refused:
        push_check(bad.write(tmp_path / "package"))
    said = str(refused.value)
    assert bad.said in said
    assert "\n" not in said and "Traceback" not in said


def test_there_are_kinds_enough() -> None:
    assert len({bad.kind for bad in BAD}) == len(BAD) >= 55


def test_a_place_comes_with_its_line_and_a_caret(tmp_path: Path) -> None:
    for kind, excerpt in (
        ("colon", "    model_name: a: b\n                 ^"),
        ("syntax", "        def predict(self, x): -> int\n                              ^"),
    ):
        (bad,) = [package for package in BAD if package.kind == kind]
        with pytest.raises(PackageError) as refused:
            push_check(bad.write(tmp_path / kind))
        assert refused.value.excerpt == excerpt
        assert refused.value.shown == f"{refused.value}\n{excerpt}"


def test_generated_names_are_taken_or_hear_the_rule(tmp_path: Path) -> None:
    chance = random.Random(3)
    folder = Bad("good", "").write(tmp_path / "package")
    refused = 0
    for _ in range(300):
        name = "".join(chr(chance.choice((chance.randrange(1, 300), chance.randrange(0x250, 0xD7FF)))) for _ in range(chance.randrange(0, 260)))  # fmt: skip
        try:
            check_model_name(name)
        except PackageError:
            refused += 1
            continue
        (folder / "config.yaml").write_text(yaml.safe_dump({"model_name": name}))
        assert push_check(folder).model_name == name
    assert 0 < refused < 300


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (b"", "package"),
        (b"\xef\xbb\xbfmodel_name: x", "x"),
        ("model_name: Größe".encode(), "Größe"),
        (b"model_name: 'zai-org/GLM-5'", "zai-org/GLM-5"),
        (b"model_name: x\n...\n", "x"),
    ],
)
def test_what_is_only_unusual_is_taken(config: bytes, named: str, tmp_path: Path) -> None:
    assert push_check(Bad("good", "", config).write(tmp_path / "package")).model_name == named


def test_dates_reach_the_model_as_texts(tmp_path: Path) -> None:
    config = "model_metadata: {example_model_input: {day: 2024-02-28, at: 2024-02-28T10:00:00Z, 5: !!binary aGk=}}"
    package = push_check(Bad("good", "", config).write(tmp_path / "package"))
    given = {"day": "2024-02-28", "at": "2024-02-28T10:00:00+00:00", "5": "hi"}
    assert package.model_metadata["example_model_input"] == given


def test_a_link_to_a_file_of_the_package_is_stored_as_the_file(tmp_path: Path) -> None:
    folder = Bad("good", "").write(tmp_path / "package")
    (folder / "model" / "same.py").symlink_to("model.py")
    names = [path.relative_to(folder).as_posix() for path in files_of(folder)]
    assert names == ["config.yaml", "model/model.py", "model/same.py"]


def test_an_ignored_link_is_nobodys_business(tmp_path: Path) -> None:
    folder = Bad("good", "", make=lambda f: (f / "venv").symlink_to("/usr")).write(tmp_path / "p")
    (folder / ".gitignore").write_text("venv\n")
    assert len(files_of(folder)) == 2


def test_newer_python_is_not_judged_by_ours(tmp_path: Path) -> None:
    newer = GOOD_MODEL + "def first[T](of: list[T]) -> T:\n    return of[0]\n"
    assert push_check(Bad("good", "", "python_version: py313", newer).write(tmp_path / "p"))


@pytest.mark.parametrize(
    ("tail", "sentence"),
    [
        (
            [
                "Using Python 3.11.2 environment at: x",
                "  × No solution found when resolving dependencies:",
                "  ╰─▶ Because only numpy<=2.4 is available and you require numpy>99, we can",
                "      conclude that your requirements are unsatisfiable.",
            ],
            "No solution found when resolving dependencies: Because only numpy<=2.4 is available and you "
            "require numpy>99, we can conclude that your requirements are unsatisfiable.",
        ),
        (["Looking in indexes", "ERROR: No matching distribution found for nosuch", "", "[notice] x"],
         "ERROR: No matching distribution found for nosuch"),
        (["only this"], "only this"),
        ([""], "it said nothing"),
    ],
)  # fmt: skip
def test_the_installers_own_sentence_is_the_reason(tail: list[str], sentence: str) -> None:
    assert _reason(tail) == sentence


@pytest.mark.parametrize(
    ("requirements", "is_known"),
    [("[]", True), ("[pydantic]", True), ("[nosuch-package]", False), ("['./wheels']", False)],
)
def test_a_missing_module_is_refused_where_no_requirement_can_bring_it(
    requirements: str, is_known: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config, model = f"requirements: {requirements}", f"import nosuch\n{GOOD_MODEL}"
    package = push_check(Bad("lost", "", config, model).write(tmp_path / "package"))
    if is_known:
        with pytest.raises(PushRefused, match=r"No module named 'nosuch'; add it to requirements"):
            _dry_load(package, False)
    _dry_load(package, is_known)
    assert "add it to requirements" in capfd.readouterr().err


def test_the_check_leaves_nothing_in_the_users_folder(tmp_path: Path) -> None:
    package = push_check(Bad("tidy", "", "", GOOD_MODEL).write(tmp_path / "package"))
    before = sorted(package.root.rglob("*"))
    _dry_load(package, False)
    assert sorted(package.root.rglob("*")) == before
