"""Notices when the store lost its data and came back empty or as an older copy."""

import secrets

from deployments.registry.keys import plain as registry_key
from tasks.api_keys import KEYS
from tasks.process.logs import get_logger
from tasks.store import keys
from tasks.store.job_store import AsyncJobStore, unavailable

log = get_logger("epoch")

NO_KEYS = "The job store holds no API key, so every call would be refused: start `kingpost up` again, or `kingpost keys create`."
LOST = (
    "The job store came back without its data: requests, keys and models are gone. Start `kingpost up` again, "
    "or restore a copy of the data."
)


class Epoch:
    """Remembers the random id that was written into the store once. Another id, or none, means lost data."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._redis = store.redis
        self._known = b""
        self._is_logged = False

    async def trouble(self) -> str:
        """Why nothing can be served, '' if all is well. Raises StoreUnavailable."""
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            if not self._known:
                pipe.set(keys.plain("epoch"), secrets.token_hex(8), nx=True)
            pipe.get(keys.plain("epoch"))
            pipe.hlen(KEYS)
            pipe.exists(registry_key("models"))
            *_, found, api_keys, models = await pipe.execute()
        self._known = self._known or found
        if found == self._known:
            return "" if api_keys else NO_KEYS
        if api_keys and models:  # `kingpost up`, or whoever restored it, has written them again
            log.warning("store.refilled", api_keys=api_keys)
            self._known, self._is_logged = b"", False
            return ""
        if not self._is_logged:
            log.error("store.lost", message=LOST)
            self._is_logged = True
        return LOST
