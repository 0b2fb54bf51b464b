"""Finds interpreters on this machine for the `python_version` of a config."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from deployments.packages.package import Package
from tasks.process.variables import inherited_variables
from workers.virtualenvs.build import VirtualenvFailed, clean_variables, find_uv

OLDEST = 11  # the minor version: the host's code needs 3.11
LOOK_SECONDS = 30.0  # for uv, and for an interpreter to say that it works
OURS = f"py3{sys.version_info.minor}"  # the worker's version, as config.yaml writes it


class PythonMissing(VirtualenvFailed):
    """A Python version is missing. The text says which one and what to do."""


def other_python(package: Package) -> str | None:
    """The `python_version` of a package that cannot run with the worker's version, else None. A custom server brings its own."""
    wanted = package.python_version
    return None if wanted in (None, OURS) or package.docker_server else wanted


def find_python(wanted: str) -> str:
    """An interpreter for "py312": one that uv knows, else one on the PATH. Raises PythonMissing."""
    if wanted == OURS:
        return sys.executable
    minor = int(wanted.removeprefix("py3"))
    if minor < OLDEST:
        raise PythonMissing(
            f"python_version is {wanted}, but the model host needs Python 3.{OLDEST} or later; set it to py3{OLDEST} or later."
        )
    found = _known_to_uv(minor) or _on_the_path(minor)
    if found is None:
        raise PythonMissing(
            f"python_version is {wanted}, but there is no Python 3.{minor} on this machine; "
            f"install it (uv python install 3.{minor}), or set it to {OURS}."
        )
    return found


def _known_to_uv(minor: int) -> str | None:
    """Asks uv, whose interpreters are not on the PATH. uv gives up at the first broken one, so `_on_the_path` is tried too."""
    uv = find_uv()
    if not uv:
        return None
    command = [uv, "python", "find", f"3.{minor}", "--system", "--no-python-downloads"]
    return _output_of(command) or None


def _on_the_path(minor: int) -> str | None:
    for folder in inherited_variables().get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which(f"python3.{minor}", path=folder or os.curdir)
        # A version manager, such as pyenv, puts a stand-in on the PATH for versions that it cannot start.
        if found and _output_of([found, "-c", "print('works')"]) == "works":
            return str(Path(found).absolute())
    return None


def _output_of(command: list[str]) -> str:
    """The output of a command, "" if it fails, cannot be started or takes longer than LOOK_SECONDS."""
    try:
        done = subprocess.run(
            command,
            env=clean_variables(),
            capture_output=True,
            text=True,
            timeout=LOOK_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
