"""The wheel, an environment that has it with its server, and a stack in a folder of its own."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.shipped.installed import Installed, Place, hostile, make
from tests.wheels import build, copy_tree


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(copy_tree(tmp_path_factory.mktemp("tree")))[0]


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel with its server in an environment that has nothing else."""
    environment = make(tmp_path_factory.mktemp("wheel") / "venv")
    environment.install(f"{wheel}[server]")
    return environment


@pytest.fixture
def place(installed: Installed, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "work").mkdir()
    place = Place(installed, hostile(tmp_path / "work"))
    yield place
    place.stop()


class Hook(BaseHTTPRequestHandler):
    """Notes what is delivered."""

    got: list[dict[str, Any]] = []  # noqa: RUF012 - of the class, which a server makes its objects of

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def hook() -> Iterator[str]:
    Hook.got.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()
