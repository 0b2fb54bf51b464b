"""Signs the exact bytes of a webhook body with every active secret, in the order of the caller: newest first.

`X-BASETEN-SIGNATURE: v1=<hex>[,v1=<hex>...]`: HMAC-SHA256 of the body under the UTF-8 bytes of the whole secret as
displayed (docs.baseten.co, async inference). `webhook-signature: v1,<base64> ...`: HMAC-SHA256 of `id.timestamp.body`
under the base64-decoded part after `whsec_` (Standard Webhooks). A secret of ours satisfies both.
"""

import base64
import hashlib
import hmac
import secrets
import string
from collections.abc import Sequence

from tasks.webhooks import payload

PREFIX = "whsec_"
ALPHABET = string.ascii_letters + string.digits
LENGTH = (
    40  # alphanumerics, as Baseten's are; as base64 that is 30 bytes, within the standard's 24..64
)


def new_secret() -> str:
    """A fresh secret: `whsec_` and 40 random alphanumerics, 238 bits."""
    return PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def baseten(body: bytes, active: Sequence[str]) -> str:
    """The value of X-BASETEN-SIGNATURE. `active` has the newest secret first."""
    return ",".join("v1=" + _hmac(secret.encode(), body).hex() for secret in active)


def standard(webhook_id: str, timestamp: int, body: bytes, active: Sequence[str]) -> str:
    """The value of webhook-signature. `timestamp` is in Unix seconds. Raises binascii.Error for a secret that `new_secret` did not make and that is not base64."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digests = (_hmac(base64.b64decode(secret.removeprefix(PREFIX)), signed) for secret in active)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


def headers_for(request_id: str, body: bytes, active: list[str], timestamp: int) -> dict[str, str]:
    """The headers of a webhook. Without a secret they have no signatures."""
    webhook_id = payload.webhook_id(request_id)
    headers = {
        "Content-Type": "application/json",
        "X-BASETEN-REQUEST-ID": request_id,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
    }
    if active:
        headers["X-BASETEN-SIGNATURE"] = baseten(body, active)
        headers["webhook-signature"] = standard(webhook_id, timestamp, body, active)
    return headers


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
