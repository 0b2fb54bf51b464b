"""`kingpost watch DIR`: a development deployment that follows a folder while you edit.

It uses the store itself, not a server over HTTP. So it needs the state folder of a stack, or KINGPOST_REDIS_URL.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.accepting import accepted, check_named, say_warnings
from cli.auditing import audited
from cli.commands.deploy import PushRefused
from cli.options import Unsupported
from cli.running import current_settings
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from kingpost.packing.config_file import PackageError
from kingpost.packing.files import Stamps, all_stamps, changes, folder_hash
from tasks.settings import Settings
from tasks.store.job_store import JobStore

LOOK_SECONDS = 0.2  # between looks at the folder; a save is complete when two looks in a row agree


def watch(
    folder: Annotated[Path, typer.Argument(help="A Truss package that the nodes can read.")],
    allow_unsupported: Unsupported = None,
) -> None:
    """Makes a folder the development deployment of its model, and has every save loaded until Ctrl-C."""
    settings = current_settings()
    allowed = check_named(allow_unsupported, [folder])
    store = JobStore(settings)
    with audited(store, "deployment.watch", str(folder)) as change:
        deployment, outside = _register(settings, store, folder, allowed)
        change.target = f"{deployment.model_name}/{deployment.id} follows {folder.resolve()}"

    def look() -> Stamps | str:
        """The stamps, or why the folder cannot be read now."""
        try:
            return all_stamps(folder.resolve(), outside)  # `outside` is as at the last registration
        except (PackageError, OSError) as error:
            return str(error)

    print(
        f"{deployment.model_name}: development is {deployment.id} and loads every save. Ctrl-C ends."
    )
    seen = look()
    loaded = {} if isinstance(seen, str) else seen
    while True:
        time.sleep(LOOK_SECONDS)
        now = look()
        if now == seen:
            continue
        time.sleep(LOOK_SECONDS)
        if look() != now:
            continue  # still being written
        seen = now
        if isinstance(now, str):
            print(f"{_clock()} not loaded: {now}")
            continue
        changed, loaded = sorted(changes(loaded, now)), now
        if not changed:
            continue
        try:
            deployment, outside = _register(settings, store, folder, allowed)
        except PushRefused as error:
            print(f"{_clock()} not loaded: {error}")
            continue
        store.run(registry.reload(deployment.id))
        print(
            f"{_clock()} {', '.join(changed[:3])} changed and is being loaded; see `kingpost logs`."
        )


def _register(
    settings: Settings, store: JobStore, folder: Path, allowed: list[str]
) -> tuple[Deployment, Sequence[Path]]:
    """Makes the folder the development deployment of its model, and prints its warnings.

    Returns the deployment and the package's `external_package_dirs`. Raises PushRefused for a package that is not accepted.
    """
    try:
        package = accepted(settings, folder, allowed)
        content_hash = folder_hash(package.root)
    except PackageError as error:
        raise PushRefused(error.shown) from error
    except OSError as error:
        raise PushRefused(str(error)) from error
    call = registry.register(
        package.model_name,
        str(package.root),
        content_hash,
        package.slots,
        gpus=package.gpus,
        gpu_memory=package.gpu_memory,
        warnings=package.warnings,
        served_names=package.runtime.served_model_names,
        fixed_port=package.fixed_port,
    )
    deployment = store.run(call)
    say_warnings(package)
    return deployment, package.external_package_dirs


def _clock() -> str:
    return datetime.now().strftime("%H:%M:%S")
