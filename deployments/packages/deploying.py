"""From a stored package to a deployment: what `kingpost push` and the API share, and how the API does it."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deployments.config.check import check_allowed
from deployments.packages.names import check_model_name
from deployments.packages.package import Package
from deployments.packages.store import PackageStore
from deployments.packages.uploads import PackageRefused, Uploads
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Kind
from kingpost.packing.config_file import PackageError, read_yaml
from tasks.errors import NotFound
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore
from tasks.store.verbs import ScriptCall

UNKNOWN_GPUS = "resources.accelerator is not compared with the GPUs of the nodes: a node without a GPU runs the model on its CPU."
NAMELESS = "config.yaml has no model_name; set it, or give a name with the push."


@dataclass(frozen=True)
class Wish:
    """What somebody wants to deploy. An empty name is that of config.yaml; an empty environment promotes nothing.

    A draft becomes the model's `development`, unless that follows a folder on a machine of the server.
    """

    content_hash: str
    name: str = ""
    environment: str = ""
    allow_unsupported: Sequence[str] = ()
    draft: bool = False


@dataclass(frozen=True)
class Deployed:
    """A deployment, and what became of its promotion: 'switched', 'warming', 'unchanged', '' without one."""

    deployment: Deployment
    promotion: str


class PackageMissing(NotFound):
    """The package is not stored."""


def deployment_of(
    package: Package, name: str, content_hash: str, kind: Kind = "model"
) -> ScriptCall[Deployment]:
    """The call that makes a deployment of a package that was checked. Raises PackageError for the name."""
    check_model_name(name)
    needs = (package.slots, package.gpus, package.gpu_memory, package.warnings)
    names, port = package.runtime.served_model_names, package.fixed_port
    return registry.push(name, content_hash, *needs, kind, names, port)


class Deploying:
    """Makes deployments of stored packages. It runs no code of a package: the signatures of its methods are checked when a node loads it."""

    def __init__(self, store: AsyncJobStore, uploads: Uploads, settings: Settings) -> None:
        self._store = store
        self._uploads = uploads
        self._packages = PackageStore(settings)

    async def deploy(self, wish: Wish) -> Deployed:
        """Checks the package as `kingpost push` does and deploys it. Raises PackageMissing, PackageRefused, EnvironmentRefused."""
        if wish.environment:
            registry.check_promotable(wish.environment)
        call = await self.check(wish)
        deployment, promotion = await self._store.run(call), ""
        if wish.draft:
            await self._check_follows_no_folder(deployment)
            promotion = await self._store.run(registry.draft(deployment))
        elif wish.environment:
            call = registry.promote(deployment, wish.environment)
            promotion = await self._store.run(call)
        return Deployed(deployment, promotion)

    async def check(self, wish: Wish, kind: Kind = "model") -> ScriptCall[Deployment]:
        """The call that makes the deployment of a package that passes all checks. Raises PackageMissing and PackageRefused."""
        if not await self._uploads.is_stored(wish.content_hash):
            message = f"The package {wish.content_hash[:12]}... is not stored"
            raise PackageMissing(f"{message}; upload it first: POST /v1/packages.")
        return await asyncio.to_thread(self._checked, wish, kind)

    async def _check_follows_no_folder(self, draft: Deployment) -> None:
        model = await self._store.run(registry.model(draft.model_id))
        known = model.environments.get("development")
        if known and known.deployment_id:
            current = await self._store.run(registry.deployment(known.deployment_id))
            if current.package:
                message = f"The environment development of {model.name} follows a folder of the server's machine"
                raise registry.EnvironmentRefused(f"{message}; publish it, or use another name.")

    def _checked(self, wish: Wish, kind: Kind) -> ScriptCall[Deployment]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch).resolve()
            try:
                self._packages.sketch(wish.content_hash, folder)
                return _accepted(folder, wish, kind)
            except PackageError as error:
                said = error.shown.replace(str(folder), "the package")
                raise PackageRefused(said) from None


def _accepted(folder: Path, wish: Wish, kind: Kind) -> ScriptCall[Deployment]:
    raw = read_yaml(folder)[0]
    check_allowed(wish.allow_unsupported, [raw])
    package = Package.accept(folder, wish.allow_unsupported)
    name = wish.name or (package.model_name if raw.get("model_name") else "")
    if not name:
        raise PackageError(NAMELESS)
    if package.gpus and "resources.accelerator" not in wish.allow_unsupported:
        package = replace(package, warnings=(*package.warnings, UNKNOWN_GPUS))
    return deployment_of(package, name, wish.content_hash, kind)
