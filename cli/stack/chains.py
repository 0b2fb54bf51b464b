"""Chains for the command line: built, and given a key to call each other with."""

from pathlib import Path

from cli.stack.flower import write_secret
from cli.stack.start_failed import StartFailed
from deployments import chains
from deployments.packages.package import PackageError
from tasks.api_keys import ApiKeys
from tasks.settings import Settings


def build_one(folder: Path, out: Path) -> list[Path]:
    """The packages of the chain in `folder` that take a replica each. Raises StartFailed."""
    try:
        file = chains.chain_file(folder)
        if file is None:
            raise StartFailed(f"The folder {folder} holds no chain: no file has @mark_entrypoint.")
        built = chains.build(file, out / file.parent.name)
        return [process[0].root for process in chains.processes(built)]
    except PackageError as error:
        raise StartFailed(f"The chain in {folder} is broken: {error}") from error


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
