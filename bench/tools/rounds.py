"""Rounds that alternate between contenders: the machine's mood of a minute meets all of them."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Figures = dict[str, float]
Rounds = dict[str, list[Figures]]  # contender -> the figures of each round


@dataclass(frozen=True)
class Pace:
    """How much to measure; `quick` benches leave out what their ratios do not need."""

    rounds: int = 5
    seconds: float = 3.0
    quick: bool = False


QUICK = Pace(rounds=3, seconds=1.2, quick=True)


@dataclass(frozen=True)
class Claim:
    """An aim and what was reached in each round; ratios are what `make bench-quick` compares."""

    name: str
    values: list[float]
    aim: float | None = None
    at_least: bool = True
    unit: str = "x"

    @property
    def median(self) -> float:
        """The middle of all rounds."""
        return statistics.median(self.values)

    def fell(self, before: float, by: float) -> bool:
        """Whether the median is worse than it was by more than that share."""
        worse = self.median < before * (1 - by), self.median > before * (1 + by)
        return worse[0] if self.at_least else worse[1]

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the aim; None without an aim."""
        if self.aim is None:
            return None
        return self.median >= self.aim if self.at_least else self.median <= self.aim


@dataclass(frozen=True)
class Report:
    """What one bench found."""

    name: str
    title: str
    rounds: Rounds
    claims: list[Claim]
    notes: Sequence[str] = ()


def alternate(contenders: Mapping[str, Callable[[], Figures]], pace: Pace) -> Rounds:
    """So many rounds; in each every contender once, every other round in the opposite order."""
    rounds: Rounds = {name: [] for name in contenders}
    for number in range(pace.rounds):
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for name in order:
            figures = contenders[name]()
            rounds[name].append(figures)
            said = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            print(f"  round {number + 1} {name}: {said}", file=sys.stderr, flush=True)
    return rounds


def ratios(rounds: Rounds, over: str, under: str, figure: str) -> list[float]:
    """The ratio in each round: what they share, such as a busy neighbour, cancels."""
    pairs = zip(rounds[over], rounds[under], strict=True)
    return [ours[figure] / other[figure] for ours, other in pairs]


def differences(rounds: Rounds, of: str, minus: str, figure: str) -> list[float]:
    """The difference in each round."""
    pairs = zip(rounds[of], rounds[minus], strict=True)
    return [ours[figure] - other[figure] for ours, other in pairs]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest, highest."""
    return statistics.median(values), min(values), max(values)


def show(report: Report) -> str:
    """The report for a terminal: each figure as median [lowest, highest] of the rounds."""
    lines = [report.title]
    for name, rounds in report.rounds.items():
        for figure in rounds[0]:
            figures = shown([values[figure] for values in rounds])
            lines.append(f"  {name:<34} {figure:<18} {figures}")
    for claim in report.claims:
        lines.append(f"  {claim.name:<53} {shown(claim.values)} {claim.unit}{aim_of(claim)}")
    return "\n".join([*lines, *(f"  note: {note}" for note in report.notes)])


def shown(values: Sequence[float]) -> str:
    """The median, with the lowest and the highest if there are several."""
    middle, low, high = spread(values)
    return f"{middle:.4g} [{low:.4g}, {high:.4g}]" if len(values) > 1 else f"{middle:.4g}"


def aim_of(claim: Claim) -> str:
    """The aim of a claim, and whether it is met; '' without an aim."""
    if claim.aim is None:
        return ""
    sense = ">=" if claim.at_least else "<="
    return f"  (aim {sense} {claim.aim:g}: {'met' if claim.met else 'MISSED'})"
