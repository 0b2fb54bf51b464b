"""Checks a package at a push: its config, the import of the model's file, and the signatures of the model's methods.

It makes no instance of the model. `python -m workers.dry_load FOLDER` exits with 0 for a good package, and else says why on
stderr, after ANSWER_MARK. The exit code is then BROKEN, or NOT_INSTALLED if a module that the package needs is not installed here.
"""

import os
import sys
import traceback
from pathlib import Path

from deployments.packages.package import Package, PackageError
from deployments.packages.syntax import syntax_error
from workers.host.errors import ModelDefinitionError
from workers.host.model.import_path import extend_import_path
from workers.host.model.loader import import_model_file
from workers.host.model.methods import Methods

BROKEN, NOT_INSTALLED = 1, 3
ANSWER_MARK = "\0said\0"  # the model's import may print on stderr, too


def check(folder: Path) -> None:
    """Checks the package. Raises PackageError, or ModuleNotFoundError for a module that is not installed here."""
    package = Package.load(folder)
    if package.docker_server:
        return
    os.chdir(package.root)
    extend_import_path(package)
    try:
        module = import_model_file(package)
    except ModuleNotFoundError:  # it says nothing against the package
        raise
    except SyntaxError as error:  # of a module beside the model's file
        raise syntax_error(error, package.root, package.model_file) from error
    except BaseException as error:  # also sys.exit
        message = f"{package.model_file.name} cannot be imported: {error!r}"
        raise PackageError(f"{message}{_where(error, package)}") from error
    model_class = getattr(module, package.model_class_name, None)
    if not isinstance(model_class, type):
        where = package.model_file.name
        raise PackageError(
            f"There is no class {package.model_class_name} in {where}; define it, or set model_class_name."
        )
    try:
        Methods.of(object.__new__(model_class))
    except ModelDefinitionError as error:
        raise PackageError(str(error)) from error


def main() -> int:
    """Checks the package in the folder of the command line and returns the exit code."""
    folder = Path(sys.argv[1]).absolute()
    sys.dont_write_bytecode = True  # the folder is the user's; -E hides the variable for it
    try:
        check(folder)
    except PackageError as error:
        print(ANSWER_MARK + error.shown, file=sys.stderr)
        return BROKEN
    except ModuleNotFoundError as error:
        print(f"{ANSWER_MARK}{error}", file=sys.stderr)
        return NOT_INSTALLED
    return 0


def _where(error: BaseException, package: Package) -> str:
    """Where the package's own code raised the error, as " (FILE:LINE)". '' if no line of it is in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    root = package.root
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root)]
    if not own:
        return ""
    return f" ({Path(own[-1].filename).relative_to(root)}:{own[-1].lineno})"


if __name__ == "__main__":
    sys.exit(main())
