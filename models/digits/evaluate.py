"""Measure the saved digits model: does a classifier of real digits read what it draws?

    python models/digits/evaluate.py

Writes `figures.json` and `contact-sheet.png` beside this file.
"""

import json
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import diffusers
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

sys.path.append(str(Path(__file__).parent / "packages"))  # as a Truss server does

from digits_pipeline import SIDE, DigitsPipeline

HERE = Path(__file__).resolve().parent
PER_DIGIT = 50
STEPS = 25
GUIDANCE = 2.0
SHEET_COLUMNS = 12
CELL = 48  # px on the contact sheet
MARGIN = 3  # px around each digit

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RealDigits:
    """Handwritten digits, (n, 8, 8) in 0..1 with their classes.

    Neither the generator nor the judge ever sees the held-out part.
    """

    training: tuple[Floats, Ints]
    held_out: tuple[Floats, Ints]


def main() -> None:
    real = real_digits()
    pipeline = DigitsPipeline.from_pretrained(HERE / "data" / "pipeline")
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    began = time.perf_counter()
    drawn = draw(pipeline)
    took = time.perf_counter() - began
    record(figures(real, drawn) | {"sampling_seconds": round(took, 1)})
    contact_sheet(drawn).save(HERE / "contact-sheet.png", optimize=True)


def real_digits() -> RealDigits:
    """scikit-learn's 1797 digits, split the same way every time: 1500 to train on, 297 held out."""
    pictures, digits = load_digits(return_X_y=True)
    scaled = (pictures / 16).astype(np.float32).reshape(-1, 8, 8)
    seen, unseen, seen_digits, unseen_digits = train_test_split(
        scaled, digits.astype(np.int64), train_size=1500, stratify=digits, random_state=0
    )
    return RealDigits((seen, seen_digits), (unseen, unseen_digits))


def draw(pipeline: DigitsPipeline) -> torch.Tensor:
    """Fifty pictures of each digit, shape (10, 50, 16, 16), from the seeds 0..499."""
    rows = [
        pipeline(
            [digit] * PER_DIGIT,
            range(digit * PER_DIGIT, (digit + 1) * PER_DIGIT),
            steps=STEPS,
            guidance=GUIDANCE,
        )
        for digit in range(10)
    ]
    return torch.stack(rows)


def figures(real: RealDigits, drawn: torch.Tensor) -> dict[str, object]:
    """What the judge read in the samples, and how close they are to the pictures trained on."""
    small = F.interpolate(drawn.flatten(0, 1)[:, None], size=8, mode="area").squeeze(1).numpy()
    asked = np.repeat(np.arange(10), PER_DIGIT)
    judge = SVC(gamma=0.02, C=10).fit(flat(real.training[0]) * 4, real.training[1])
    right = judge.predict(flat(small) * 4) == asked
    held_out_right = judge.predict(flat(real.held_out[0]) * 4) == real.held_out[1]
    return {
        "samples": len(asked),
        "samples_read_correctly": round(float(right.mean()), 4),
        "read_correctly_by_digit": right.reshape(10, PER_DIGIT).mean(axis=1).round(2).tolist(),
        "samples_as_smooth_as_real_digits": round(smooth(drawn.flatten(0, 1), real.held_out[0]), 4),
        "judge_on_held_out_real_digits": round(float(held_out_right.mean()), 4),
        "distance_to_nearest_training_digit": {
            "samples": nearest(small, real.training[0]),
            "held_out_real_digits": nearest(real.held_out[0], real.training[0]),
        },
        "sampling": f"DDIM, {STEPS} steps, guidance {GUIDANCE}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
        },
    }


def flat(pictures: Floats) -> Floats:
    return pictures.reshape(len(pictures), -1)


def nearest(pictures: Floats, others: Floats) -> float:
    """Median over the pictures of the Euclidean distance (8x8 pixels of 0..1) to the nearest other."""
    gaps = flat(pictures)[:, None] - flat(others)[None]
    return round(float(np.median(np.linalg.norm(gaps, axis=2).min(axis=1))), 3)


def smooth(drawn: torch.Tensor, real: Floats) -> float:
    """Share of (n, 16, 16) samples with no more grain than the grainiest real digit, plus 25 %.

    The judge cannot see grain: it looks at 8x8 pixels.
    """
    limit = grain(grown(real)).max() * 1.25
    return float((grain(drawn) <= limit).float().mean())


def grain(pictures: torch.Tensor) -> torch.Tensor:
    """What an (n, 16, 16) picture holds that 8x8 pixels cannot: RMS per picture, shape (n,)."""
    small = F.interpolate(pictures[:, None], size=8, mode="area").squeeze(1)
    return (pictures - grown(small.numpy())).square().mean(dim=(1, 2)).sqrt()


def grown(small: Floats) -> torch.Tensor:
    """(n, 8, 8) pictures brought to 16x16, the size that the network draws."""
    pictures = F.interpolate(torch.tensor(small)[:, None], size=SIDE, mode="bicubic")
    return pictures.squeeze(1).clamp(0, 1)


def contact_sheet(drawn: torch.Tensor) -> Image.Image:
    """One labelled row per digit, the first twelve samples of each, unselected."""
    sheet = Image.new("L", ((SHEET_COLUMNS + 1) * CELL, 10 * CELL), color=255)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=20)
    for digit, row in enumerate(drawn):
        pen.text((CELL // 2, (digit + 0.5) * CELL), f"{digit}:", fill=128, font=font, anchor="mm")
        for column, picture in enumerate(row[:SHEET_COLUMNS], start=1):
            ink = Image.fromarray((255 - picture.numpy() * 255).round().astype(np.uint8))
            cell = ink.resize((CELL - 2 * MARGIN,) * 2, Image.Resampling.LANCZOS)
            sheet.paste(cell, (column * CELL + MARGIN, digit * CELL + MARGIN))
    return sheet


def record(found: dict[str, object]) -> None:
    """Merge figures into `figures.json` and print them."""
    path = HERE / "figures.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | found, indent=2) + "\n")
    print(json.dumps(found, indent=2), flush=True)


if __name__ == "__main__":
    main()
