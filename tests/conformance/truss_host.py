"""Truss's own server with one package, behind the interface that the tests of the model host use."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from websockets.asyncio.client import connect

from cli.stack.ports import free_port
from tests.conformance import truss_virtualenv
from tests.contract.host.running import ServedModel

HERE = Path(__file__).parent


class Expander:
    """The process that expands configurations with Truss's own code."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(truss_virtualenv.PYTHON), str(HERE / "expand.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def expand(self, source: Path, target: Path) -> dict[str, str]:
        """Writes the expanded file and answers the variables that it asks for."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{source}\t{target}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline() or '"the configuration was refused"')

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Image:
    """The folders of Truss's image, laid out by its Dockerfile's rules."""

    root: Path

    @property
    def app(self) -> Path:
        """/app: the server's source with the package's model and data in it."""
        return self.root / "app"

    @property
    def packages(self) -> Path:
        """/packages"""
        return self.root / "packages"

    def lay_out(self, package: Path, expander: Expander) -> dict[str, str]:
        """Copies all that there is; answers the image's variables."""
        templates = truss_virtualenv.templates()
        shutil.copytree(templates / "server", self.app)
        shutil.copytree(templates / "shared", self.app / "_truss_shared")
        variables = expander.expand(package / "config.yaml", self.app / "config.yaml")
        config = yaml.safe_load((self.app / "config.yaml").read_text())
        self._copy(package / config["model_module_dir"], self.app / "model")
        self._copy(package / config["data_dir"], self.app / "data")
        for folder in (config["bundled_packages_dir"], *config["external_package_dirs"]):
            self._copy(package / folder, self.packages)
        return variables

    def _copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)


class TrussHost(ServedModel):
    """One server of Truss's; use it as a context manager."""

    name = "truss"

    def __init__(
        self,
        package: Path,
        *arguments: str,
        expander: Expander,
        env: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        image = Image(self.folder)
        variables = image.lay_out(package, expander)
        self.package = image.app
        self._port = free_port()
        ours = {
            "HOME": str(self.folder),  # the server leaves a file there when a load failed
            "INFERENCE_SERVER_PORT": str(self._port),
            "PYTHONUNBUFFERED": "True",
        }
        flags = _flags(arguments, self.folder) | {"--packages-dir": str(image.packages)}
        command = [str(truss_virtualenv.PYTHON), str(HERE / "truss_main.py")]
        command += [part for pair in flags.items() for part in pair]
        self.launch(command, cwd=image.app, env=(env or {}) | variables | ours)
        # After an unhandled exception the server closes the connection without having said so.
        one_by_one = httpx.Limits(max_keepalive_connections=0)
        address = f"http://127.0.0.1:{self._port}"
        self.http = self.worker = httpx.Client(base_url=address, timeout=30, limits=one_by_one)

    def websocket(self, path: str = "/v1/websocket", **how: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self._port}{path}", **{"open_timeout": 60, **how})

    def state(self) -> dict[str, Any]:
        """What its routes tell: loading or ready; failed once the process ended, as it then does."""
        if self.process.poll() is not None:
            return {"state": "failed"}
        try:
            loaded = self.http.get("/v1/models/model/loaded").status_code == 200
        except httpx.TransportError:
            return {}
        return {"state": "ready" if loaded else "loading"}

    def settle(self, **_: int) -> None:
        """It counts nothing: a few of its turns must do."""
        for _turn in range(5):
            self.http.get("/")


def _flags(arguments: tuple[str, ...], folder: Path) -> dict[str, str]:
    nothing = folder / "nothing"
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    return {"--secrets-dir": str(nothing), "--environment-file": str(nothing / "none")} | given
