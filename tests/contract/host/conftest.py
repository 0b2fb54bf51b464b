"""Servers for the conformance tests: one per model and test module, since starting one takes a second.

They are Kingpost's model hosts, or with `--server truss` Truss's own server.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import truss_virtualenv
from tests.conformance.truss_host import Expander, TrussHost
from tests.contract.host.running import RunningHost, write_package

# What it answers is a TrussHost in the run of Truss's server; tests marked kingpost_only use more than that has.
StartHost = Callable[..., RunningHost]


@pytest.fixture(scope="session")
def server_class(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """What serves a package in this run."""
    if request.config.getoption("--server") != "truss":
        yield RunningHost
        return
    expander = Expander()
    yield partial(TrussHost, expander=expander)
    expander.close()


@pytest.fixture(scope="module")
def start_host(
    tmp_path_factory: pytest.TempPathFactory, server_class: Callable[..., Any]
) -> Iterator[StartHost]:
    """start_host(model, config="", files=None, state="ready", arguments=()) -> RunningHost."""
    with ExitStack() as stack:

        def start(
            model: str | None,
            config: str = "",
            files: dict[str, str] | None = None,
            state: str | None = "ready",
            arguments: tuple[str, ...] = (),
            env: dict[str, str] | None = None,
        ) -> RunningHost:
            folder: Path = tmp_path_factory.mktemp("package")
            write_package(folder, model, config, files)
            host = stack.enter_context(server_class(folder, *arguments, env=env))
            return host.wait(state) if state else host

        yield start


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A conformance run has what both servers know; a run of all tests leaves out what takes long."""
    out = "kingpost_only" if config.getoption("--server") else "conformance_only"
    left_out = [item for item in items if item.get_closest_marker(out)]
    config.stash[LEFT_OUT] = [item.get_closest_marker(out) for item in left_out]
    config.stash[DIFFERENCES] = [m for item in items if (m := item.get_closest_marker("differs"))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """After a run of Truss's server: what was compared, and every difference that was shown."""
    if config.getoption("--server") != "truss":
        return
    say = terminalreporter.write_line
    differing = Counter(mark.args[0] for mark in config.stash[DIFFERENCES])
    apart = Counter(mark.args[0] for mark in config.stash[LEFT_OUT])
    passed = len(terminalreporter.stats.get("passed", []))
    terminalreporter.section(f"Truss {truss_virtualenv.VERSION} and Kingpost's model host")
    say(f"{passed - differing.total()} tests hold for both servers.")
    say(f"{differing.total()} tests show how they differ, {len(differing)} ways:")
    for what, count in differing.items():
        say(f"  {what} ({count})")
    say(f"{apart.total()} tests are of Kingpost alone and left to `make test`:")
    say("  " + ", ".join(f"{what} ({count})" for what, count in apart.most_common()))


LEFT_OUT = pytest.StashKey[list[Any]]()
DIFFERENCES = pytest.StashKey[list[Any]]()
