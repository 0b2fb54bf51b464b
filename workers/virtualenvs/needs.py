"""What the model host needs in the virtualenv of a package: other packages, and our own code."""

import hashlib
import re
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

from tasks.process.programs import ROOT

DISTRIBUTION = "kingpost"
EXTRA = re.compile(r"""(?: and )?extra == ["']([\w-]+)["']""")
# What workers.host.main imports of ours: whole packages, and the modules of `tasks` that know nothing of the store.
CODE = (
    "workers",
    "deployments",
    "kingpost/__init__.py",
    "kingpost/errors.py",
    "kingpost/packing",
    "kingpost/streams",
    "tasks/__init__.py",
    "tasks/outside_text.py",
    "tasks/process/__init__.py",
    "tasks/process/exporting.py",  # imported only if traces are wanted
    "tasks/process/mistakes.py",
    "tasks/process/tracing.py",
    "tasks/process/variables.py",
)
# `-P`: neither the start folder nor a script's folder comes first. Our code comes last, after the model's.
START = "import sys; sys.path.append(sys.argv.pop(1)); from workers.host.main import main; main()"
CHECK = "import sys; sys.path.append(sys.argv.pop(1)); import workers.host.main"


def host_needs() -> tuple[str, ...]:
    """The requirements of the extras `host` and `base` of pyproject.toml, and FastAPI, which Truss's image has for every model.

    They are the same for all packages. So only a package's own requirements decide with which packages it shares a virtualenv.
    """
    declared = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    needs = [requirement for requirement in declared if _extra(requirement) in ("host", "base")]
    needs += [
        requirement
        for requirement in declared
        if requirement.name == "fastapi" and _extra(requirement) == "server"
    ]
    return tuple(sorted({_without_extra(requirement) for requirement in needs}))


def _extra(requirement: Requirement) -> str:
    found = EXTRA.search(str(requirement.marker or ""))
    return found[1] if found else ""


def _without_extra(requirement: Requirement) -> str:
    """The requirement without the marker of its extra. The rest of the marker is for the interpreter."""
    rest = EXTRA.sub("", str(requirement.marker or "")).strip()
    requirement.marker = Marker(rest) if rest else None
    return str(requirement)


def code_folder(virtualenvs: Path) -> Path:
    """Makes a folder that only has links to the host's code, so that our site-packages are not on the import path."""
    name = "host-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    folder = virtualenvs / name
    for code in CODE:
        link = folder / code
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            try:
                link.symlink_to(ROOT / code)
            except FileExistsError:
                continue  # another replica was quicker
    return folder
