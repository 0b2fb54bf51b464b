"""The virtualenvs of packages. One is built for each hash of requirements, and all replicas share it.

A virtualenv is in STATE/virtualenvs/<hash>/ and is finished when it holds `ready.json`. A host holds a shared lock on <hash>.lock
while it runs. A build or removal holds an exclusive lock. A crash frees the locks.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from deployments.packages.package import Package, PackageError
from deployments.packages.requirements import Requirements
from tasks.process.logs import get_logger
from tasks.process.programs import with_users_modules
from tasks.process.variables import inherited_variables
from tasks.settings import Settings
from workers.processes.turns import ReplicaStops, Turns, try_lock
from workers.virtualenvs.build import (
    Build,
    Say,
    VirtualenvFailed,
    clean_variables,
)
from workers.virtualenvs.needs import START, code_folder, host_needs
from workers.virtualenvs.pythons import OURS, find_python, other_python

log = get_logger("virtualenv")

READY = "ready.json"
WAITS = "waits until the virtualenvs of other models are built"
LOCK_EVERY = 0.2  # s, between looks at a lock that another replica holds


@dataclass(frozen=True)
class HostPython:
    """How to start a host: the command before the host's own arguments, and its variables."""

    command: tuple[str, ...]
    variables: Mapping[str, str]
    model: str  # the name of the model whose host it is

    def given(self, variables: Mapping[str, str], prefix: tuple[str, ...] = ()) -> "HostPython":
        """A copy with further variables, and with `prefix` before its command."""
        command = (*prefix, *self.command)
        return replace(self, command=command, variables={**self.variables, **variables})


def folder_of(settings: Settings) -> Path:
    """The folder of all virtualenvs: KINGPOST_VIRTUALENVS_DIR, or STATE/virtualenvs."""
    given = settings.virtualenvs_dir
    return Path(given).resolve() if given else settings.state_dir.resolve() / "virtualenvs"


