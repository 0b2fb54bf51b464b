"""What an owner is told of a model's exception: bounded, readable, and never more than the exception says itself."""

import asyncio
import traceback
from pathlib import Path

import pytest

from deployments.packages.package import Package
from tasks.api_keys import Scope, sees_model_errors
from tasks.job import Job, JobError, RequestId, Retry
from tasks.settings import Settings
from tasks.state import ErrorCode, Status
from tasks.store import records
from tests.unit.bad_packages import Bad
from workers.host.model.failure import MOST_BYTES, describe
from workers.host.model.loader import Surroundings
from workers.host.state import ModelHost
from workers.hosting.client import HostAnswer
from workers.replica.classify import RetryLater, classify

MODEL = """
secret = "s3cret-value"

class Unreadable(Exception):
    def __str__(self):
        raise KeyError("no text")

def plain(value):
    raise ValueError("no such digit")

def caused(value):
    try:
        {}["weight"]
    except KeyError as error:
        raise RuntimeError("cannot load") from error

def deep(value):
    deep(value)

def long(value):
    raise ValueError("é" * 10_000)

def surrogate(value):
    raise ValueError("caf\\udce9.png")

def unreadable(value):
    raise Unreadable
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    file = tmp_path_factory.mktemp("package") / "model.py"
    file.write_text(MODEL)
    names: dict[str, object] = {}
    exec(compile(MODEL, file, "exec"), names)
    return names


def raised(code: dict[str, object], name: str) -> str:
    try:
        code[name]("an input of a client")  # type: ignore[operator]
    except Exception as error:
        return describe(error, "model.py")
    raise AssertionError("it raises")


def test_class_message_and_the_frames_from_the_model_s_file_downward(
    code: dict[str, object],
) -> None:
    head, frame, line = raised(code, "plain").splitlines()
    assert head == "ValueError: no such digit"
    assert frame.endswith('model.py", line 9, in plain')
    assert line.strip() == 'raise ValueError("no such digit")'
    assert "test_model_failure" not in frame, "a caller's frames are left out"


def test_a_cause_is_told_and_values_are_not(code: dict[str, object]) -> None:
    text = raised(code, "caused")
    assert text.startswith("RuntimeError: cannot load\n")
    assert "\ncaused by KeyError: 'weight'\n" in text
    assert "an input of a client" not in text and "s3cret" not in text


@pytest.mark.parametrize("name", ["deep", "long", "surrogate", "unreadable"])
def test_whatever_is_raised_the_text_is_short_and_can_be_encoded(
    code: dict[str, object], name: str
) -> None:
    text = raised(code, name)
    assert len(text.encode()) <= MOST_BYTES
    assert text.splitlines()[0].partition(":")[0] in ("RecursionError", "ValueError", "Unreadable")
    if name == "deep":
        assert " more ..." in text
    if name == "surrogate":
        assert text.startswith("ValueError: caf\\udce9.png")


def test_frames_of_libraries_are_shown_without_their_folder() -> None:
    try:
        pytest.importorskip("pydantic").TypeAdapter(int).validate_python("x")
    except Exception as error:
        shown = describe(error, "type_adapter.py")
        assert 'File "pydantic/type_adapter.py"' in shown
        assert "site-packages" in traceback.format_exc()
    else:
        raise AssertionError("it raises")


JOB = Job(RequestId("0" * 32), Status.IN_PROGRESS, "d", "m", "k", 0, 1, Retry(), 0, 0)


class _Head:
    """An output that has come as a whole."""

    failure, ref, head_only = "", "", True

    def __init__(self, head: bytes) -> None:
        self.head = head


def verdict_of(output: bytes, failure: str = "", detailed: bool = True) -> JobError:
    answer = HostAnswer(_Head(output), status=500, failure=failure)  # type: ignore[arg-type]
    verdict = classify(JOB, answer, detailed)
    assert isinstance(verdict, RetryLater)
    return verdict.error


GENERIC = "Internal Server Error (in model/chainlet)."
BROKEN_STREAM = b'{"error":"Unhandled exception: ValueError: mid"}'
CHAINLET = b"""{"error": {"exception_cls_name": "ValueError", "exception_message": "bad", "exception_module_name": null,
 "user_stack_trace": [{"filename": "chain.py", "lineno": 3, "name": "run_remote", "line": "raise ValueError"}]}}"""


def test_everybody_reads_a_general_sentence_and_the_detail_is_apart() -> None:
    error = verdict_of(BROKEN_STREAM, "ValueError: mid\n  File ...")
    assert (error.code, error.message) == (ErrorCode.MODEL_PREDICT_ERROR, GENERIC)
    assert error.told(detailed=True) == "ValueError: mid\n  File ..."
    assert error.told(detailed=False) == GENERIC


def test_a_chainlet_s_error_is_told_like_a_model_s() -> None:
    error = verdict_of(CHAINLET)
    assert error.message == GENERIC
    assert error.detail == (
        'ValueError: bad\n  File "chain.py", line 3, in run_remote\n    raise ValueError'
    )


def test_what_nobody_may_read_is_not_stored() -> None:
    error = verdict_of(CHAINLET, "ValueError: mid", detailed=False)
    assert records.error_json(error) == records.error_json(
        JobError(ErrorCode.MODEL_PREDICT_ERROR, GENERIC)
    )
    assert "detail" not in records.error_json(error)


@pytest.mark.parametrize(
    ("setting", "scope", "sees"),
    [
        ("all", "inference", True),
        ("owner", "full", True),
        ("owner", "deploy", True),
        ("owner", "admin", True),
        ("owner", "inference", False),
        ("owner", "metrics", False),
        ("owner", None, False),
        ("none", "full", False),
        ("none", "admin", False),
    ],
)
def test_the_setting_says_who_reads_it(setting: str, scope: Scope | None, sees: bool) -> None:
    settings = Settings.load({"KINGPOST_MODEL_ERRORS": setting})
    assert sees_model_errors(settings, scope) is sees


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("ValueError('\\ud800' + 'x' * 100_000)", "ValueError: \\ud800x"),
        ("Odd()", "Odd: (its message cannot be read: KeyError)"),
        ("RuntimeError()", "RuntimeError"),
        ("KeyboardInterrupt()", "KeyboardInterrupt"),
    ],
)
def test_a_load_that_fails_in_an_odd_way_is_told_and_bounded(
    raised: str, said: str, tmp_path: Path
) -> None:
    odd = "class Odd(Exception):\n    def __str__(self): raise KeyError\n"
    load = f"class Model:\n    def load(self): raise {raised}\n    def predict(self, x): return x\n"
    host = ModelHost(
        Package.load(Bad("odd", "", model=odd + load).write(tmp_path / "odd")),
        Surroundings(load_retries=0),
    )

    async def loaded() -> None:
        host.start_loading()
        await host.wait_loaded()

    asyncio.run(loaded())
    assert host.failure is not None and host.state == "failed"
    assert host.failure.message.startswith(said) and len(host.failure.message) < 2000
    assert host.failure.traceback.encode().decode()  # fit for the wire
