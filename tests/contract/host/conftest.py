"""Servers for the conformance tests: one per model and test module, since starting one takes a second.

They are Kingpost's model hosts, or with `--server truss` Truss's own server.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.truss_host import Expander, TrussHost
from tests.contract.host.running import RunningHost, write_package

# What it answers is a TrussHost in the run of Truss's server; tests marked kingpost_only use more than that has.
StartHost = Callable[..., RunningHost]


@pytest.fixture(scope="session")
def server_class(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """What serves a package in this run."""
    if request.config.getoption("--server") == "kingpost":
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
    """Skips what has no meaning for Truss's server; the mark says why."""
    if config.getoption("--server") == "truss":
        for item in items:
            mark = item.get_closest_marker("kingpost_only")
            if mark:
                item.add_marker(pytest.mark.skip(reason=mark.args[0]))
