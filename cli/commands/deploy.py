"""`kingpost push` without a server: deploys a folder on the store of this machine."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from cli.accepting import accepted, check_named, say_warnings
from cli.auditing import audited
from cli.commands.promoting import switch
from cli.local.promoting import RegistryOnStore
from cli.running import check_package_folder, current_settings
from deployments.packages.deploying import deployment_of
from deployments.packages.names import check_model_name
from deployments.packages.package import Package
from deployments.packages.requirements import Requirements
from deployments.packages.store import PackageStore
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from kingpost.packing.config_file import PackageError
from kingpost.packing.files import Selection
from kingpost.packing.gathering import gather
from tasks.errors import KingpostError
from tasks.process.programs import with_users_modules
from tasks.process.variables import inherited_variables
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from workers.dry_load import ANSWER_MARK, NOT_INSTALLED
from workers.virtualenvs.needs import host_needs

CHECK_SECONDS = 300.0  # for the import of a model's file, which may import torch


class PushRefused(KingpostError):
    """The package cannot be pushed as it is."""


def push_here(
    folders: Sequence[Path], name: str | None, wanted: str | None, unsupported: list[str] | None
) -> list[Deployment]:
    """Deploys packages on the store of this machine. `wanted` is the environment to promote to. Raises PushRefused, NoStack and SettingsError."""
    deployed: list[Deployment] = []
    settings = current_settings()
    check_package_folder(settings)
    allowed = check_named(unsupported, folders)
    for folder in folders:
        try:
            deployed.append(_push(settings, folder, name, wanted, allowed))
        except PushRefused as error:
            raise PushRefused(f"{folder}: {error}" if len(folders) > 1 else str(error)) from error
    return deployed


def _push(
    settings: Settings, folder: Path, name: str | None, wanted: str | None, allowed: list[str]
) -> Deployment:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            package = accepted(settings, folder, allowed)
            check_model_name(name if name is not None else package.model_name)
            selection = gather(package.root, settings.max_package_file_bytes, Path(scratch))
            _dry_load(package, "requirements" in allowed)
            _store(settings, selection)
        except PackageError as error:
            raise PushRefused(error.shown) from error
    store = JobStore(settings)
    call = deployment_of(package, name or package.model_name, selection.content_hash)
    with audited(store, "deployment.push", name or package.model_name) as change:
        deployment = store.run(call)
        change.target = f"{deployment.model_name}/{deployment.id}"
    print(f"{deployment.model_name}: deployment {deployment.id} (model {deployment.model_id})")
    say_warnings(package)
    if wanted:
        switch(RegistryOnStore(settings), deployment.model_id, deployment.id, wanted)
    elif _environments_of(store, deployment):
        print(f"{', '.join(_environments_of(store, deployment))} points at it.")
    else:
        name = shlex.quote(deployment.model_name)
        print(f"Promote it: kingpost promote {name} {deployment.id}")
    return deployment


def _environments_of(store: JobStore, deployment: Deployment) -> list[str]:
    """The names of the environments that point at the deployment."""
    environments = store.run(registry.environments(deployment.model_id)).values()
    return [
        environment.name
        for environment in environments
        if environment.deployment_id == deployment.id
    ]


def _dry_load(package: Package, may_lack: bool) -> None:
    """Imports the model's file and reads its signatures, in a process of its own. Raises PushRefused.

    With `may_lack`, a missing module is only a warning.
    """
    command = [*with_users_modules("workers.dry_load"), str(package.root)]
    env = inherited_variables()
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=CHECK_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise PushRefused(f"The model was not imported within {CHECK_SECONDS:g} s.") from None
    said = (
        done.stderr.rpartition(ANSWER_MARK)[2].strip()
        or "The import of the model ended without a message."
    )
    if done.returncode == NOT_INSTALLED:
        _missing_module(package, said, may_lack)
    elif done.returncode != 0:
        raise PushRefused(said)


def _missing_module(package: Package, said: str, may_lack: bool) -> None:
    """A missing module is only a warning if the package's own virtualenv may provide it. Else raises PushRefused."""
    wanted = Requirements.of(package)
    # What every model host brings along.
    brought = [Requirement(need).name for need in host_needs()]  # only the names count here
    known = wanted is None or (wanted.lines and not wanted.missing_here(brought))
    if may_lack or not known:
        message = f"The signatures are not checked: {said}; if no requirement provides it, add it to requirements."
        Console(stderr=True).print(message, style="yellow", markup=False)
        return
    way = "add it to requirements, or --allow-unsupported requirements if the nodes have it"
    raise PushRefused(f"{said}; {way}.")


def _store(settings: Settings, selection: Selection) -> None:
    """Puts the files into the package store, with a bar on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("storing", total=selection.tar_size)
        advance: Callable[[int], None] = lambda count: progress.advance(task, count)  # noqa: E731
        new = PackageStore(settings).put(selection, advance)
    files = f"{len(selection.files)} files, {selection.size / 1e6:.1f} MB"
    print(f"{'stored' if new else 'known'}: {files}, {selection.content_hash[:12]}")
