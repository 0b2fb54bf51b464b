"""Stores packages by the hash of their content. Nodes fetch and verify them."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from deployments.packages.archive import Limits, sketch, unpack
from deployments.registry.records import Deployment
from kingpost.packing.config_file import PackageError
from kingpost.packing.files import Selection
from tasks.payloads import Payloads
from tasks.settings import Settings

CHUNK = 1 << 20  # bytes


class PackageStore:
    """The packages in the payload store, below `packages/`. Methods raise PayloadUnavailable and NotFound."""

    def __init__(self, settings: Settings) -> None:
        self._payloads = Payloads(settings)
        self._limits = Limits.of(settings)
        self._folder = unpacked_in(settings)
        self.held: list[int] = []  # descriptors of locks

    def put(self, selection: Selection, progress: Callable[[int], None]) -> bool:
        """Stores a package and calls `progress` with the bytes sent. False if it was stored already.

        Raises PackageError for one that no node would unpack.
        """
        self._limits.check(len(selection.files), selection.size)
        ref = package_ref(selection.content_hash)
        if self._payloads.has(ref):
            return False
        writer = self._payloads.writer(ref)
        for piece in selection.tar():
            writer.write(piece)
            progress(len(piece))
        writer.close()
        return True

    def folder(self, deployment: Deployment) -> Path:
        """The folder of the deployment's package on this machine. It is fetched if necessary, and stays until this process ends.

        Raises PackageError.
        """
        if deployment.package:
            return Path(deployment.package)
        return self.fetch(deployment.content_hash)

    def fetch(self, wanted: str) -> Path:
        """The verified package of that hash, which stays until this process ends. Raises PackageError if the stored content has another hash."""
        folder = self._folder / wanted
        self._folder.mkdir(parents=True, exist_ok=True)
        # The descriptor stays open: the lock ends with the process, however that ends. See unpacked.py.
        lock = os.open(self._folder / f"{wanted}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        self.held.append(lock)
        while not self._shared(lock, folder):
            fcntl.flock(lock, fcntl.LOCK_EX)  # replicas that start together fetch it once
            if not folder.is_dir():
                self._unpack(wanted, folder)
        os.utime(lock)  # its last use
        return folder

    @staticmethod
    def _shared(lock: int, folder: Path) -> bool:
        """Takes a shared lock. Returns whether the package is there: it may be deleted in the moment before the lock is shared."""
        fcntl.flock(lock, fcntl.LOCK_SH)
        return folder.is_dir()

    def unpacked(self, wanted: str) -> Path | None:
        """The package's folder if it is unpacked here. It may go at any time."""
        folder = self._folder / wanted
        return folder if folder.is_dir() else None

    def sketch(self, wanted: str, to: Path) -> None:
        """Writes into an empty folder what a check of the stored package needs. Raises PackageError."""
        sketch(self._payloads.read(package_ref(wanted)), self._limits, to)

    def _unpack(self, wanted: str, folder: Path) -> None:
        fresh = folder.with_name(f"{wanted}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            unpack(self._payloads.read(package_ref(wanted)), wanted, self._limits, fresh)
        except PackageError as error:
            shutil.rmtree(fresh)
            said = f"The stored package {wanted[:12]} is damaged; push it again. {error}"
            raise PackageError(said) from None
        for inner in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
            inner.chmod(0o755)  # for a custom server that runs as another user
        fresh.rename(folder)


def unpacked_in(settings: Settings) -> Path:
    """The folder of unpacked packages on this machine."""
    return settings.state_dir.resolve() / "packages"


def package_ref(wanted: str) -> str:
    """The name of a package in the payload store."""
    return f"packages/{wanted[:2]}/{wanted}.tar"
