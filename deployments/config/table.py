"""`python -m deployments.config.table`: docs/config.md, generated from the schema so that it cannot say anything else."""

from pathlib import Path

from deployments.config.fates import Row, rows

FILE = Path(__file__).resolve().parents[2] / "docs" / "config.md"
HEAD = """# config.yaml

Every key that Truss 0.18 knows, and three of ours (`runtime.batching`, `runtime.stop_grace_seconds`, `resources.gpu_memory`). What becomes of each:

- **honoured**: it does what Truss's documentation says.
- **limited**: the model runs, and the limit is said at `push`, `up` and `watch`, kept with the deployment, and shown by
  `kingpost deployments`, `kingpost models` and the management API (`warnings`).
- **refused**: something else than was asked for would run. `--allow-unsupported KEY` (again for more keys) goes on without it;
  the choice is kept with the deployment as a warning.

A key that is not in the table is refused with the one that was probably meant. A limit or a refusal is spoken of only when the
key asks for something: defaults and nulls never are. The model always gets its whole file as `config`, with Truss's defaults.

This table is made by `python -m deployments.config.table`.

| key | wants | here |
|---|---|---|
"""


def table() -> str:
    """The whole file."""
    return HEAD + "".join(_line(row) for row in rows())


def _line(row: Row) -> str:
    said = f"**{row.fate.kind}**" if row.fate.kind != "honoured" else "honoured"
    about = f": {row.fate.said}" if row.fate.said else ""
    return f"| `{row.key}` | {row.wanted} | {said}{about} |\n"


if __name__ == "__main__":
    FILE.write_text(table())
