"""What tests see of the machine: an empty home, empty caches, no variable that only this shell has, and a Ctrl-C that works."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

KEPT = {"PATH", "TMPDIR", "USER", "LOGNAME", "LD_LIBRARY_PATH", "CI"}
# Installers' own settings (an index, a folder of wheels), certificates, and what starts an interpreter or a GPU.
KEPT |= {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"}
KEPT_BEGINNINGS = ("PIP_", "UV_", "PYENV_", "CUDA_", "NVIDIA_", "PYTEST_", "HYPOTHESIS_")


def clean(found: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables for tests: what an installer needs of `found`, and `home` with everything in it."""
    kept = {
        name: value
        for name, value in found.items()
        if name in KEPT or name.startswith(KEPT_BEGINNINGS)
    }
    folders = {
        "HOME": home,
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_DATA_HOME": home / ".local" / "share",
        "XDG_STATE_HOME": home / ".local" / "state",
        "PIP_CACHE_DIR": home / ".cache" / "pip",
        "UV_CACHE_DIR": home / ".cache" / "uv",
    }
    # One thread for torch: processes with more starve each other.
    ours = {name: str(path) for name, path in folders.items()} | {"OMP_NUM_THREADS": "1"}
    return _configurations(found) | kept | ours


def _configurations(found: Mapping[str, str]) -> dict[str, str]:
    """Where installers' own configuration lies: they would not find it from another home."""
    home = Path(found.get("HOME", "/nonexistent"))
    config = Path(found.get("XDG_CONFIG_HOME") or home / ".config")
    places = {
        "PIP_CONFIG_FILE": (home / ".pip" / "pip.conf", config / "pip" / "pip.conf"),
        "UV_CONFIG_FILE": (config / "uv" / "uv.toml",),
    }
    return {name: str(path) for name, paths in places.items() for path in paths if path.is_file()}


def enter() -> Path:
    """Gives this process clean surroundings; the folder, which `leave` removes."""
    home = Path(tempfile.mkdtemp(prefix="kingpost-tests-"))
    variables = clean(os.environ, home)
    os.environ.clear()
    os.environ.update(variables)
    sys.dont_write_bytecode = False  # a child would compile all of our code again
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return home


def leave(home: Path) -> None:
    """Removes the folder."""
    shutil.rmtree(home, ignore_errors=True)
