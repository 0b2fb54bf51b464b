"""The digits model, loaded from its path with the arguments that a Truss server gives it.

Few steps are enough: whether the pictures are good is measured by `models/digits/evaluate.py`.
"""

import base64
import importlib.util
import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastapi
import pytest
import yaml
from PIL import Image

FOLDER = Path(__file__).parents[3] / "models" / "digits"


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    import torch  # here, or each process that collects tests would load it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.append(str(FOLDER / "packages"))
    spec = importlib.util.spec_from_file_location("digits_model", FOLDER / "model" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    # dataclasses look their module up by name
    module = sys.modules["digits_model"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = yaml.safe_load((FOLDER / "config.yaml").read_text())
    loaded = module.Model(config=config, data_dir=FOLDER / "data", secrets={})
    loaded.load()
    yield loaded
    sys.path.remove(str(FOLDER / "packages"))
    torch.set_num_threads(threads)


def request_with(**state: Any) -> fastapi.Request:
    return fastapi.Request({"type": "http", "state": state})


def picture(answer: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer["image"])))


@pytest.mark.parametrize(("count", "size"), [(1, (64, 64)), (3, (128, 128)), (5, (192, 128))])
def test_the_answer_is_a_png_grid_of_the_stated_size(
    model: Any, count: int, size: tuple[int, int]
) -> None:
    answer = model.predict({"digit": 3, "count": count, "steps": 1, "seed": 4}, request_with())

    png = picture(answer)
    assert (png.format, png.size) == ("PNG", size)
    assert (answer["width"], answer["height"]) == size
    stated = {key: answer[key] for key in ("format", "digit", "count", "steps", "seed")}
    assert stated == {"format": "png", "digit": 3, "count": count, "steps": 1, "seed": 4}


def test_the_same_seed_draws_the_same_bytes_and_another_does_not(model: Any) -> None:
    def draw(seed: int) -> str:
        return model.predict({"digit": 7, "steps": 2, "seed": seed}, request_with())["image"]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_without_a_seed_the_answer_states_one_that_draws_the_same_picture(model: Any) -> None:
    wish = {"digit": 2, "steps": 2, "seed": None}
    answer = model.predict(wish, request_with())

    again = model.predict({**wish, "seed": answer["seed"]}, request_with())

    assert again == answer


def test_a_five_is_drawn_in_dark_ink_on_white_paper(model: Any) -> None:
    png = picture(model.predict({"digit": 5, "steps": 10, "seed": 1}, request_with()))

    assert png.getextrema() == pytest.approx((0, 255), abs=40)
    assert png.getpixel((0, 0)) == pytest.approx(255, abs=20)


@pytest.mark.parametrize(
    ("model_input", "advice"),
    [
        (None, "Send a JSON object, for example"),
        ([7], "Send a JSON object, for example"),
        ({}, 'Say which "digit" to draw, for example'),
        ({"digit": 7, "colour": "red"}, 'Remove "colour": the keys are digit, count, steps, seed'),
        ({"digit": 10}, 'Set "digit" to a whole number from 0 to 9.'),
        ({"digit": -1}, 'Set "digit" to a whole number from 0 to 9.'),
        ({"digit": True}, 'Set "digit" to a whole number from 0 to 9.'),
        ({"digit": 7.0}, 'Set "digit" to a whole number from 0 to 9.'),
        ({"digit": "7"}, 'Set "digit" to a whole number from 0 to 9.'),
        ({"digit": 7, "count": 0}, 'Set "count" to a whole number from 1 to 16.'),
        ({"digit": 7, "count": 17}, 'Set "count" to a whole number from 1 to 16.'),
        ({"digit": 7, "steps": 0}, 'Set "steps" to a whole number from 1 to 100.'),
        ({"digit": 7, "steps": 101}, 'Set "steps" to a whole number from 1 to 100.'),
        ({"digit": 7, "steps": None}, 'Set "steps" to a whole number from 1 to 100.'),
        ({"digit": 7, "seed": -1}, 'Set "seed" to a whole number from 0 to 4294967295.'),
        ({"digit": 7, "seed": 2**32}, 'Set "seed" to a whole number from 0 to 4294967295.'),
        ({"digit": 7, "seed": "lucky"}, 'Set "seed" to a whole number from 0 to 4294967295.'),
    ],
)
def test_bad_input_is_a_400_that_says_what_to_do(
    model: Any, model_input: object, advice: str
) -> None:
    with pytest.raises(fastapi.HTTPException) as caught:
        model.predict(model_input, request_with())

    assert caught.value.status_code == 400
    assert caught.value.detail.startswith(advice)


def test_progress_is_reported_once_a_step_and_ends_at_one(model: Any) -> None:
    seen: list[tuple[float, str]] = []

    model.predict(
        {"digit": 0, "steps": 4},
        request_with(progress=lambda fraction, message: seen.append((fraction, message))),
    )

    assert seen == [(0.25, "step 1/4"), (0.5, "step 2/4"), (0.75, "step 3/4"), (1.0, "step 4/4")]


def test_a_cancelled_request_stops_after_the_step_under_way(model: Any) -> None:
    gone = threading.Event()
    seen: list[float] = []

    def progress(fraction: float, message: str) -> None:
        seen.append(fraction)
        if message == "step 2/8":
            gone.set()

    @contextmanager
    def watch_disconnect() -> Iterator[threading.Event]:
        yield gone

    with pytest.raises(fastapi.HTTPException) as caught:
        model.predict(
            {"digit": 9, "steps": 8},
            request_with(progress=progress, watch_disconnect=watch_disconnect),
        )

    assert caught.value.status_code == 499
    assert seen == [1 / 8, 2 / 8]


def test_the_weights_stay_small_enough_for_the_repository() -> None:
    weights = [path for path in (FOLDER / "data").rglob("*") if path.is_file()]

    assert 0 < sum(path.stat().st_size for path in weights) <= 6_000_000
