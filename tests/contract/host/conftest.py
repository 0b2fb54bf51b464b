"""Hosts for the conformance tests: one per model and test module, since starting one takes a second."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.host.running import RunningHost, write_package

StartHost = Callable[..., RunningHost]


@pytest.fixture(scope="module")
def start_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartHost]:
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
            host = stack.enter_context(RunningHost(folder, *arguments, env=env))
            return host.wait(state) if state else host

        yield start
