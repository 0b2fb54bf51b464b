"""What the model host itself needs in an environment that is not ours: packages, and our own code."""

import hashlib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tasks.programs import ROOT

DISTRIBUTION = "kingpost"
# What workers.host_main imports of ours: whole packages, and the one module of `tasks` that needs nothing else.
CODE = ("workers", "deployments", "tasks/__init__.py", "tasks/outside_text.py")
# `-P`: neither the start folder nor a script's folder comes first. Our code comes last, after the model's.
START = "import sys; sys.path.append(sys.argv.pop(1)); from workers.host_main import main; main()"
CHECK = "import sys; sys.path.append(sys.argv.pop(1)); import workers.host_main"


def host_needs() -> tuple[str, ...]:
    """The extra `host` of pyproject.toml, and FastAPI, which Truss's image has for every model.

    The same for all packages: what they require then decides alone which of them share an environment.
    """
    needs = [one for one in _declared() if _belongs_to(one, "host")]
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


def code_folder(environments: Path) -> Path:
    """A folder with links to the host's code and nothing else: site-packages must not come along."""
    name = "host-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    folder = environments / name
    for code in CODE:
        link = folder / code
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            try:
                link.symlink_to(ROOT / code)
            except FileExistsError:
                continue  # another replica was quicker
    return folder
