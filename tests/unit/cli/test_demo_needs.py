"""What the demo asks for before it starts anything, and the two names of a list."""

import importlib.util
from pathlib import Path

import pytest

from cli.commands import demo
from tests.typed import typed


def test_the_demo_says_what_it_lacks_before_it_starts_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_start", lambda *_: pytest.fail("it started"))
    with pytest.raises(
        demo.DemoFailed, match=r"no folder .*digits, .* clone of the repository, or .* --models"
    ):
        demo.run(tmp_path, tmp_path / "out.png")
    (tmp_path / "digits").mkdir()
    monkeypatch.setattr(demo, "NEEDS", ("no_such_module",))
    assert importlib.util.find_spec("no_such_module") is None
    with pytest.raises(
        demo.DemoFailed, match=r"needs no_such_module: pip install 'kingpost\[models\]'"
    ):
        demo.run(tmp_path, tmp_path / "out.png")


@pytest.mark.parametrize("group", ["keys", "jobs", "webhooks", "webhook-secret"])
def test_a_list_has_both_names(group: str) -> None:
    for name in ("ls", "list"):
        assert typed([group, name, "--help"]).exit_code == 0
    assert typed([group, "lists", "--help"]).exit_code == 2
