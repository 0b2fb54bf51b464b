"""Gets the weights of packages before their host starts, and keeps them there while it runs."""

import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployments.packages.package import Package, PackageError
from deployments.packages.secrets import SECRETS_DIR, SecretNotFound, Secrets
from deployments.packages.weights import FETCHES, Wish
from tasks.process.logs import get_logger
from tasks.process.variables import inherited_variables
from tasks.settings import Settings
from workers.weights.cache import WeightsCache, write_whole
from workers.weights.eviction import gigabytes, make_room
from workers.weights.fetching import Pace
from workers.weights.mounts import Mount, started_with
from workers.weights.places import Snapshot, hub_cache, shown_at
from workers.weights.remote import Listing, WeightsFailed

log = get_logger("weights")

COMMIT = re.compile(r"[0-9a-f]{40}")
SAY_EVERY = 2.0  # s, between two words on the progress
LOST = 3  # times that a tree may be evicted between its fetch and its use

Say = Callable[[str], None]


def folder_of(settings: Settings) -> Path:
    """The folder of all weights: KINGPOST_WEIGHTS_DIR, or STATE/weights."""
    given = settings.weights_dir
    return Path(given).resolve() if given else settings.state_dir.resolve() / "weights"


@dataclass(frozen=True)
class Resolved:
    """What a wish was the last time: the tree with its files and their sizes in bytes, and the commit of a repository."""

    key: str
    commit: str
    files: Mapping[str, int]


@dataclass(frozen=True)
class Shown:
    """What a host needs to find its weights: variables, and what to put before its command."""

    variables: Mapping[str, str]
    prefix: tuple[str, ...] = ()


