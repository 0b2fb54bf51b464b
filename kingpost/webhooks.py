"""Checks that a webhook comes from the server: Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`)."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kingpost.errors import BadSignature

PREFIX = "whsec_"
NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Sequence[str],
    tolerance_seconds: float = 300.0,
) -> dict[str, Any]:
    """The webhook's content, if one of the secrets signed exactly this body. Raises BadSignature.

    `body` is the body as it came, before any parser. An attempt is signed again each time it is sent, so a webhook older than
    `tolerance_seconds` is somebody's copy.
    """
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in NAMES if not given.get(name)]
    if missing:
        raise BadSignature(f"The webhook has no header {missing[0]}, so nobody has signed it.")
    id_, timestamp, signatures = (given[name] for name in NAMES)
    _check_time(timestamp, tolerance_seconds)
    signed = f"{id_}.{timestamp}.".encode() + body
    known = [secrets] if isinstance(secrets, str) else secrets
    if not _matches(signed, signatures.split(), known):
        raise BadSignature("No secret fits the webhook's signature; do not trust its content.")
    return json.loads(body)


def _check_time(timestamp: str, tolerance: float) -> None:
    try:
        sent = float(timestamp)
    except ValueError:
        raise BadSignature("The webhook's timestamp is not a number.") from None
    if not abs(time.time() - sent) <= tolerance:
        raise BadSignature(f"The webhook was sent more than {tolerance:g} s ago, or in the future.")


def _matches(signed: bytes, signatures: Iterable[str], secrets: Iterable[str]) -> bool:
    expected = [
        b"v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest())
        for secret in secrets
    ]
    given = [signature.encode() for signature in signatures]
    return any(hmac.compare_digest(sign, known) for sign in given for known in expected)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        message = (
            f"A webhook secret begins with {PREFIX}, as `kingpost webhook-secret create` prints it."
        )
        raise BadSignature(message) from None
