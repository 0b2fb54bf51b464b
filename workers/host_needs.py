"""What the model host itself needs in an environment that is not ours: packages, and our own code."""

import hashlib
import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from deployments.package import Package

DISTRIBUTION = "kingpost"
CODE = ("workers", "deployments")  # what workers.host_main imports of ours
ROOT = Path(__file__).parents[1]
IMPORTS_FASTAPI = re.compile(r"^\s*(?:from|import)\s+fastapi\b", re.M)
# `-P`: neither the start folder nor a script's folder comes first. Our code comes last, after the model's.
START = "import sys; sys.path.append(sys.argv.pop(1)); from workers.host_main import main; main()"
CHECK = "import sys; sys.path.append(sys.argv.pop(1)); import workers.host_main"


def host_needs(package: Package) -> tuple[str, ...]:
    """The extra `host` of pyproject.toml, and FastAPI for a model that imports it, as Truss's image has it."""
    needs = [one for one in _declared() if _belongs_to(one, "host")]
    if _imports_fastapi(package):
        needs += [one for one in _declared() if one.name == "fastapi" and _belongs_to(one, "")]
    return tuple(sorted(_plain(one) for one in needs))


def _declared() -> list[Requirement]:
    return [Requirement(one) for one in metadata.requires(DISTRIBUTION) or ()]


def _belongs_to(one: Requirement, extra: str) -> bool:
    if one.marker is None:
        return not extra
    there, elsewhere = (one.marker.evaluate({"extra": name}) for name in (extra, "-"))
    return there if not extra else there and not elsewhere


def _plain(one: Requirement) -> str:
    one.marker = None
    return str(one)


def _imports_fastapi(package: Package) -> bool:
    folders = [package.root, *package.external_package_dirs]
    files = (path for folder in folders for path in folder.rglob("*.py"))
    return any(IMPORTS_FASTAPI.search(path.read_text(errors="replace")) for path in files)


def code_folder(environments: Path) -> Path:
    """A folder with links to the host's packages and nothing else: site-packages must not come along."""
    name = "host-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    folder = environments / name
    folder.mkdir(parents=True, exist_ok=True)
    for package in CODE:
        link = folder / package
        if not link.is_symlink():
            try:
                link.symlink_to(ROOT / package, target_is_directory=True)
            except FileExistsError:
                continue  # another replica was quicker
    return folder
