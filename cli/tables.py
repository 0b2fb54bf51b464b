"""Tables for a terminal that cut nothing: what does not fit into a line stands below it, whole."""

import shutil
from collections.abc import Sequence

GAP = "  "


def show(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints it for this terminal; 80 columns where there is none."""
    for line in lines(head, rows, shutil.get_terminal_size((80, 24)).columns):
        print(line)


def lines(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """As many columns as fit beside each other, in their order; the others below their row, by name."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    beside = [0]
    for column in range(1, len(head)):
        if sum(widths[i] + len(GAP) for i in beside) + widths[column] <= width:
            beside.append(column)
    below = [i for i in range(len(head)) if i not in beside]
    said = [_line(head, beside, widths)]
    for row in rows:
        said.append(_line(row, beside, widths))
        said += [f"{GAP}{head[i]}: {row[i]}" for i in below if row[i] not in ("", "-")]
    return said


def _line(row: Sequence[str], beside: list[int], widths: list[int]) -> str:
    return GAP.join(row[i].ljust(widths[i]) for i in beside).rstrip()
