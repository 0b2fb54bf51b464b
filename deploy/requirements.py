"""`python requirements.py EXTRA...`: prints what these extras of pyproject.toml need, without the project itself.

The image installs them before it copies the source, so that a change of the source installs nothing anew.
"""

import re
import sys
import tomllib
from pathlib import Path


def needed(extras: list[str], project: dict[str, object]) -> list[str]:
    """Every requirement of the project with these extras, also of those that they name in turn."""
    known: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    found: list[str] = list(project["dependencies"])  # type: ignore[call-overload]
    for extra in extras:
        for line in known[extra]:
            own = re.fullmatch(r"kingpost\[(.+)\]", line)
            found += needed(own[1].split(","), project) if own else [line]
    return sorted(set(found))


if __name__ == "__main__":
    table = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    print("\n".join(needed(sys.argv[1:], table)))