class Weights:
    """The weights of the packages of one host. They are looked up anew at every start of a host."""

    def __init__(
        self, packages: Sequence[Path], settings: Settings, stopping: threading.Event
    ) -> None:
        self._packages = packages
        self._settings = settings
        self._stopping = stopping
        self._cache = WeightsCache(folder_of(settings))

    @contextlib.contextmanager
    def use(self, say: Say) -> Generator[Shown]:
        """How to start a host so that it finds its weights. They are fetched first if necessary, and stay inside the `with` block.

        Raises WeightsFailed and ReplicaStops.
        """
        ends = time.monotonic() + self._settings.weights_seconds
        with contextlib.ExitStack() as held:
            snapshots: list[Snapshot] = []
            trees: list[Path] = []
            mounts: list[Mount] = []
            covered: list[Path] = []
            for wish, package in self._wishes():
                with _said(wish, self._cache.folder):
                    tree, commit = self._hold(held, wish, package, say, ends)
                    trees.append(tree)
                    if wish.place:
                        other = held.enter_context(shown_at(wish.place, tree, self._cache))
                        if other:
                            mounts.append(Mount(tree, wish.place))
                            covered.append(other)
                    else:
                        snapshots.append(Snapshot(wish.rest, wish.revision, commit, tree))
            home = hub_cache(snapshots, self._cache) if snapshots else None
            prefix = None if set(covered) & set(trees) else started_with(mounts)
            if prefix is None:
                places = " and ".join(mount.place for mount in mounts)
                text = f"Another model on this machine uses {places} with other weights, and a mount of its own is not possible here; choose another mount_location."
                raise WeightsFailed(text)
            yield Shown({"HF_HUB_CACHE": str(home)} if home else {}, prefix)

    def _wishes(self) -> list[tuple[Wish, Package]]:
        try:
            packages = [Package.load(folder) for folder in self._packages]
        except PackageError as error:
            raise WeightsFailed(str(error)) from error
        found = [(wish, package) for package in packages for wish in package.weights]
        if found:
            self._cache.prepare()
        return found

    def _hold(
        self, held: contextlib.ExitStack, wish: Wish, package: Package, say: Say, ends: float
    ) -> tuple[Path, str]:
        """The tree of a wish, which is not evicted until `held` is closed, and its commit."""
        for _ in range(LOST):
            known = self._resolved(wish, package)
            if known and held.enter_context(self._cache.held(known.key, known.files)):
                return self._cache.tree(known.key), known.commit
            self._fetch(wish, package, say, ends)
        raise WeightsFailed("Other models need the room; raise KINGPOST_MAX_WEIGHTS_BYTES.")

    def _record(self, wish: Wish, package: Package) -> Path:
        """Where a resolved wish is kept. What may change, such as a branch, is looked up once for each package."""
        about: dict[str, Any] = asdict(wish) | {"place": ""}
        if not (wish.scheme == "hf" and COMMIT.fullmatch(wish.revision)):
            about["package"] = str(package.root)
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:40]
        return self._cache.folder / "resolved" / f"{name}.json"

    def _resolved(self, wish: Wish, package: Package) -> Resolved | None:
        try:
            return Resolved(**json.loads(self._record(wish, package).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _fetch(self, wish: Wish, package: Package, say: Say, ends: float) -> None:
        say(f"asks for {wish}")
        began = time.monotonic()
        listing = _listed(wish, _secret(wish, package))
        progress = _Progress(wish, listing, say)
        pace = Pace(self._stopping, ends, progress.moved)
        progress.pace = pace
        with self._cache.staged() as (staging, reserve):
            sums, to_come = self._cache.missing(listing.files, staging)
            missing = [file for file in listing.files if file.name not in sums]
            pace.done = sum(file.size or 0 for file in listing.files if file.name in sums)
            progress.reserve = reserve
            reserve(to_come)
            if missing:
                make_room(self._cache, self._settings.max_weights_bytes)
            sums |= self._cache.fetch_all(missing, staging, pace)
            files = {name: (staging / name).stat().st_size for name in sums}
            key = self._cache.publish(staging, sums, pace)
        record = self._record(wish, package)
        write_whole(record, json.dumps(asdict(Resolved(key, listing.commit, files))))
        took_ms = round((time.monotonic() - began) * 1000)
        log.info(
            "weights.fetched",
            source=str(wish),
            files=len(missing),
            there=len(sums) - len(missing),
            took_ms=took_ms,
        )


class _Progress:
    """Tells the replica's users how far a fetch is, and the other fetches how much room it still needs."""

    def __init__(self, wish: Wish, listing: Listing, say: Say) -> None:
        self.pace: Pace | None = None
        self.reserve: Callable[[int], None] = lambda _: None
        self._wish, self._say = wish, say
        self._total = sum(file.size or 0 for file in listing.files)
        self._said = 0.0
        self._turn = threading.Lock()

    def moved(self) -> None:
        """Says where the fetch is, at most once in SAY_EVERY."""
        if not self._turn.acquire(blocking=False):
            return  # another file of the same source does it
        try:
            now = time.monotonic()
            if self.pace and now - self._said > SAY_EVERY:
                self._said = now
                done = self.pace.done
                self.reserve(self._total - done)
                of = f" of {gigabytes(self._total)}" if self._total else ""
                self._say(f"{FETCHES} {self._wish}: {gigabytes(max(done, 0))}{of}")
        finally:
            self._turn.release()


@contextlib.contextmanager
def _said(wish: Wish, folder: Path) -> Generator[None]:
    """Says in each error whose weights it is about."""
    try:
        yield
    except WeightsFailed as error:
        raise WeightsFailed(f"The weights of {wish} could not be had: {error}") from error
    except OSError as error:
        text = f"The weights of {wish} could not be kept in {folder}: {error.strerror or error}."
        raise WeightsFailed(text) from error


def _listed(wish: Wish, secret: str) -> Listing:
    """The files of a source. Each kind's client is loaded by those who need it: it takes a tenth of a start."""
    variables = inherited_variables()
    if wish.scheme == "https":
        from workers.weights import web

        return web.listed(wish, secret)
    if wish.scheme == "hf":
        from workers.weights import hub

        return hub.listed(wish, secret or variables.get("HF_TOKEN", ""), variables)
    from workers.weights import buckets

    return buckets.listed(wish, secret, variables)


def _secret(wish: Wish, package: Package) -> str:
    """The value of the secret that a wish names, '' if it names none."""
    if not wish.secret:
        return ""
    declared = {wish.secret: package.secrets.get(wish.secret)}
    try:
        return Secrets(declared, SECRETS_DIR, inherited_variables())[wish.secret].strip()
    except SecretNotFound as error:
        if not wish.needs_secret:
            return ""
        text = f"the secret {wish.secret} has no value on this machine; set TRUSS_SECRET_{wish.secret} for the node, or put it into {SECRETS_DIR}."
        raise WeightsFailed(text) from error
