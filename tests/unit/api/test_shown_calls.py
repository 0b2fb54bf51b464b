"""The commands that the console shows: somebody pastes them into a shell, and a model's name is any printable text."""

import json
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from api.console.code import Called, How, calls

GIVEN = '{"a": "it\'s; $(touch owned)"}'
SAY = 'say() { printf "%s\\n" "$@"; }; curl() { say "$@"; case "$*" in *" @-") cat;; esac; }; kingpost() { say "$@"; case "$*" in *" @-"*) cat;; esac; }; KINGPOST_API_KEY=KEY; '
NAMES = ["echo", "two words", "a;touch owned", "$(touch owned)", "`x`'\"#&"]


def pasted(text: str, folder: Path) -> list[str]:
    return subprocess.run(
        ["sh", "-c", SAY + text], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_what_somebody_pastes_runs_nothing_else(name: str, tmp_path: Path) -> None:
    shown = calls(Called("http://x", name, "d1", GIVEN, "async", 1))
    curl, kingpost = (pasted(shown[where], tmp_path) for where in ("curl", "kingpost"))
    address = f"http://x/models/{quote(name, safe='')}/deployment/d1/async_predict"
    assert curl[:4] == [address, "-H", "Authorization: Api-Key KEY", "-d"]
    assert len(curl) == 5
    assert json.loads(curl[4]) == {"model_input": json.loads(GIVEN), "priority": 1}
    assert kingpost[:2] == ["predict", name] and kingpost[-1] == GIVEN
    compile(shown["Python"], "pasted", "exec")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["sync", "stream", "async"])
@pytest.mark.parametrize(
    "text", ["5", "-1", "null", '"x=y"', '["@file"]', "[NaN, -Infinity]", '"\\ud800"']
)
def test_any_input_is_pasted_as_it_is(text: str, how: How, tmp_path: Path) -> None:
    shown = calls(Called("http://x", "-m", "d1", text, how, 2))
    for where in ("curl", "kingpost"):
        assert text in "\n".join(pasted(shown[where], tmp_path)), where
    seen: list[object] = []

    class Client:
        def __init__(self, url: str) -> None:
            assert url == "http://x"

        def submit(self, _: str, given: object, **more: object) -> "Client":
            assert more.pop("priority", 2) == 2 and more == {"deployment": "d1"}
            seen.append(given)
            return self

        def result(self) -> str:
            return "done"

        def stream(self, name: str, given: object, **more: object) -> list[str]:
            self.submit(name, given, **more)
            return []

        run = submit

    told = shown["Python"].replace("from kingpost import Client", "")
    exec(compile(told, "pasted", "exec"), {"Client": Client})
    assert repr(seen) == repr([json.loads(text)])


def test_an_input_that_nests_too_deep_is_read_from_a_file() -> None:
    text = '{"a":' * 390 + "1" + "}" * 390
    shown = calls(Called("http://x", "m", "d1", text, "async", 2))
    assert 'open("input.json")' in shown["Python"] or text.count("{") == shown["Python"].count("{")
    deepest = "[" * 990 + "]" * 990
    assert 'open("input.json")' in calls(Called("http://x", "m", "d1", deepest))["Python"]


def test_a_long_input_is_read_from_a_file(tmp_path: Path) -> None:
    given = {"text": "it's " * 1000}
    (tmp_path / "input.json").write_text(json.dumps(given))
    shown = calls(Called("http://x", "m", "d1", json.dumps(given), "async", 2))
    said = pasted(shown["curl"], tmp_path)
    assert json.loads(said[-1]) == {"model_input": given, "priority": 2}
    assert pasted(shown["kingpost"], tmp_path)[-1] == "@input.json"
    assert 'open("input.json")' in shown["Python"]
