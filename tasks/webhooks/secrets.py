"""The secrets that sign webhooks, as verbs. They are stored in plain text, because signing needs them."""

import json
import time
from dataclasses import dataclass
from typing import cast

from tasks.access.library import ACCESS
from tasks.store.keys import plain
from tasks.store.records import Reply, text
from tasks.store.verbs import ScriptCall

KEY = plain("webhook-secrets")
OVERLAP_SECONDS = 24 * 3600.0  # how long the old secret still signs after a rotation


@dataclass(frozen=True)
class WebhookSecret:
    """One secret. Times are Unix seconds."""

    secret: str
    created: float
    expires: float | None = None

    @property
    def hidden(self) -> str:
        """The secret without its middle."""
        return f"{self.secret[:10]}...{self.secret[-4:]}"


def signing(now: float | None = None) -> ScriptCall[list[WebhookSecret]]:
    """The secrets that sign now, or at that time, newest first."""

    def read(reply: Reply) -> list[WebhookSecret]:
        entries = json.loads(cast("bytes | None", reply) or b"[]")
        known = [WebhookSecret(**entry) for entry in entries]
        at = time.time() if now is None else now
        return [secret for secret in known if secret.expires is None or secret.expires > at]

    return ScriptCall("webhook_secrets", [], read, ACCESS)


def rotate(fresh: str, first: bool = False) -> ScriptCall[bool]:
    """Makes `fresh` the newest secret. The others sign for 24 h more.

    With `first` nothing changes if another secret still signs. The reply says whether `fresh` was made a secret.
    """
    arguments = [fresh, OVERLAP_SECONDS, int(first)]
    return ScriptCall("rotate_secret", arguments, lambda reply: text(reply) == "made", ACCESS)
