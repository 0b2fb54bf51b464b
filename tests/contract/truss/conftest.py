"""A stack, and Baseten's own `truss` command as somebody has it on a laptop: it knows the stack by a remote in its .trussrc."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.deployments.rig import KEY, Rig
from tests.processes import Process

ROOT = Path(__file__).parents[3]
TRUSS = Path(sys.executable).with_name("truss")
CHAIN_KEY = "kp_chaintests.0123456789abcdef0123456789abcdef"
LOCAL = (
    "http://localhost:8000"  # the only remote of a server of one's own whose REST API truss finds
)


@dataclass
class Laptop:
    """A home folder with a .trussrc. `direct` names the server itself, `kingpost` goes through its address as a proxy."""

    home: Path
    url: str
    key: str = KEY
    variables: dict[str, str] = field(default_factory=dict[str, str])
    within: tuple[str, ...] = ()  # the command that runs truss, as in a namespace of its own

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        remotes = {"kingpost": LOCAL, "direct": self.url}
        lines = [
            f"[{name}]\nremote_provider = baseten\napi_key = {self.key}\nremote_url = {url}\n"
            for name, url in remotes.items()
        ]
        (self.home / ".trussrc").write_text("\n".join(lines))

    def environment(self) -> dict[str, str]:
        known = {
            "PATH": f"{TRUSS.parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "COLUMNS": "200",
            "TRUSS_NO_UPDATE_CHECK": "1",
            "http_proxy": self.url,
            "https_proxy": "http://127.0.0.1:9",  # nothing goes to anybody else
            "no_proxy": "127.0.0.1",
        }
        return known | self.variables

    def start(
        self, *arguments: str, remote: str = "kingpost", out: "int | IO[bytes]" = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        """Starts the command."""
        return subprocess.Popen(
            [*self.within, str(TRUSS), *arguments, "--remote", remote], cwd=self.home, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def truss(self, *arguments: str, remote: str = "kingpost", code: int = 0) -> str:
        """Runs the command; what it says."""
        process = self.start(*arguments, remote=remote)
        try:
            said, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == code, said
        return said


@pytest.fixture(scope="package")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig"), {"KINGPOST_CHAIN_API_KEY": CHAIN_KEY}) as rig:
        ApiKeys(rig.settings).install(CHAIN_KEY)
        gateway = f"http://127.0.0.1:{rig.port}"
        rig.node(KINGPOST_NODE_SLOTS="8", KINGPOST_GATEWAY_URL=gateway)
        yield rig


@pytest.fixture
def elsewhere(rig: Rig, tmp_path: Path) -> Iterator[Laptop]:
    """A laptop in a network namespace that reaches nothing but the server's port, as its own port 8000."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("needs unshare and the right to make namespaces")
    socket = str(tmp_path / "cable")
    program = ("-m", "tests.contract.truss.cable", socket, str(rig.port))
    cable = Process([""], dict(os.environ), tmp_path / "cable.log", program=program).start()
    wait_until(Path(socket).exists, 30, "no cable")
    within = ("unshare", "-rn", sys.executable, "-m", "tests.contract.deployments.namespace")
    laptop = Laptop(tmp_path / "home", "http://127.0.0.1:8000", within=(*within, socket, "8000"))
    laptop.variables["PYTHONPATH"] = str(ROOT)
    yield laptop
    cable.kill()


@pytest.fixture(scope="package")
def laptop(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return Laptop(tmp_path_factory.mktemp("laptop") / "home", f"http://127.0.0.1:{rig.port}")
