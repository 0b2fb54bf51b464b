"""How log lines and models are shown: found, in the order of time, within 80 columns, harmless."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.commands.models import table
from cli.local.listing import Row
from cli.log_lines import Line, LogFolder, Wanted, render
from deployments.registry.records import Deployment, Replica
from tasks.errors import NotFound
from tests.typed import typed
from workers.processes.lines import json_line

ID = "24ca3092e7bc4488a4913f9aefff97f1"
OTHER = "9" * 32


def line(message: str = "hello", **more: Any) -> Line:
    fields = {"ts": "2026-11-21T08:00:00.000+00:00", "level": "info", "model": "m"}
    fields |= {"message": message, **more}
    return Line(json.dumps(fields), fields)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KINGPOST_STATE_DIR", str(tmp_path))
    folder = tmp_path / "logs"
    folder.mkdir()
    first = [line("one", request_id=ID), line("two", request_id=OTHER), line("three")]
    (folder / "replica-m.log").write_text("not JSON\n" + "".join(o.raw + "\n" for o in first))
    late = {"timestamp": "2026-11-21T07:59:59.5Z", "event": "job.finished", "request_id": ID,
            "model": "n", "status": "FAILED"}  # fmt: skip
    (folder / "replica-n.log.1").write_text(json.dumps(late) + "\n")
    (folder / "replica-n.log").write_text("")
    return folder


def shown(*arguments: str) -> list[str]:
    result = typed(["logs", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return [text for text in result.stdout.splitlines() if not text.startswith("-- ")]


def test_lines_of_a_model_or_a_request_in_the_order_of_time(state: Path) -> None:
    assert [text[24:] for text in shown("m")] == ["one", "two", "three"]
    assert [text[24:] for text in shown("m", "-n", "2")] == ["two", "three"]
    assert [text[24:] for text in shown(ID)] == ["job.finished status=FAILED", "one"]
    assert shown(ID[:8]) == shown(ID)
    assert all(text[15:23] == ID[:8] for text in shown(ID))
    raw = [json.loads(text) for text in shown("m", "--json")]
    assert [line["message"] for line in raw] == ["one", "two", "three"]


def test_what_nothing_is_about_is_said_with_what_there_is(state: Path) -> None:
    with pytest.raises(NotFound, match=r"about 'nope' \(models there: m\)"):
        typed(["logs", "nope"], catch_exceptions=False)


def test_a_line_is_wrapped_below_its_message() -> None:
    text = render(line("word " * 40, request_id=ID), 80).splitlines()
    assert len(text) > 3
    assert all(len(line) <= 80 for line in text)
    assert all(line.startswith(" " * 24 + "word") for line in text[1:])
    assert len(render(line("word " * 40), None).splitlines()) == 1


def test_a_traceback_stands_below_its_message() -> None:
    trace = 'Traceback (most recent call last):\n  File "model.py", line 1\nKeyError: 1\n'
    text = render(line("failed", traceback=trace, level="error"), 80).splitlines()
    assert text[0][24:] == "failed" and text[0][9:14] == "error"
    assert text[1:] == ["  " + line for line in trace.splitlines()]


def test_frames_have_the_width_of_the_terminal_and_keep_their_depth() -> None:
    where = '  File "/srv/models/a-model-of-some-length/model/model.py", line 12, in predict'
    long = f"    raise ValueError({'very long text ' * 6!r})"
    said = line("failed", traceback=f"Frames:\n{where}\n{long}\nValueError: 1")
    text = render(said, 82).splitlines()
    assert text[2] == f"  {where}" and text[-1] == "  ValueError: 1"
    assert len(text) == 6 and all(len(shown) <= 82 for shown in text)
    assert text[3].startswith("      raise ValueError(") and text[4].startswith("        ")
    assert render(said, None).splitlines()[3] == f"  {long}"


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = render(line("a\x1b[31mred\x07\tb\r\u202ec"), 80)
    assert text[24:] == "a\\x1b[31mred\\x07    b\\r\\u202ec"


def test_files_that_appear_later_are_read_from_their_beginning(state: Path) -> None:
    reader = LogFolder(state, Wanted("m"))
    assert len(reader.past(10)) == 3
    (state / "replica-new.log").write_text(line("late").raw + "\n" + line("half").raw[:20])
    assert [line.fields["message"] for line in reader.fresh()] == ["late"]
    with (state / "replica-new.log").open("a") as file:
        file.write(line("half").raw[20:] + "\n")
    assert [line.fields["message"] for line in reader.fresh()] == ["half"]


def test_what_is_no_json_line_becomes_one() -> None:
    whole = line("x").raw
    assert json_line(whole, "m") == whole
    made = json.loads(json_line('printed by C "code"', "m"))
    assert (made["model"], made["message"]) == ("m", 'printed by C "code"')


def row(name: str, *replicas: tuple[str, str | None]) -> Row:
    deployment = Deployment("dddddddd", "m9v6enbt", name, "model", 2, "/p", "h", 0)
    made = [
        Replica(f"r{i}", "dddddddd", name, state, error, "/s", 2, 0, 1, None)  # type: ignore[arg-type]
        for i, (state, error) in enumerate(replicas)
    ]
    return Row(deployment, made, 1234567, 12)


def models_shown(rows: list[Row]) -> list[str]:
    return table([row.line for row in rows], 80)


def test_the_table_of_models_fits_80_columns() -> None:
    error = 'Traceback:\n  File "model.py"\nValueError: ' + "no weights " * 40
    rows = [
        row("echo", ("ready", None), ("failed", error)),
        row("a-model-with-a-name-that-does-not-end-" * 2, ("failed", error)),
        row("asleep"),
        row("fresh", ("building", None), ("failed", None)),
    ]
    text = models_shown(rows)
    assert all(len(line) <= 80 for line in text), text
    ids = ["m9v6enbt", "dddddddd"]
    assert text[1].split() == ["echo", *ids, "-", "ready", "2", "1234567", "12"]
    assert text[2].startswith("  ValueError: no weights")
    assert text[5] == rows[1].deployment.model_name  # whole
    assert [line.split()[4] for line in text if "asleep" in line or "fresh" in line] == [
        "stopped",
        "building",
    ]


def test_two_deployments_of_a_model_are_told_apart_within_80_columns() -> None:
    names = ("a-model-of-some-length", "echo")
    rows = [
        replace(row(name, ("ready", None)), serves=serves, queued=123456)
        for name in names
        for serves in ("production", "(production soon)")
    ]
    text = models_shown(rows[:1] + rows[2:3])
    assert all(len(line) <= 80 for line in text), text
    assert text[0].split() == [
        "model", "id", "deployment", "serves", "state", "slots", "queued", "running",
    ]  # fmt: skip
    assert text[1] == names[0]
    assert text[2].split()[1:4] == ["dddddddd", "production", "ready"]
    assert text[3].split()[0] == "echo"
    soon = models_shown(rows)
    assert all(len(line) <= 80 for line in soon), soon
    assert sum("(production soon)" in line for line in soon) == 2


def test_a_paused_or_deactivated_model_says_so_and_what_lets_it_run() -> None:
    ready = row("echo", ("ready", None))
    paused = replace(ready, paused=True)
    assert (ready.state, paused.state) == ("ready", "paused")
    assert paused.remark == "its queue waits for: kingpost resume echo"
    assert replace(row("echo", ("failed", "no weights")), paused=True).state == "failed"
    off = replace(row("echo"), deployment=replace(ready.deployment, active=False))
    assert (off.state, off.remark) == ("inactive", "deactivated: kingpost activate dddddddd")
    assert replace(row("echo"), deployment=replace(ready.deployment, wanted=0)).state == "asleep"
