"""Which parts of the service are well, as seen from one API process.

A part is `needed` if without it no call of this process can be served: then a load balancer must send calls elsewhere. The others
are told only, because another API process would serve no better, and many calls go on without them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import redis
from redis.exceptions import NoPermissionError

from api.gateway import Gateway
from deployments.registry.nodes import SILENT_MS, Vital, vital
from tasks.errors import StoreUnavailable
from tasks.process.descriptors import SHORT, left
from tasks.store.job_store import AsyncJobStore, unavailable

READY_SECONDS = 2.0  # whoever probes gives up soon, and a store that needs longer serves nobody
MAINTENANCE_SILENT_MS = 60_000  # it sweeps every 5 s, and a round with much to do takes some more
NO_DESCRIPTORS = (
    "The API has no more file descriptors to spare: raise the limit (`ulimit -n`), or lower "
    "KINGPOST_MAX_CONNECTIONS."
)
STORE_AWAY = "The job store cannot be reached right now; try again shortly."
NO_SCRIPTS = "The job store refuses to run functions: give its user the right to FCALL, FUNCTION LOAD and EVAL."
AOF_OFF = (
    "The job store writes no append-only file, so its restart loses requests: set `appendonly yes`."
)
AOF_BROKEN = (
    "The job store cannot write its append-only file, and refuses new requests: free its disk."
)
AOF_UNKNOWN = "The job store does not say whether it writes an append-only file."
NO_MAINTENANCE = (
    "No maintenance process has reported for a minute: lost requests are not rescued, nothing expires, "
    "and webhooks wait. Start `kingpost maintenance`."
)
NO_NODE = "No node reports itself: no replicas are started, and requests wait. Start `kingpost node` on a machine."


class State(StrEnum):
    """How a part is. UNKNOWN: it cannot be seen, because the store does not answer or does not tell."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Part:
    """One part. `said` is why it is not well and what to do, '' if it is. It names no host, because everybody may read it."""

    name: str
    state: State
    needed: bool
    said: str = ""


@dataclass(frozen=True)
class Readiness:
    """All parts, always the same and in the same order."""

    parts: Sequence[Part]

    @property
    def missing(self) -> Part | None:
        """The first needed part that fails, None if calls can be served."""
        failing = (part for part in self.parts if part.needed and part.state is State.FAIL)
        return next(failing, None)


async def read(gateway: Gateway) -> Readiness:
    """Looks at all parts, within READY_SECONDS. It raises nothing."""
    process = _part("process", NO_DESCRIPTORS if left() <= SHORT else "", needed=True)
    try:
        with unavailable():
            async with asyncio.timeout(READY_SECONDS):
                return Readiness([process, *await _in_store(gateway)])
    except StoreUnavailable:
        away = Part("store", State.FAIL, True, STORE_AWAY)
        return Readiness([process, away, *map(_unknown, ("data", "scripts")), *_UNSEEN])


def _part(name: str, said: str, *, needed: bool = False) -> Part:
    return Part(name, State.FAIL if said else State.OK, needed, said)


def _unknown(name: str) -> Part:
    return Part(name, State.UNKNOWN, needed=name in ("data", "scripts"))


_UNSEEN = tuple(map(_unknown, ("aof", "maintenance", "nodes")))


async def _in_store(gateway: Gateway) -> list[Part]:
    trouble = await gateway.epoch.trouble()
    store, data = Part("store", State.OK, True), _part("data", trouble, needed=True)
    aof = await _aof(gateway.store)
    try:
        known = await gateway.store.run(vital())
    except NoPermissionError:
        known = None
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, redis.ResponseError):
            raise
        known = None
    if known is None:
        scripts = Part("scripts", State.FAIL, True, NO_SCRIPTS)
        return [store, data, scripts, aof, _unknown("maintenance"), _unknown("nodes")]
    return [store, data, Part("scripts", State.OK, True), aof, *_elsewhere(known)]


async def _aof(store: AsyncJobStore) -> Part:
    try:
        said = await store.redis.info("persistence")
    except redis.ResponseError:  # a store that others run may keep it to itself
        return Part("aof", State.UNKNOWN, False, AOF_UNKNOWN)
    if not said.get("aof_enabled"):
        return _part("aof", AOF_OFF)
    return _part("aof", AOF_BROKEN if said.get("aof_last_write_status", "ok") != "ok" else "")


def _elsewhere(known: Vital) -> list[Part]:
    swept = known.swept is not None and known.swept <= MAINTENANCE_SILENT_MS
    node = known.node is not None and known.node <= SILENT_MS
    return [
        _part("maintenance", "" if swept else NO_MAINTENANCE),
        _part("nodes", "" if node else NO_NODE),
    ]
