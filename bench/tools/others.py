"""Starting the servers of other projects, each in a virtualenv of its own; see bench/competitors/install.py."""

from collections.abc import Callable
from pathlib import Path

from bench.competitors.install import python
from bench.tools.stack import ROOT, Stack, answers
from cli.stack.ports import free_port

QUIET = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_QUIET": "True", "DO_NOT_TRACK": "1"}


def litserve(stack: Stack, kind: str = "echo", **env: str) -> str:
    """LitServe; its host:port."""
    port = free_port()
    command = [str(python("litserve")), "-m", "bench.competitors.litserve_server", str(port), kind]
    program = stack.program("litserve", command, **env)
    target = f"127.0.0.1:{port}"
    program.wait_for(lambda: answers(target, "/health"))
    return target


def bentoml(stack: Stack) -> str:
    """BentoML; its host:port."""
    port = free_port()
    service = "bench.competitors.bentoml_service:Echo"
    command = [str(python("bentoml")), "-m", "bentoml", "serve", service]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    env = QUIET | {"BENTOML_HOME": str(stack.folder / "bentoml"), "PYTHONPATH": str(ROOT)}
    program = stack.program("bentoml", command, **env)
    target = f"127.0.0.1:{port}"
    program.wait_for(lambda: answers(target, "/readyz"))
    return target


def truss(stack: Stack, package: Path) -> str:
    """Truss's own server with a package; its host:port."""
    port, folder = free_port(), stack.folder / "truss"
    command = [str(python("truss")), "-m", "bench.competitors.truss_server", str(package)]
    program = stack.program("truss", [*command, str(folder), str(port)])
    target = f"127.0.0.1:{port}"
    program.wait_for(lambda: answers(target, "/v1/models/model"))
    return target


SERVERS: dict[str, Callable[[Stack], str]] = {
    "litserve": litserve,
    "bentoml": bentoml,
    "truss": lambda stack: truss(stack, ROOT / "models" / "echo"),
}


def installed() -> list[str]:
    """The servers that can be started here."""
    return [name for name in SERVERS if python(name)]
