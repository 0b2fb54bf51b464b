"""Where models find the files of a tree: at the path that config.yaml names, or in a cache as huggingface_hub keeps it."""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.process.logs import get_logger
from workers.processes.turns import try_lock
from workers.weights.cache import WeightsCache, write_whole
from workers.weights.remote import WeightsFailed, safe_name

log = get_logger("weights")

MAIN = "main"  # the branch of a repository that `from_pretrained` looks at


@contextlib.contextmanager
def shown_at(place: str, tree: Path, cache: WeightsCache) -> Generator[Path | None]:
    """Shows a tree at an absolute path inside the `with` block, by a link. The link stays for the next host.

    If the path shows other weights to a host that runs, the value is their tree, which stays there: the host needs a mount over it.
    Raises WeightsFailed if the path cannot be made.
    """
    name = hashlib.sha256(place.encode()).hexdigest()[:40]
    with cache.lock_file("places", name) as lock:
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            shown = _target(Path(place))
            if shown == str(tree):
                yield None
                return
            fcntl.flock(lock, fcntl.LOCK_UN)
            if not try_lock(lock, fcntl.LOCK_EX):
                other = Path(shown or "nothing")
                with cache.held(other.name, {}) as stays:
                    fcntl.flock(lock, fcntl.LOCK_SH)
                    if stays and _target(Path(place)) == shown:
                        yield other
                        return
                fcntl.flock(lock, fcntl.LOCK_UN)
                continue  # its host has just ended
            try:
                _link(Path(place), tree, cache)
            except OSError as error:
                text = f"{place} cannot be made on this machine ({error.strerror or error}); let the user of the node write there, or choose another mount_location."
                raise WeightsFailed(text) from error


def _target(place: Path) -> str | None:
    try:
        return os.readlink(place)
    except OSError:
        return None


def _link(place: Path, tree: Path, cache: WeightsCache) -> None:
    """Makes the link, in the place of an older one of ours or of an empty folder."""
    before = _target(place)
    ours = before is not None and Path(before).is_relative_to(cache.folder)
    if before is None and place.is_dir() and not any(place.iterdir()):
        place.rmdir()
    elif not ours and (before is not None or place.exists()):
        text = f"{place} exists on this machine and is not from Kingpost; choose another mount_location."
        raise WeightsFailed(text)
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    fresh.symlink_to(tree)
    fresh.replace(place)
    log.info("weights.shown", place=str(place), tree=tree.name)


@dataclass(frozen=True)
class Snapshot:
    """A repository of the hub at a commit, and the tree with its files."""

    repository: str  # "owner/name"
    revision: str  # as config.yaml says it, '' = the main branch
    commit: str
    tree: Path


def hub_cache(snapshots: Sequence[Snapshot], cache: WeightsCache) -> Path:
    """A folder for HF_HUB_CACHE, where `from_pretrained` finds the repositories without the network.

    The main branch is the commit that config.yaml names, too. A model may add other repositories: only the snapshots are read-only.
    Raises WeightsFailed if a revision leads out of the folder.
    """
    said = "".join(f"{each}\n" for each in snapshots)
    home = cache.folder / "homes" / hashlib.sha256(said.encode()).hexdigest()[:32]
    for each in snapshots:
        folder = home / f"models--{each.repository.replace('/', '--')}"
        for part in ("refs", "snapshots", "blobs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        link = folder / "snapshots" / each.commit
        if _target(link) != str(each.tree):
            fresh = folder / secrets.token_hex(4)
            fresh.symlink_to(each.tree)
            fresh.replace(link)
        for name in {MAIN, each.revision or MAIN} - {each.commit}:
            reference = folder / "refs" / safe_name(name)
            reference.parent.mkdir(parents=True, exist_ok=True)
            write_whole(reference, each.commit)
    return home
