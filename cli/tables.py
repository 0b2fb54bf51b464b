"""Tables for a terminal. A column that does not fit into the line is written below its row, and nothing is cut."""

import shutil
from collections.abc import Sequence

from rich.cells import cell_len

from tasks.outside_text import printable

GAP = "  "
FIRST_WIDTH = 34  # a longer text of the first column gets a line of its own, above its row
LEAST_WIDTH = 7  # the first column gets no narrower to make room for the others


def show(
    head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[Sequence[str]] = ()
) -> None:
    """Prints a table as wide as the terminal, or 80 columns. `notes` are lines below each row."""
    for line in lines(head, rows, shutil.get_terminal_size((80, 24)).columns, notes):
        print(line)


def lines(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    notes: Sequence[Sequence[str]] = (),
) -> list[str]:
    """The lines of a table. Columns that do not fit beside the others stand below their row, with their name."""
    rows = [[_in_a_line(cell) for cell in row] for row in rows]
    widths = [max(cell_len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    others = sum(widths[1:]) + len(GAP) * (len(head) - 1)
    widths[0] = min(widths[0], FIRST_WIDTH)
    if width - others >= LEAST_WIDTH:
        widths[0] = min(widths[0], width - others)
    beside = [0]
    for column in range(1, len(head)):
        if sum(widths[i] + len(GAP) for i in beside) + widths[column] <= width:
            beside.append(column)
    below = [i for i in range(len(head)) if i not in beside]
    said = [_line(head, beside, widths)]
    for number, row in enumerate(rows):
        if cell_len(row[0]) > widths[0]:
            said.append(row[0])
            row = ["", *row[1:]]
        said.append(_line(row, beside, widths))
        said += [f"{GAP}{head[i]}: {row[i]}" for i in below if row[i] not in ("", "-")]
        said += [f"{GAP}{_in_a_line(note)}" for note in (notes[number] if notes else ())]
    return said


def _line(row: Sequence[str], beside: list[int], widths: list[int]) -> str:
    return GAP.join(row[i] + " " * (widths[i] - cell_len(row[i])) for i in beside).rstrip()


def _in_a_line(text: str) -> str:
    return printable(text).replace("\n", " ")


def status_word(status: str) -> str:
    """The status of a deployment for a table. One that sleeps is called so everywhere; JSON has the API's name."""
    return "ASLEEP" if status == "SCALED_TO_ZERO" else status


def last_line(error: str | None) -> str:
    """The sentence at the end of a replica's error."""
    return error.strip().splitlines()[-1] if error and error.strip() else "no reason was given"
