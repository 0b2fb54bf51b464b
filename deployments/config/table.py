"""Writes docs/config.md from the schema, for `make reference`."""

from deployments.config.fates import Row, rows
from deployments.config.schema import OURS

HEAD = """# config.yaml

This page lists every key that Truss 0.18 knows, and those that only Kingpost has (OURS).
Kingpost does one of three things with a key:

- **honoured**: the key does what Truss's documentation says.
- **limited**: the model runs, but a part of what was asked for does not happen. `push`, `up` and `watch` print a warning. The deployment keeps the
  warning; `kingpost deployments`, `kingpost models` and the management API (`warnings`) show it.
- **refused**: a push fails, because the model would not run as the file asks. To run it all the same, add `--allow-unsupported KEY`, once for each key. The
  deployment keeps a warning.

More rules:

- An unknown key is refused. The message names the key that was probably meant.
- Warnings and refusals appear only when a key asks for something. Defaults and nulls never cause one.
- The model always gets the whole file as `config`, with Truss's defaults added.

In the table, the notes of limited and refused keys complete a sentence that begins with the key. `make reference` writes this page.

| key | value | in Kingpost |
|---|---|---|
"""


def table() -> str:
    """The whole file."""
    ours = ", ".join(f"`{key}`" for key in OURS)
    return HEAD.replace("OURS", ours) + "".join(_line(row) for row in rows())


def _line(row: Row) -> str:
    said = f"**{row.fate.kind}**" if row.fate.kind != "honoured" else "honoured"
    about = f": {row.fate.said}" if row.fate.said else ""
    return f"| `{row.key}` | {row.wanted} | {said}{about} |\n"
