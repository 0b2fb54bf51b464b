"""A picture of each result: bars for contenders, lines over the length of the queue; whiskers from lowest to highest."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display
from matplotlib import pyplot
from matplotlib.axes import Axes

from bench.tools.rounds import Report, spread

FOLDER = Path(__file__).parents[2] / "bench" / "plots"
OURS, OTHERS = "#0b6e4f", "#9aa5b1"


def draw(report: Report) -> Path:
    """Writes the picture; where it is."""
    FOLDER.mkdir(exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.45 * len(report.rounds)))
    if report.name == "depth":
        figure.set_size_inches(8, 4)
        _lines(axes, report)
    else:
        _bars(axes, report)
    axes.set_title(report.title, fontsize=10)
    figure.tight_layout()
    path = FOLDER / f"{report.name}.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return path


def _bars(axes: Axes, report: Report) -> None:
    """The first figure of each contender that has it."""
    first = next(iter(report.rounds.values()))[0]
    figure = next(iter(first))
    shown = {name: of for name, of in report.rounds.items() if figure in of[0]}
    for place, (name, of) in enumerate(reversed(shown.items())):
        middle, low, high = spread([values[figure] for values in of])
        error = [[middle - low], [high - middle]]
        colour = OURS if "Kingpost" in name or len(shown) == 1 else OTHERS
        axes.barh(place, middle, xerr=error, color=colour, capsize=3)
        axes.text(middle / 50, place, f"{middle:,.4g}", va="center", color="white", fontsize=9)
    axes.set_yticks(range(len(shown)), list(reversed(shown)))
    axes.set_xlabel(figure)


def _lines(axes: Axes, report: Report) -> None:
    depths = [int(name.split()[0].replace(",", "")) for name in report.rounds]
    figures = [
        figure_name for figure_name in next(iter(report.rounds.values()))[0] if "p50" in figure_name
    ]
    for figure in figures:
        spreads = [spread([values[figure] for values in of]) for of in report.rounds.values()]
        middles = [triple[0] for triple in spreads]
        axes.plot(depths, middles, marker="o", label=figure.removesuffix(" p50 ms"))
        axes.fill_between(
            depths, [triple[1] for triple in spreads], [triple[2] for triple in spreads], alpha=0.1
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("queued jobs")
    axes.set_ylabel("p50, ms")
    axes.legend()