class Virtualenvs:
    """The virtualenv for a package's host. It is chosen anew at every start of a host."""

    def __init__(
        self,
        package: Path,
        settings: Settings,
        stopping: threading.Event,
        any_python: bool = False,
    ) -> None:
        self._package = package
        self._settings = settings
        self._stopping = stopping
        self._any_python = any_python  # `python_version` is ignored: the push allowed that
        self._folder = folder_of(settings)
        self._builds = Turns.to_build(settings)

    @contextlib.contextmanager
    def use(self, say: Say) -> Generator[HostPython]:
        """The interpreter for the host. Its virtualenv is built first if necessary, and is not removed inside the `with` block.

        Raises VirtualenvFailed and ReplicaStops.
        """
        try:
            package = Package.load(self._package)
            wanted = self._wanted(package)
        except PackageError as error:
            raise VirtualenvFailed(str(error)) from error
        if wanted is None:
            command = with_users_modules("workers.host.main")
            yield HostPython(command, inherited_variables(), package.model_name)
            return
        build = self._build(package, wanted)
        with self._held(build, say):
            yield _python_of(build, package.model_name)

    def _wanted(self, package: Package) -> Requirements | None:
        """The requirements of the package's own virtualenv, None if it uses the worker's Python."""
        other = self._other_python(package)
        if self._settings.own_virtualenvs == "never":
            if other:
                message = f"python_version is {other}, but KINGPOST_OWN_VIRTUALENVS=never keeps all models in {OURS}."
                raise VirtualenvFailed(message)
            return None
        wanted = Requirements.of(package)
        if other:
            return wanted or Requirements.none(package)
        when_missing = self._settings.own_virtualenvs == "when_missing"
        if wanted and when_missing and wanted.lines and not wanted.missing_here():
            return None
        return wanted

    def _other_python(self, package: Package) -> str | None:
        return None if self._any_python else other_python(package)

    def _build(self, package: Package, wanted: Requirements) -> Build:
        python = find_python(self._other_python(package) or OURS)
        needs = host_needs()
        key = wanted.key(python, sys.version, sys.platform, *needs)
        seconds = self._settings.virtualenv_build_seconds
        code = code_folder(self._folder)
        return Build(self._folder / key, wanted, needs, code, python, seconds, self._stopping)

    @contextlib.contextmanager
    def _held(self, build: Build, say: Say) -> Generator[None]:
        """Holds a shared lock on a virtualenv that is ready. Builds it first, or waits while another replica does."""
        with build.folder.with_suffix(".lock").open("w") as lock:
            ends = time.monotonic() + build.seconds
            while not self._share(lock, build):
                if not try_lock(lock, fcntl.LOCK_EX):
                    say("another replica builds this virtualenv")
                    self._wait(ends)
                elif not _is_ready(build.folder):
                    with self._builds.taken(self._stopping, lambda _: say(WAITS)) as give_back:
                        self._make_in_turn(build, say, give_back)
                # The next round takes the shared lock. If somebody removed the virtualenv in between, it is built again.
            yield

    def _make_in_turn(self, build: Build, say: Say, give_back: Callable[[], None]) -> None:
        """Builds it. A long build gives its turn back, and goes on: one that hangs must not stop all others."""

        def outlast() -> None:
            log.warning("virtualenv.outlasted_turn", folder=str(build.folder), seconds=seconds)
            give_back()

        seconds = self._settings.build_turn_seconds
        timer = threading.Timer(seconds, outlast)
        timer.daemon = True
        timer.start()
        try:
            self._make(build, say)
        finally:
            timer.cancel()
            timer.join()

    def _share(self, lock: IO[str], build: Build) -> bool:
        """Takes the shared lock if the virtualenv is ready. Else this holds no lock and returns False."""
        if try_lock(lock, fcntl.LOCK_SH) and _is_ready(build.folder):
            os.utime(build.folder / READY)  # the last use, for `prune`
            return True
        fcntl.flock(lock, fcntl.LOCK_UN)
        return False

    def _wait(self, ends: float) -> None:
        if self._stopping.wait(LOCK_EVERY):
            raise ReplicaStops
        if time.monotonic() > ends:
            raise VirtualenvFailed("Another replica did not finish building this virtualenv.")

    def _make(self, build: Build, say: Say) -> None:
        began = time.monotonic()
        log.info("virtualenv.building", folder=str(build.folder), wants=build.requirements.lines)
        try:
            installer = build.run(say)
        except BaseException:
            shutil.rmtree(build.folder, ignore_errors=True)
            raise
        lines = list(build.requirements.lines)
        about = {"path": str(build.folder), "installer": installer, "requirements": lines}
        fresh = build.folder / (READY + ".new")
        fresh.write_text(json.dumps(about, indent=2))
        fresh.replace(build.folder / READY)
        took_ms = round((time.monotonic() - began) * 1000)
        log.info("virtualenv.built", folder=str(build.folder), by=installer, took_ms=took_ms)


def _python_of(build: Build, model: str) -> HostPython:
    programs = build.folder / "bin"
    command = (str(programs / "python"), "-P", "-c", START, str(build.code))
    ours = clean_variables()
    path = f"{programs}:{ours.get('PATH', os.defpath)}"
    return HostPython(command, ours | {"PATH": path, "VIRTUAL_ENV": str(build.folder)}, model)


def _is_ready(folder: Path) -> bool:
    """Whether the virtualenv is finished and has an interpreter. It must be where it was built, because its programs contain the path."""
    try:
        about = json.loads((folder / READY).read_text())
    except (OSError, ValueError):
        return False
    return about["path"] == str(folder) and os.access(folder / "bin" / "python", os.X_OK)


def prune(settings: Settings, unused_seconds: float) -> list[str]:
    """Removes finished virtualenvs in which no host runs, and none was started for that time. Returns the names of their folders."""
    gone: list[str] = []
    oldest = time.time() - unused_seconds
    for marker in sorted(folder_of(settings).glob(f"*/{READY}")):
        folder = marker.parent
        with folder.with_suffix(".lock").open("w") as lock:
            if try_lock(lock, fcntl.LOCK_EX) and marker.stat().st_mtime <= oldest:
                marker.unlink()  # first: without it, a virtualenv that is half removed is not taken for a finished one
                shutil.rmtree(folder, ignore_errors=True)
                gone.append(folder.name)
    return gone
