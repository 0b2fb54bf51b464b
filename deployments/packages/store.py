"""Stores packages by the hash of their content. Nodes fetch and verify them."""

import fcntl
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from deployments.config.values import PackageError
from deployments.packages.files import Selection, content_hash
from deployments.registry.records import Deployment
from tasks.payloads import Payloads
from tasks.settings import Settings

CHUNK = 1 << 20  # bytes


class PackageStore:
    """The packages in the payload store, below `packages/`. Methods raise PayloadUnavailable and NotFound."""

    def __init__(self, settings: Settings) -> None:
        self._payloads = Payloads(settings)
        self._folder = settings.state_dir.resolve() / "packages"

    def put(self, selection: Selection, progress: Callable[[int], None]) -> bool:
        """Stores a package and calls `progress` with the bytes sent. False if it was stored already."""
        ref = _ref(selection.content_hash)
        if self._payloads.has(ref):
            return False
        with tempfile.TemporaryFile() as file:
            selection.write_tar(file)
            file.seek(0)
            writer = self._payloads.writer(ref)
            while chunk := file.read(CHUNK):
                writer.write(chunk)
                progress(len(chunk))
            writer.close()
        return True

    def folder(self, deployment: Deployment) -> Path:
        """The folder of the deployment's package on this machine. It is fetched if necessary. Raises PackageError."""
        if deployment.package:
            return Path(deployment.package)
        return self.fetch(deployment.content_hash)

    def fetch(self, wanted: str) -> Path:
        """The verified package of that hash. Raises PackageError if the stored content has another hash."""
        folder = self._folder / wanted
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{wanted}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # replicas that start together fetch it once
            if not folder.is_dir():
                self._unpack(wanted, folder)
        return folder

    def _unpack(self, wanted: str, folder: Path) -> None:
        fresh = folder.with_name(f"{wanted}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        with tempfile.TemporaryFile() as file:
            _spool(self._payloads.read(_ref(wanted)), file)
            with tarfile.open(fileobj=file) as tar:
                tar.extractall(fresh, filter="data")
        files = tuple(path for path in fresh.rglob("*") if path.is_file())
        if content_hash(fresh, files) != wanted:
            shutil.rmtree(fresh)
            raise PackageError(f"The stored package {wanted[:12]} is damaged; push it again.")
        for inner in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
            inner.chmod(0o755)  # for a custom server that runs as another user
        fresh.rename(folder)


def _ref(wanted: str) -> str:
    return f"packages/{wanted[:2]}/{wanted}.tar"


def _spool(pieces: Iterator[bytes], file: IO[bytes]) -> None:
    for piece in pieces:
        file.write(piece)
    file.seek(0)
