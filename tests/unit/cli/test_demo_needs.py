"""What the demo asks for before it starts anything, and the two names of a list."""

import importlib.util
from pathlib import Path

import pytest

from cli.commands import demo
from cli.live import chat
from tests.typed import typed


def test_the_demo_says_what_it_lacks_before_it_starts_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "running", lambda *_: pytest.fail("it started"))
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


def test_so_does_its_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "running", lambda *_: pytest.fail("it started"))
    with pytest.raises(
        chat.ChatFailed, match=r"no folder .*extra/chat, .* clone of the repository"
    ):
        chat.run(tmp_path)
    package = tmp_path / "extra" / "chat"
    package.mkdir(parents=True)
    with pytest.raises(chat.ChatFailed, match=r"config.yaml cannot be read"):
        chat.run(tmp_path)
    (package / "config.yaml").write_text("environment_variables: {CHAT_WEIGHTS: there}")
    with pytest.raises(
        chat.ChatFailed, match=r"not in .*chat/there: python .*extra/fetch.py chat brings them"
    ):
        chat.run(tmp_path)
    monkeypatch.setattr(chat, "NEEDS", ("no_such_module",))
    with pytest.raises(
        chat.ChatFailed, match=r"needs no_such_module: pip install 'kingpost\[models\]'"
    ):
        chat.run(tmp_path)


@pytest.mark.parametrize("group", ["keys", "jobs", "webhooks", "webhook-secret"])
def test_a_list_has_both_names(group: str) -> None:
    for name in ("ls", "list"):
        assert typed([group, name, "--help"]).exit_code == 0
    assert typed([group, "lists", "--help"]).exit_code == 2
