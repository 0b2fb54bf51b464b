"""Chains for the command line: found among the models, built, and given a key to call each other with."""

from pathlib import Path

from cli.flower import write_secret
from cli.start_failed import StartFailed
from deployments import chains
from deployments.package import Package, PackageError
from tasks.api_keys import ApiKeys
from tasks.settings import Settings


def find_chains(folder: Path) -> list[Path]:
    """The files with a chain's entrypoint in the folders right below. Raises StartFailed."""
    try:
        files = [chains.chain_file(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    except PackageError as error:
        raise StartFailed(str(error)) from error
    return [file for file in files if file]


def build_chains(files: list[Path], out: Path) -> list[Package]:
    """A package for each chainlet, below `out`. Raises StartFailed."""
    built: list[Package] = []
    for file in files:
        try:
            built += chains.build(file, out / file.parent.name)
        except PackageError as error:
            raise StartFailed(f"The chain in {file} is broken: {error}") from error
    return built


def build_one(folder: Path, out: Path) -> list[Path]:
    """The packages of the chain in `folder` that take a replica each. Raises StartFailed."""
    try:
        file = chains.chain_file(folder)
    except PackageError as error:
        raise StartFailed(str(error)) from error
    if file is None:
        raise StartFailed(f"The folder {folder} holds no chain: no file has @mark_entrypoint.")
    return [process[0].root for process in chains.processes(build_chains([file], out))]


def install_chain_key(settings: Settings) -> str:
    """The key that chainlets call each other with; the same over restarts, in STATE/chain_api_key."""
    path, keys = settings.state_dir / "chain_api_key", ApiKeys(settings)
    if path.exists():
        plain = path.read_text().strip()
        keys.install(plain, "chains", "inference")
        return plain
    plain = keys.create("chains", "inference")
    write_secret(path, plain)
    return plain
