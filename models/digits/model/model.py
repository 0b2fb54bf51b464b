"""Draws handwritten digits: `{"digit": 7}` in, a PNG out."""

import base64
import io
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastapi
import torch
from diffusers.utils.logging import disable_progress_bar
from digits_pipeline import DigitsPipeline
from PIL import Image

CELL = 64  # px; the side of one digit's cell in the answer
MARGIN = 4  # px; white around each digit, which fills its 16 px picture from top to bottom
EXAMPLE = '{"digit": 7, "count": 4, "steps": 25, "seed": 1}'
# Allowed values, both ends included. One seed is used per picture (seed, seed + 1, ...), and a
# 32-bit bound keeps the sum far below what a torch.Generator takes.
BOUNDS = {"digit": (0, 9), "count": (1, 16), "steps": (1, 100), "seed": (0, 2**32 - 1)}


@dataclass(frozen=True)
class Wish:
    """What the caller asked for, checked, with the seed chosen."""

    digit: int
    count: int
    steps: int
    seed: int


class Model:
    """A Truss model. It serves one request at a time (see `predict_concurrency` in config.yaml)."""

    def __init__(self, **kwargs: Any) -> None:
        self._weights = Path(kwargs["data_dir"]) / "pipeline"
        self._pipeline: DigitsPipeline

    def load(self) -> None:
        """Read the weights from `data/pipeline`, without network; onto the GPU if there is one."""
        disable_progress_bar()
        self._pipeline = DigitsPipeline.from_pretrained(self._weights, local_files_only=True)
        self._pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

    def predict(self, model_input: Any, request: fastapi.Request) -> dict[str, Any]:
        """Draw `count` pictures of `digit` and return them as one PNG.

        The same input with a seed draws the same pictures again. Bad input is HTTP 400 with one
        sentence; a request that is cancelled ends with HTTP 499 after the step under way.
        """
        wish = parse(model_input)
        with cancellation(request) as cancelled:

            def on_step(done: int, steps: int) -> None:
                if cancelled():
                    raise fastapi.HTTPException(499, "Cancelled before the picture was finished.")
                report(request, done, steps)

            pictures = self._pipeline(
                [wish.digit] * wish.count,
                range(wish.seed, wish.seed + wish.count),
                steps=wish.steps,
                on_step=on_step,
            )
        return answer(wish, pictures)


def parse(model_input: Any) -> Wish:
    """Check the input and fill in the defaults; HTTPException(400) says what to change."""
    if not isinstance(model_input, Mapping):
        raise bad_input(f"Send a JSON object, for example {EXAMPLE}.")
    unknown = sorted(set(model_input) - set(BOUNDS))
    if unknown:
        raise bad_input(f'Remove "{unknown[0]}": the keys are {", ".join(BOUNDS)}.')
    if "digit" not in model_input:
        raise bad_input(f'Say which "digit" to draw, for example {EXAMPLE}.')
    seed = model_input.get("seed")
    return Wish(
        digit=whole_number("digit", model_input["digit"]),
        count=whole_number("count", model_input.get("count", 1)),
        steps=whole_number("steps", model_input.get("steps", 25)),
        seed=secrets.randbelow(2**32) if seed is None else whole_number("seed", seed),
    )


def whole_number(key: str, value: Any) -> int:
    """The value, if it is an int within the key's bounds; else HTTPException(400)."""
    lowest, highest = BOUNDS[key]
    # A bool is an int to Python, but {"digit": true} is a mistake of the caller's.
    if type(value) is not int or not lowest <= value <= highest:
        raise bad_input(f'Set "{key}" to a whole number from {lowest} to {highest}.')
    return value


def bad_input(sentence: str) -> fastapi.HTTPException:
    return fastapi.HTTPException(400, sentence)


@contextmanager
def cancellation(request: fastapi.Request) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether the caller has gone or has cancelled the request."""
    watch = getattr(request.state, "watch_disconnect", None)
    if watch is None:  # a server without cancellation
        yield lambda: False
        return
    with watch() as gone:
        yield gone.is_set


def report(request: fastapi.Request, done: int, steps: int) -> None:
    """Tell the server how far the job is, if it wants to know."""
    progress = getattr(request.state, "progress", None)
    if progress is not None:
        progress(done / steps, f"step {done}/{steps}")


def answer(wish: Wish, pictures: torch.Tensor) -> dict[str, Any]:
    sheet = draw_sheet(pictures)
    png = io.BytesIO()
    sheet.save(png, format="PNG")
    return {
        "image": base64.b64encode(png.getvalue()).decode("ascii"),
        "format": "png",
        "width": sheet.width,
        "height": sheet.height,
        "digit": wish.digit,
        "count": wish.count,
        "steps": wish.steps,
        "seed": wish.seed,
    }


def draw_sheet(pictures: torch.Tensor) -> Image.Image:
    """A nearly square grid of 64 px cells, dark ink on white, filled row by row.

    `pictures` has the shape (n, side, side); 0 is paper and 1 is ink.
    """
    side = CELL - 2 * MARGIN
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("L", (columns * CELL, rows * CELL), color=255)
    grey = (255 - pictures * 255).round().to(torch.uint8).numpy()
    for place, picture in enumerate(grey):
        digit = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
        row, column = divmod(place, columns)
        sheet.paste(digit, (column * CELL + MARGIN, row * CELL + MARGIN))
    return sheet
