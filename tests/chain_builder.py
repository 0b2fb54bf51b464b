"""Builds chains in forks of one process that has imported Truss: an import takes seconds, a fork milliseconds.

`quick_builds` puts it in the place of the process that builds a chain, which the tests of whole stacks run.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

import pytest

from deployments import chains


class Builder:
    """The process that forks."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", __file__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, command: list[str], env: Mapping[str, str], **_: object
    ) -> "subprocess.CompletedProcess[str]":
        """As `subprocess.run` of the command that builds a chain, which ends with FILE OUT."""
        assert command[-3] == "workers.chains.build"
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([command[-2:], dict(env)]) + "\n")
        self._process.stdin.flush()
        code, said = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(command, code, "", said)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="session")
def builder() -> Iterator[Builder]:
    builder = Builder()
    yield builder
    builder.close()


@pytest.fixture
def quick_builds(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains are built by the process that knows Truss already."""
    known = SimpleNamespace(run=builder.run, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(chains, "subprocess", known)


def serve() -> None:
    """Answers each line of arguments and variables with the exit code and what was said."""
    from workers.chains import build as chain_build

    for line in sys.stdin:
        arguments, env = json.loads(line)
        with tempfile.TemporaryFile("w+") as said:
            pid = os.fork()
            if not pid:
                _build(chain_build.main, arguments, env, said.fileno())
            _, status = os.waitpid(pid, 0)
            said.seek(0)
            print(json.dumps([os.waitstatus_to_exitcode(status), said.read()]), flush=True)


def _build(main: Callable[[], None], arguments: list[str], env: dict[str, str], said: int) -> None:
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # TMPDIR is another one now
    sys.argv[1:] = arguments
    main()
    os._exit(0)


if __name__ == "__main__":
    serve()
