"""Makes room in the cache of weights. What a host uses, or a fetch has taken, is never deleted."""

import contextlib
import fcntl
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tasks.process.logs import get_logger
from workers.processes.turns import try_lock
from workers.weights.cache import WeightsCache, remove_tree
from workers.weights.remote import WeightsFailed

log = get_logger("weights")

SPARE_BYTES = 256 << 20  # that a fetch leaves free on the disk
PARTIAL_SECONDS = 7 * 24 * 3600.0  # after this time nobody goes on with a cut download
LIMIT = "KINGPOST_MAX_WEIGHTS_BYTES"


def make_room(cache: WeightsCache, most: int) -> None:
    """Deletes trees, the least recently used first, until all fetches that run fit. `most` bytes may be kept; 0 = as the disk has.

    Raises WeightsFailed if what may be deleted is not enough.
    """
    with cache.room():
        _sweep(cache)
        for key in _least_recently_used(cache):
            if _lacks(cache, most) <= 0:
                return
            _evict(cache, key)
        lacks = _lacks(cache, most)
    if lacks > 0:
        why = f"{LIMIT} allows {gigabytes(most)}" if _over(cache, most) > 0 else "the disk is full"
        text = f"The weights do not fit into {cache.folder}: {gigabytes(lacks)} are lacking beside what is in use, because {why}."
        raise WeightsFailed(text)


def _lacks(cache: WeightsCache, most: int) -> int:
    """The bytes that are lacking, negative if there are some left."""
    to_come = sum(_reserved(cache))
    on_disk = to_come + SPARE_BYTES - shutil.disk_usage(cache.folder).free if to_come else 0
    return max(_over(cache, most), on_disk)


def _over(cache: WeightsCache, most: int) -> int:
    if not most:
        return -1
    kept = sum(_sizes(cache.folder / "blobs")) + sum(_sizes(cache.folder / "partial"))
    return kept + sum(_reserved(cache)) - most


def _reserved(cache: WeightsCache) -> Iterator[int]:
    """What each fetch that runs still has to write, in bytes."""
    for lock in (cache.folder / "staging").glob("*.lock"):
        with contextlib.suppress(OSError, ValueError):
            yield int(lock.read_text() or 0)


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # it has just gone
            yield path.stat().st_size


def _least_recently_used(cache: WeightsCache) -> list[str]:
    found: list[tuple[float, str]] = []
    for path in (cache.folder / "trees").glob("*.lock"):
        key = path.name.removesuffix(".lock")
        if cache.tree(key).is_dir():
            found.append((path.stat().st_mtime, key))
    return [key for _, key in sorted(found)]


def _evict(cache: WeightsCache, key: str) -> None:
    """Removes a tree that nobody uses, and the contents that only it had."""
    with cache.lock_file("trees", key) as lock:
        if not try_lock(lock, fcntl.LOCK_EX):
            return
        remove_tree(cache.tree(key))
    log.info("weights.evicted", tree=key)
    _sweep(cache)


def _sweep(cache: WeightsCache) -> None:
    """Deletes what a crash has left, contents without a tree, and homes of trees that are gone."""
    for path in (cache.folder / "staging").glob("*.lock"):
        with path.open("a+") as lock:
            if try_lock(lock, fcntl.LOCK_EX):  # its process is dead
                remove_tree(path.with_suffix(""))
                path.unlink()
    for path in (cache.folder / "partial").iterdir():
        if path.suffix == ".lock":
            continue
        with cache.lock_file("partial", path.name) as lock:
            if try_lock(lock, fcntl.LOCK_EX) and _age(path) > PARTIAL_SECONDS:
                path.unlink(missing_ok=True)
    for path in (cache.folder / "blobs").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_nlink == 1:
                path.unlink()
    for path in (cache.folder / "homes").glob("*/models--*/snapshots/*"):
        if path.is_symlink() and not path.exists():
            remove_tree(path.parents[2])


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def gigabytes(size: int) -> str:
    """A size for people, as disks are sold: "4.8 GB"."""
    for step, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= step:
            return f"{size / step:.3g} {unit}"
    return f"{size} B"
