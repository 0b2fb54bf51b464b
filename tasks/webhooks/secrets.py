"""The secrets that sign webhooks. They are stored in plain text, because signing needs them."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import cast

from tasks.settings import Settings
from tasks.store.job_store import connect, connect_async, unavailable
from tasks.store.keys import TAG
from tasks.webhooks.signatures import new_secret

KEY = f"{TAG}:webhook-secrets"  # string, JSON list of WebhookSecret, newest first
OVERLAP_SECONDS = 24 * 3600.0  # how long the old secret still signs after a rotation


@dataclass(frozen=True)
class WebhookSecret:
    """One secret. Times are Unix seconds."""

    secret: str
    created: float
    expires: float | None = None


def parse(raw: bytes | None) -> list[WebhookSecret]:
    """The secrets that the Redis key holds."""
    return [WebhookSecret(**entry) for entry in json.loads(raw or b"[]")]


def active(known: list[WebhookSecret], now: float) -> list[str]:
    """The secrets that sign now, newest first."""
    return [secret.secret for secret in known if secret.expires is None or secret.expires > now]


class WebhookSecrets:
    """Creates, rotates and lists secrets, for the command line."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._redis = connect(settings)
        self._now = now

    def rotate(self) -> str:
        """Makes a new secret. The one before it still signs for 24 h. Raises StoreUnavailable."""
        now = self._now()
        kept = [
            WebhookSecret(secret.secret, secret.created, secret.expires or now + OVERLAP_SECONDS)
            for secret in self.list()
        ]
        fresh = WebhookSecret(new_secret(), now)
        with unavailable():
            self._redis.set(KEY, json.dumps([asdict(secret) for secret in (fresh, *kept)]))
        return fresh.secret

    def list(self) -> list[WebhookSecret]:
        """The secrets that still sign, newest first. Raises StoreUnavailable."""
        with unavailable():
            known = parse(cast("bytes | None", self._redis.get(KEY)))
        now = self._now()
        return [secret for secret in known if secret.expires is None or secret.expires > now]


class SecretReader:
    """Reads the secrets for the sender."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)

    async def active(self) -> list[str]:
        """The secrets that sign now, newest first. Raises StoreUnavailable.

        They are read anew for each batch, so that a new secret signs the very next webhook.
        """
        with unavailable():
            known = parse(cast("bytes | None", await self._redis.get(KEY)))
        return active(known, time.time())

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()
