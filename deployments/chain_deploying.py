"""Deploys a chain whose chainlets came as packages, as `truss chains push` sends them.

Each push has chainlets of its own, which only its entrypoint calls. So an old deployment of the chain stays what it was.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import yaml

from deployments.chains import MEMBER_FILE, Member
from deployments.packages.deploying import Deployed, Deploying, Wish
from deployments.packages.patching import Changes, Patching, Signature, config_of
from deployments.packages.uploads import PackageRefused
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from kingpost.packing.config_file import CONFIG_NAME, PackageError
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore
from tasks.store.verbs import ScriptCall

MOST_CHAINLETS = 100
NAME = re.compile(r"[\w-][\w. -]{0,99}")  # the same names as `kingpost up` accepts for chains
TRUSS = re.compile(r"truss\s*([=<>!~].*)?")  # a requirement that the generator of chains adds
NO_KEY = (
    "This API has no KINGPOST_CHAIN_API_KEY, with which chainlets call each other; "
    "set it for the API and the nodes, and KINGPOST_GATEWAY_URL for the nodes."
)


@dataclass(frozen=True)
class Chainlet:
    """A chainlet that was uploaded. `name` is the name of its model, which belongs to this push alone."""

    display_name: str
    name: str
    content_hash: str


@dataclass(frozen=True)
class ChainWish:
    """A chain that somebody wants to deploy. The first chainlet is the entrypoint; an empty environment promotes nothing."""

    name: str
    chainlets: Sequence[Chainlet]
    environment: str = ""


class ChainDeploying:
    """Raises PackageMissing, PackageRefused, EnvironmentRefused, NameTaken and UploadsFull."""

    def __init__(
        self, store: AsyncJobStore, deploying: Deploying, patching: Patching, settings: Settings
    ) -> None:
        self._store = store
        self._deploying = deploying
        self._patching = patching
        self._has_key = settings.chain_api_key is not None

    async def deploy(self, api_key: str, wish: ChainWish) -> Deployed:
        """Checks every chainlet before the first one is deployed. Returns the deployment of the entrypoint."""
        self._check(wish)
        entrypoint, *others = wish.chainlets
        called = {chainlet.display_name: f"{wish.name}.{chainlet.name}" for chainlet in others}
        calls = {
            chainlet.display_name: await self._call(api_key, wish, chainlet, called)
            for chainlet in wish.chainlets
        }
        made = {name: await self._store.run(calls[name]) for name in called}
        deployment = await self._store.run(calls[entrypoint.display_name])
        linked = {name: found.id for name, found in made.items()}
        await self._store.run(registry.link_chainlets(deployment.id, linked))
        promotion = ""
        if wish.environment:
            call = registry.promote(deployment, wish.environment)
            promotion = await self._store.run(call)
        return Deployed(deployment, promotion)

    def _check(self, wish: ChainWish) -> None:
        if not self._has_key:
            raise PackageRefused(NO_KEY)
        if wish.environment:
            registry.check_promotable(wish.environment)
        names = [name for c in wish.chainlets for name in (c.display_name, c.name)]
        if not all(NAME.fullmatch(name) for name in (wish.name, *names)):
            raise PackageRefused("Names of chains and chainlets have letters, digits and `_-. `.")
        displayed = {chainlet.display_name for chainlet in wish.chainlets}
        if not len(displayed) == len(wish.chainlets) <= MOST_CHAINLETS:
            limit = f"A chain has up to {MOST_CHAINLETS} chainlets with names of their own."
            raise PackageRefused(limit)

    async def _call(
        self, api_key: str, wish: ChainWish, chainlet: Chainlet, called: dict[str, str]
    ) -> ScriptCall[Deployment]:
        """The call that makes the chainlet's deployment. A file that names its peers is added to its package."""
        name = called.get(chainlet.display_name, wish.name)
        kind = "chainlet" if chainlet.display_name in called else "chain"
        member = Member(wish.name, kind, called)
        signature = await self._patching.signature(chainlet.content_hash)
        try:
            changes = _changes(signature, name, member)
        except PackageError as error:
            raise PackageRefused(str(error)) from None
        content_hash = await self._patching.apply(api_key, chainlet.content_hash, changes)
        return await self._deploying.check(Wish(content_hash, name), kind)


def _changes(signature: Signature, name: str, member: Member) -> Changes:
    """The file that names the peers, and a config.yaml. Requirements that are only truss are left out, because nodes have it."""
    config = {**config_of(signature.config), "model_name": name}
    lines = [line.strip() for line in signature.requirements]
    if str(config.get("requirements_file")).endswith(".txt") and _only_truss(lines):
        config["requirements_file"] = None
    listed = config.get("requirements")
    if isinstance(listed, list) and _only_truss([str(line) for line in listed]):  # type: ignore[reportUnknownVariableType]
        config["requirements"] = []
    text = yaml.safe_dump(config, sort_keys=False)
    return {CONFIG_NAME: text.encode(), MEMBER_FILE: json.dumps(asdict(member), indent=2).encode()}


def _only_truss(lines: Sequence[str]) -> bool:
    return all(TRUSS.fullmatch(line) for line in lines if line)
