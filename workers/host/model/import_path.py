"""What a model can import: its package's own folder and bundled packages, also where Kingpost has modules of the same names."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from deployments.packages.package import Package

# The top level of Kingpost's own code
OWN_NAMES = ("api", "celeryconfig", "cli", "deployments", "priority", "tasks", "workers")


def extend_import_path(package: Package) -> None:
    """Adds the package to the import path as in Truss's image: its own folder first, its bundled packages last."""
    folder = str(package.root)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    for packages in package.package_dirs:
        if packages.is_dir() and str(packages) not in sys.path:
            sys.path.append(str(packages))


def prefer_package_modules(package: Package) -> None:
    """Makes the model import the package's module where Kingpost has one of the same name, such as `tasks`.

    Code of Kingpost that has imported its own module goes on to use it.
    """
    for name in OWN_NAMES:
        for place in (package.root, *package.package_dirs):
            if (place / name).is_dir() or (place / f"{name}.py").is_file():
                _forget_own_module(name)
                _package_modules.places[name] = str(place)
                break


def _forget_own_module(name: str) -> None:
    """Removes Kingpost's module of that name, and those below it, from sys.modules, so that the next import finds the package's."""
    own_root = Path(__file__).parents[3]
    for known, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if known.partition(".")[0] == name and file and Path(file).is_relative_to(own_root / name):
            del sys.modules[known]


class _PackageModules(importlib.abc.MetaPathFinder):
    """Finds the package's module where Kingpost's of the same name would otherwise come first on the import path."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}  # name -> the folder that holds it

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a top-level module in `places`, else None."""
        place = self.places.get(fullname) if path is None else None
        if place is None:
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, [place], target)


_package_modules = _PackageModules()
sys.meta_path.insert(0, _package_modules)
