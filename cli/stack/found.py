"""Finds the models and chains for `kingpost up`. A broken folder is left out with its reason, and the rest runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.accepting import accepted
from cli.stack.start_failed import StartFailed
from deployments import chains
from deployments.packages.package import Package, PackageError
from deployments.packages.store import PackageStore
from deployments.registry import verbs as registry
from tasks.errors import KingpostError
from tasks.settings import Settings
from tasks.store.job_store import JobStore

# A folder with config.yml is found, then refused with a hint to rename it.
CONFIGS = ("config.yaml", "config.yml")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Broken:
    """A folder, or a model in it, that cannot be used. The first line of `reason` is a sentence; an excerpt may follow."""

    name: str
    folder: Path
    reason: str


@dataclass(frozen=True)
class Found:
    """The model processes to run, each as its packages with the leader first, and the folders that are left out."""

    processes: list[list[Package]] = field(default_factory=list[list[Package]])
    broken: list[Broken] = field(default_factory=list[Broken])

    @property
    def packages(self) -> list[Package]:
        """All packages of all processes."""
        return [package for process in self.processes for package in process]

    def leave_out(self, folder: Path, error: Exception) -> None:
        """Notes a folder as broken."""
        self.broken.append(Broken(folder.name, folder, reason(error)))


@dataclass(frozen=True)
class _Unit:
    """A model, or all chainlets of a chain. If one of them is broken, all are left out."""

    folder: Path
    packages: list[Package]


def example_of(package: Package) -> object:
    """The example input of config.yaml, {} if there is none."""
    return package.model_metadata.get("example_model_input", {})


def pushed_example(settings: Settings, store: JobStore, name: str) -> object:
    """The example input of a pushed model's production. None if its package is not unpacked here."""
    production = store.run(registry.model(name)).environments.get("production")
    if production is None or not production.deployment_id:
        return None
    content_hash = store.run(registry.deployment(production.deployment_id)).content_hash
    folder = PackageStore(settings).unpacked(content_hash)
    try:
        return example_of(Package.load(folder)) if folder else None
    except (PackageError, OSError):  # the collector removes the package at this moment
        return None


def find(
    settings: Settings, folder: Path | None, allowed: Sequence[str], say: Say = print
) -> Found:
    """The models and chains directly below a folder (None: ./models, if it exists). Raises StartFailed if there is no such folder of models."""
    found, units = Found(), list[_Unit]()
    for path in _subfolders(folder):
        try:
            if packages := _packages_in(settings, path, allowed, say):
                units.append(_Unit(path, packages))
        except Exception as error:  # any error in one folder must not stop the others
            found.leave_out(path, error)
    for unit in _without_clashes(units, found):
        try:
            found.processes.extend(chains.processes(unit.packages))
        except PackageError as error:
            found.leave_out(unit.folder, error)
    return found


def reason(error: Exception) -> str:
    """The reason as a user reads it."""
    if isinstance(error, PackageError):
        return error.shown
    if isinstance(error, KingpostError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename} cannot be read" if error.filename else "it cannot be read"
        return f"{where}: {error.strerror or error}."
    return f"It cannot be read ({type(error).__name__}: {error})."


def _subfolders(folder: Path | None) -> list[Path]:
    if folder is None:
        folder = Path("models")
        if not folder.exists():
            return []
    if not folder.is_dir():
        raise StartFailed(f"There is no folder {folder}; give the folder of models with --models.")
    if any((folder / name).exists() for name in CONFIGS):
        above = folder.absolute().parent
        raise StartFailed(f"{folder} is a package itself: give the folder above, --models {above}.")
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise StartFailed(f"The folder {folder} cannot be read: {error.strerror}.") from error


def _packages_in(settings: Settings, path: Path, allowed: Sequence[str], say: Say) -> list[Package]:
    """The packages of one folder, none when it is neither a model nor a chain."""
    if any((path / name).exists() for name in CONFIGS):
        return [accepted(settings, path, allowed)]
    file = chains.chain_file(path)
    if file is None:
        return []
    say(f"Building the chain in {path}.")
    built = chains.build(file, settings.state_dir / "chains" / path.name)
    return [accepted(settings, package.root, allowed) for package in built]


def _without_clashes(units: Sequence[_Unit], found: Found) -> list[_Unit]:
    """The units whose names are unique. If two have one name, the folder with that name keeps it, else the first folder."""
    taken: dict[str, Path] = {}
    kept: list[_Unit] = []
    for unit in sorted(units, key=lambda unit: unit.folder.name != unit.packages[0].model_name):
        names = [package.model_name for package in unit.packages]
        if clash := next((name for name in names if name in taken), None):
            message = (
                f"Its name {clash} is already the name of {taken[clash]}; give it another name."
            )
            found.leave_out(unit.folder, PackageError(message))
            continue
        taken |= dict.fromkeys(names, unit.folder)
        kept.append(unit)
    return sorted(kept, key=lambda unit: unit.folder)
