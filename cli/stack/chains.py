"""Chains for the command line: builds them, and makes the key with which chainlets call each other."""

from pathlib import Path

from cli.stack.flower import write_secret
from cli.stack.start_failed import StartFailed
from deployments import chains
from deployments.packages.package import PackageError
from tasks.access import keys
from tasks.process.logs import get_logger
from tasks.settings import Settings
from tasks.store.job_store import JobStore

log = get_logger("chains")


def build_one(folder: Path, out: Path) -> list[Path]:
    """Builds the chain in `folder`. Returns the packages that need a replica. Raises StartFailed."""
    try:
        file = chains.chain_file(folder)
        if file is None:
            raise StartFailed(
                f"The folder {folder} holds no chain, because no Python file in it has @mark_entrypoint."
            )
        built = chains.build(file, out / file.parent.name)
        return [process[0].root for process in chains.processes(built)]
    except PackageError as error:
        raise StartFailed(f"The chain in {folder} is broken: {error}") from error


def install_chain_key(settings: Settings) -> str:
    """The key with which chainlets call each other. It is kept in STATE/chain_api_key and survives restarts."""
    path, store = settings.state_dir / "chain_api_key", JobStore(settings)
    if path.exists():
        plain = path.read_text().strip()
        if not store.run(keys.install(plain, "chains", "inference")):
            log.warning("key.revoked", told=f"the key in {path} stays revoked; remove the file")
    else:
        plain = keys.fresh()
        store.run(keys.create(plain, "chains", "inference"))
        write_secret(path, plain)
    store.close()
    return plain
