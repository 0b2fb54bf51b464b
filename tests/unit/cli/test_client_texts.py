"""Inputs from `-i`, outputs into files, and the templates of `kingpost init`, without a server."""

import base64
import json
from pathlib import Path

import pytest

from cli.accepting import accepted
from cli.client import following
from cli.client.init import EXAMPLES, init
from cli.client.inputs import BadInput, model_input
from cli.client.outputs import write
from kingpost.packing.files import files_of
from kingpost.records import JobStatus, Output
from kingpost.streams.events import Event
from tasks.settings import Settings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
IN_BASE64 = base64.b64encode(PNG).decode()


def test_values_are_json_where_they_can_be(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "more.json").write_text('{"n": 2, "deep": {"x": null}}')
    given = ["n=1", "text=a=b", "list=[1, 2]", 'word="7"', "no=", f"@{tmp_path}/more.json"]
    assert model_input([*given, f"image=@{tmp_path}/a.png", f"j=@{tmp_path}/more.json"]) == {
        "n": 2, "text": "a=b", "list": [1, 2], "word": "7", "no": "", "deep": {"x": None},
        "image": IN_BASE64, "j": {"n": 2, "deep": {"x": None}},
    }  # fmt: skip
    assert model_input([]) == {}
    assert model_input(['"text"']) == "text" and model_input(["[1]"]) == [1]
    assert model_input(['{"a": 1}', "b=2"]) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["Ada"], "neither KEY=VALUE, @FILE.json nor JSON"),
        (["=1"], "neither"),
        (["[1]", "a=1"], "is not an object"),
        (["{a: 1}"], "is not JSON"),
    ],
)
def test_an_input_that_cannot_be_read_is_one_sentence(given: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        model_input(given)


def output(value: object) -> Output:
    return Output(json.dumps(value).encode(), "application/json; charset=utf-8")


def test_files_in_json_are_written_decoded_and_anything_else_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    assert write(output({"image": IN_BASE64, "seed": 1, "note": "abcd"}), out) == [out]
    assert out.read_bytes() == PNG
    write(output(f"data:image/png;base64,{IN_BASE64}"), out)
    assert out.read_bytes() == PNG
    names = write(output({"images": [IN_BASE64, IN_BASE64]}), out)
    assert [name.name for name in names] == ["out-1.png", "out-2.png"]
    write(output({"text": "aGVsbG8="}), out)
    assert json.loads(out.read_text()) == {"text": "aGVsbG8="}
    write(Output(PNG, "application/octet-stream"), out)
    assert out.read_bytes() == PNG
    write(output({"image": IN_BASE64}), tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == {"image": IN_BASE64}


@pytest.mark.parametrize("template", EXAMPLES)
def test_each_template_passes_the_checks_of_a_push(template: str, tmp_path: Path) -> None:
    init(tmp_path / "yes", template)
    package = accepted(Settings(state_dir=tmp_path / "state"), tmp_path / "yes", ())
    assert (package.model_name, package.warnings) == ("yes", ())
    assert files_of(package.root)
    example = package.model_metadata["example_model_input"]
    assert isinstance(example, dict)
    for word in example:
        assert template == "minimal" or f"{word}" in "".join(
            path.read_text() for path in (tmp_path / "yes").rglob("*.py")
        )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"waiting_for": "slot", "queue_position": 3}, "queued, 3 ahead"),
        (
            {"waiting_for": "paused", "queue_position": 0},
            "queued, waits for the model to be resumed",
        ),
        (
            {"waiting_for": "load_failed", "waiting_reason": "frames\nOSError: \x1b[31mno weights"},
            "queued, waits for the model, which could not be loaded: OSError: \\x1b[31mno weights",
        ),
        ({"status": "IN_PROGRESS"}, "in progress"),
    ],
)
def test_who_follows_a_request_reads_why_it_waits(said: dict[str, object], words: str) -> None:
    known = {"request_id": "r", "status": "QUEUED", "deployment_id": "d", "priority": 0, **said}
    assert following._waiting(JobStatus.of(known)) == words


def test_a_request_that_has_gone_on_since_was_queued_then() -> None:
    class Gone:
        @staticmethod
        def status() -> JobStatus:
            known = {"request_id": "r", "status": "SUCCEEDED", "deployment_id": "d", "priority": 0}
            return JobStatus.of(known)

    def words(status: str) -> str:
        event = Event("0-0", "status", json.dumps({"status": status, "attempt": 1}))
        return following._status_words(event, Gone())  # type: ignore[arg-type]

    assert [words(status) for status in ("QUEUED", "IN_PROGRESS", "SUCCEEDED")] == [
        "queued", "in progress", "succeeded",
    ]  # fmt: skip
