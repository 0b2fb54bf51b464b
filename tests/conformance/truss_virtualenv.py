"""The virtualenv of Truss's server, apart from ours: `python -m tests.conformance.truss_virtualenv`.

It holds the truss package, which expands config.yaml and brings the server's source, and what the server requires.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "0.18.36"  # the contract was taken from it
HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".conformance"
PYTHON = FOLDER / "venv" / "bin" / "python"
PINS = HERE / "constraints.txt"
# A bundle of CA certificates: Truss asks for one of its own release day, which mirrors of the package
# index may not have yet. No test makes a TLS connection.
ANY_VERSION = ("certifi",)


def make() -> None:
    """Makes it, unless it is there and made from the same pins."""
    made_from = FOLDER / "made-from"
    wanted = f"truss=={VERSION}\n{PINS.read_text()}"
    if made_from.exists() and made_from.read_text() == wanted:
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(FOLDER / "venv")], check=True)
    _pip("--no-deps", f"truss=={VERSION}")
    requirements = FOLDER / "requirements.txt"
    requirements.write_text("\n".join(_of_the_server() + _of_truss()))
    _pip("-r", str(requirements), "-c", str(PINS))
    made_from.write_text(wanted)


def templates() -> Path:
    """The folder of the truss package with the sources of its server."""
    return _site_packages() / "truss" / "templates"


def _of_the_server() -> list[str]:
    lines = (templates() / "server" / "requirements.txt").read_text().splitlines()
    wanted = (line.partition("#")[0].strip() for line in lines)
    return [_relaxed(line) for line in wanted if line and not line.startswith("-")]


def _of_truss() -> list[str]:
    metadata = _site_packages() / f"truss-{VERSION}.dist-info" / "METADATA"
    lines = re.findall(r"^Requires-Dist: (.+)$", metadata.read_text(), re.MULTILINE)
    return [_relaxed(line) for line in lines if "extra ==" not in line]


def _relaxed(requirement: str) -> str:
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    return name if name in ANY_VERSION else requirement


def _site_packages() -> Path:
    return next((FOLDER / "venv" / "lib").glob("python3*/site-packages"))


def _pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)  # else it complains of certifi
    if done.returncode:
        sys.exit(f"The virtualenv of Truss's server could not be made.\n{done.stderr}")


if __name__ == "__main__":
    make()
