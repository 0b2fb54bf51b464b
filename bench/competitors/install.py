"""Each competitor in a virtualenv of its own: `python -m bench.competitors.install` makes .bench/NAME from NAME.txt.

The lists are complete and pinned, so nothing is resolved and nothing drags torch in. They were resolved once with
certifi let free: truss 0.18.36 and bentoml 1.4.40 ask for one that was not to be had.
"""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".bench"
NAMES = ("litserve", "bentoml", "truss")
INSTALL_SECONDS = 400


def python(name: str) -> Path | None:
    """The interpreter of a competitor's virtualenv; None when it is not installed."""
    path = HOME / name / "bin" / "python"
    return path if (HOME / f"{name}.ready").exists() and path.exists() else None


def install(name: str) -> None:
    """Makes the virtualenv unless it is there, from the same list. Raises CalledProcessError."""
    pins, ready = HERE / f"{name}.txt", HOME / f"{name}.ready"
    if ready.exists() and ready.read_text() == pins.read_text():
        return
    venv.create(HOME / name, clear=True, with_pip=True)
    command = [str(HOME / name / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*command, "-r", str(pins)], check=True, timeout=INSTALL_SECONDS)
    ready.write_text(pins.read_text())


def main() -> None:
    """All of them; one that does not install is said, and the benches leave it out."""
    HOME.mkdir(exist_ok=True)
    failed = False
    for name in NAMES:
        try:
            install(name)
            print(f"{name}: {python(name)}")
        except (subprocess.SubprocessError, OSError) as error:
            failed = True
            print(f"{name} does not install: {error}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
