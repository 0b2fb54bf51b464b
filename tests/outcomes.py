"""A pytest plugin: `--outcome-to FILE` writes what failed, what could not be collected and how many passed."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest


@dataclass
class Outcome:
    """How one run of pytest ended."""

    code: int = 0
    passed: int = 0
    failed: list[str] = field(default_factory=list[str])  # node ids, each once
    uncollected: list[str] = field(default_factory=list[str])

    @classmethod
    def read(cls, path: Path, code: int) -> "Outcome":
        """What a run wrote that ended with `code`; a run that wrote nothing has no tests."""
        return cls(**json.loads(path.read_text()) | {"code": code}) if path.exists() else cls(code)


class Recorder:
    """Listens to the reports of all processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcome = Outcome()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._outcome.uncollected.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcome.passed += report.passed and report.when == "call"
        if report.failed and report.nodeid not in self._outcome.failed:
            self._outcome.failed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps(asdict(self._outcome)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcome-to", type=Path, help="a file for what failed, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--outcome-to")
    if path and not hasattr(config, "workerinput"):  # not in the processes of pytest-xdist
        config.pluginmanager.register(Recorder(path))
