"""Tables at 80 columns: no id, name or limit is ever cut."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.tables import lines
from tasks.api_keys import Limits
from tasks.settings import Settings
from tests.api_keys import ApiKeys

HEAD = ("id", "name", "scope", "only", "state")
LONG = "a name that somebody wrote with great care " * 5
LIMITS = "echo, talker, submits_per_minute=100000, max_unfinished=100000, max_running=100000"
ROWS = [("0123abcd", LONG, "inference", LIMITS, "valid"), ("4567cdef", "b", "full", "-", "revoked")]


def test_what_does_not_fit_stands_below_its_row_and_whole() -> None:
    head, first, name, only, second, short = lines(HEAD, ROWS, 80)
    assert head.split() == ["id", "scope", "state"]
    assert first.split() == ["0123abcd", "inference", "valid"]
    assert (name, only) == (f"  name: {LONG}", f"  only: {LIMITS}")
    assert second.split() == ["4567cdef", "full", "revoked"]
    assert short == "  name: b"


def test_what_fits_is_one_line_each() -> None:
    said = lines(HEAD, ROWS[1:], 80)
    assert [line.split() for line in said] == [list(HEAD), list(ROWS[1])]
    assert max(map(len, said)) <= 80


def test_a_long_name_in_the_first_column_stands_above_its_row_and_a_note_below() -> None:
    rows = [("n" * 200, "0123abcd", "ready"), ("echo", "4567cdef", "failed")]
    said = lines(("model", "id", "state"), rows, 80, [[], ["No weights."]])
    assert said[1] == "n" * 200
    assert said[2].split() == ["0123abcd", "ready"]
    assert said[3].split() == ["echo", "4567cdef", "failed"]
    assert said[4] == "  No weights."


def test_a_cell_steers_no_terminal_and_wide_characters_keep_the_columns() -> None:
    rows = [("模型", "a\x1b]0;title\x07\nb"), ("echo", "c")]
    head, wide, narrow = lines(("model", "state"), rows, 80)
    assert wide == "模型   a\\x1b]0;title\\x07 b"
    assert narrow == "echo   c" and head == "model  state"


def test_the_state_of_a_key_stands_beside_it_and_its_limits_below(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINGPOST_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("KINGPOST_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    limits = Limits(submits_per_minute=100, max_unfinished=1000)
    ApiKeys(settings).create("a customer", "inference", ("digits",), (), 3600.0, limits)
    head, key, only = CliRunner().invoke(app, ["keys", "list"]).stdout.splitlines()
    assert head.split() == ["id", "name", "scope", "state", "created"]
    assert key.split()[1:4] == ["a", "customer", "inference"] and " until " in key
    assert only == "  only: digits, submits_per_minute=100, max_unfinished=1000"
    assert max(map(len, (head, key, only))) <= 80
