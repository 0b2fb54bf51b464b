"""`kingpost demo`, the first command of the README: it draws, urgent ones first, saves the picture and leaves nothing running."""

import re
from pathlib import Path

import pytest
from PIL import Image

from cli.commands import demo
from cli.stack.start_failed import StartFailed
from tests.contract.host.running import write_package
from tests.wheels import ROOT

pytestmark = pytest.mark.stack

DRAWS = """
import base64, io, os, threading
from PIL import Image

class Model:
    def predict(self, given):
        while not os.path.exists({gate!r}):
            threading.Event().wait(0.02)
        png = io.BytesIO()
        Image.new("L", (16, 16), 20 * given["digit"]).save(png, "PNG")
        return {{"image": base64.b64encode(png.getvalue()).decode()}}
"""
ROW = re.compile(r"^ *\d+ +(\d) +([02]) +\d+\.\d\d +\d+\.\d\d +[0-9a-f]{32} *$", re.MULTILINE)


def drawn(said: str) -> list[tuple[int, int]]:
    """Digit and priority of each row of the table, in the order in which they ran."""
    return [(int(digit), int(priority)) for digit, priority in ROW.findall(said)]


def test_ten_drawings_come_urgent_ones_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gate, submit = tmp_path / "gate", demo._submit
    write_package(
        tmp_path / "models" / "digits", DRAWS.format(gate=str(gate)), "model_name: digits\n"
    )

    def submit_all(api: demo.Api) -> list[demo.Job]:
        jobs = submit(api)
        gate.touch()  # the first one draws until all are queued
        return jobs

    monkeypatch.setattr(demo, "_submit", submit_all)
    demo.run(tmp_path / "models", tmp_path / "demo.png")
    said = capsys.readouterr().out
    assert drawn(said) == [(0, 2), *((n, 0) for n in (6, 7, 8, 9)), *((n, 2) for n in range(1, 6))]
    assert said.rstrip().endswith("Stopped. `make up` runs the same stack until Ctrl-C.")
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.size == (80, 32)
        assert [sheet.getpixel((16 * (n % 5), 16 * (n // 5))) for n in range(10)] == [20 * n for n in range(10)]  # fmt: skip


@pytest.mark.slow
def test_the_models_of_the_repository_draw_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.run(ROOT / "models", tmp_path / "demo.png")
    assert len(drawn(capsys.readouterr().out)) == 10
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.getextrema() == (0, 255)


@pytest.mark.slow
def test_a_model_that_is_broken_is_one_sentence(tmp_path: Path) -> None:
    write_package(tmp_path / "models" / "digits", DRAWS.format(gate=""), "requirments: []\n")
    with pytest.raises(StartFailed, match="The model digits is broken: requirments is no key"):
        demo.run(tmp_path / "models", tmp_path / "demo.png")
