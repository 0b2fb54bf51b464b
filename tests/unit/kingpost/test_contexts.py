"""Which server a client takes, and the file that `kingpost login` writes."""

import os
import stat
from pathlib import Path

import pytest

from kingpost import NotConfigured
from kingpost.contexts import Contexts, Server, address, checked_key, chosen, needed

FAR = Server("https://far.example.com", "far-key", "far")
NEAR = Server("http://127.0.0.1:8000", "near-key", "near")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("KINGPOST_URL", "KINGPOST_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config" / "kingpost"


def test_only_the_owner_can_read_the_file_and_each_change_replaces_it_whole(home: Path) -> None:
    path = Contexts.read().with_server(FAR).write()
    assert path == home / "contexts.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    Contexts.read().with_server(NEAR).write()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Contexts.read() == Contexts({"far": FAR, "near": NEAR}, "near")
    Contexts.read().using("far").without("near").write()
    assert Contexts.read().current == FAR
    assert [entry.name for entry in home.iterdir()] == ["contexts.json"]


def test_a_lax_umask_opens_no_file_and_a_file_that_others_can_read_is_closed(home: Path) -> None:
    before = os.umask(0)
    try:
        path = Contexts.read().with_server(FAR).write()
    finally:
        os.umask(before)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(home.stat().st_mode)) == (0o600, 0o700)
    path.chmod(0o644)
    assert Contexts.read().current == FAR
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_given_wins_over_variables_and_these_over_the_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert chosen() is None
    Contexts.read().with_server(NEAR).with_server(FAR).write()
    assert chosen() == FAR
    monkeypatch.setenv("KINGPOST_API_KEY", "variable")
    assert chosen() == Server(FAR.url, "variable", "far")
    monkeypatch.setenv("KINGPOST_URL", "http://other:1")
    assert chosen() == Server("http://other:1", "variable")
    assert chosen("http://given:2", "given") == Server("http://given:2", "given")


def test_a_contexts_key_goes_to_its_own_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Contexts.read().with_server(NEAR).with_server(FAR).write()
    assert chosen("http://127.0.0.1:8000/") == NEAR
    with pytest.raises(NotConfigured, match=r"No key is known for http://evil\.example"):
        chosen("http://evil.example")
    monkeypatch.setenv("KINGPOST_URL", "http://127.0.0.1:8001")
    with pytest.raises(NotConfigured, match=r"kingpost login http://127\.0\.0\.1:8001"):
        needed()


def test_without_any_of_them_it_is_one_sentence() -> None:
    with pytest.raises(NotConfigured, match=r"^No server is known; use `kingpost login URL`"):
        needed()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"contexts": 1, "current": ""}', '{"contexts": {"a": {"url": "x"}}}']
)
def test_a_damaged_file_is_told_and_left(content: str, home: Path) -> None:
    home.mkdir(parents=True)
    (home / "contexts.json").write_text(content)
    with pytest.raises(NotConfigured, match="is damaged or not of `kingpost login`; remove it"):
        Contexts.read()
    assert (home / "contexts.json").read_text() == content


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("HTTP://Host:80/", "http://host"),
        ("https://host:8000", "https://host:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_has_one_form(text: str, plain: str) -> None:
    assert address(text) == plain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host:8000", "it looks like https://"),
        ("ftp://host", "it looks like https://"),
        ("http://", "it looks like https://"),
        ("http://host:port", "is not an address"),
        ("http://host/v1/models", "has a path; give the address of the server alone: http://host."),
        ("http://user:key@host", "the key is given apart from it"),
        ("http://host?key=1", "the key is given apart from it"),
    ],
)
def test_anything_else_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        address(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\nb", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(NotConfigured, match="is not an API key"):
        checked_key(key)
    assert checked_key(" kp_a.b\n") == "kp_a.b"
