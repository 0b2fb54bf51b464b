"""Small pictures of the last hour, as path data for an inline SVG: no script, no style of its own, and sharp at any size."""

from collections.abc import Sequence

STEP, HEIGHT = 2, 24  # the width of a minute and the height of the picture, in units of its viewBox
FLOOR = HEIGHT - 1  # where 0 is drawn


def line(values: Sequence[float | None]) -> str:
    """A line through the values. It has a gap where a value is None. The highest value is at the top."""
    top, parts, drawing = _top(values), list[str](), False
    for at, value in enumerate(values):
        if value is not None:
            x, y = at * STEP + 1, FLOOR - value / top * (FLOOR - 1)
            parts.append(f"{'L' if drawing else 'M'}{x} {y:.3g}" + ("" if drawing else "h0"))
        drawing = value is not None
    return "".join(parts)


def bars(values: Sequence[float], of: Sequence[float]) -> str:
    """A bar for each value that is not 0; the highest of `of` reaches the top."""
    top = _top(of)
    return "".join(
        f"M{at * STEP + 1} {HEIGHT}v-{max(value / top * (HEIGHT - 1), 1):.3g}"
        for at, value in enumerate(values)
        if value
    )


def _top(values: Sequence[float | None]) -> float:
    return max((value for value in values if value is not None), default=0) or 1
