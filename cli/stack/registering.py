"""Writes into the store what `kingpost up` brings: its API key, and a deployment for each folder."""

from cli.stack.flower import write_secret
from cli.stack.found import Found
from deployments.chains import register as register_process
from deployments.packages.package import PackageError
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.access import keys
from tasks.api_keys import key_id
from tasks.errors import SettingsError
from tasks.settings import Settings
from tasks.store.job_store import JobStore

MADE_BY_UP = "made by kingpost up"  # the name of the key in STATE/api_key


def register(settings: Settings, found: Found) -> list[Deployment]:
    """Makes a deployment for each folder and returns the leaders. Deactivates deployments whose folder is gone."""
    store = JobStore(settings)
    leaders: list[Deployment] = []
    present: set[str] = set()
    for process in found.processes:
        try:
            deployments = register_process(store, process)
        except (PackageError, OSError) as error:
            found.leave_out(process[0].root, error)
            continue
        leaders.append(deployments[0])
        present |= {deployment.id for deployment in deployments}
    for deployment in store.run(registry.deployments()):
        if deployment.package and deployment.id not in present:
            store.run(registry.activate(deployment.id, False))
            if why := _why_left_out(deployment, found):
                store.run(registry.fail_load(deployment.id, why, settings, counted=False))
    store.close()
    return leaders


def _why_left_out(deployment: Deployment, found: Found) -> str | None:
    """Why the folder of a deployment is broken. None if it is not."""
    reasons = {str(broken.folder.resolve()): broken.reason for broken in found.broken}
    reason = reasons.get(deployment.package)
    # The sentence comes last, as in every reason of a load.
    return None if reason is None else "\n".join(reversed(reason.split("\n", 1)))


def install_key(settings: Settings) -> str | None:
    """Makes sure that STATE/api_key has a valid key. Returns a new key, so that it can be shown once, else None.

    A key that the store has lost becomes valid again, because clients have it. A revoked key never does. It has the scope
    `admin`: whoever can read the file owns the stack.
    """
    path, store = settings.state_dir / "api_key", JobStore(settings)
    if settings.api_key:
        plain = settings.api_key.get_secret_value()
        if not store.run(keys.install(plain)):
            raise SettingsError(
                "KINGPOST_API_KEY is a key that was revoked and stays revoked; choose a new one."
            )
        write_secret(path, plain)
        return None
    if path.exists():
        plain = path.read_text().strip()
        found = store.run(keys.find(key_id(plain)))
        if not found:
            store.run(keys.install(plain, MADE_BY_UP, "admin"))
        if not (found and found.revoked):
            return None
    plain = keys.fresh()
    store.run(keys.create(plain, MADE_BY_UP, "admin"))
    write_secret(path, plain)
    return plain
