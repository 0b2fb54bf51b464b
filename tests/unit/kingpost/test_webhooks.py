"""Webhooks are checked against what the server's own signer writes."""

import json
import time

import pytest

from kingpost import BadSignature, verify_webhook
from tasks.webhooks.signatures import new_secret, standard

BODY = b'{"request_id": "r", "data": 7}'


def headers(secret: str, at: float, body: bytes = BODY) -> dict[str, str]:
    stamp = int(at)
    return {
        "Webhook-Id": "w",
        "webhook-timestamp": str(stamp),
        "webhook-signature": standard("w", stamp, body, [secret]),
    }


def test_a_body_that_the_server_signed_is_accepted_with_each_active_secret() -> None:
    old, new = new_secret(), new_secret()
    for signer in (old, new):
        assert verify_webhook(BODY, headers(signer, time.time()), [new, old]) == json.loads(BODY)


def test_another_body_secret_or_time_is_refused() -> None:
    secret, now = new_secret(), time.time()
    good = headers(secret, now)
    with pytest.raises(BadSignature, match="No secret fits"):
        verify_webhook(BODY + b" ", good, secret)
    with pytest.raises(BadSignature, match="No secret fits"):
        verify_webhook(BODY, good, new_secret())
    with pytest.raises(BadSignature, match="more than 300 s ago"):
        verify_webhook(BODY, headers(secret, now - 400), secret)
    with pytest.raises(BadSignature, match="not a number"):
        verify_webhook(BODY, good | {"webhook-timestamp": "soon"}, secret)
    with pytest.raises(BadSignature, match="no header webhook-signature"):
        verify_webhook(BODY, good | {"webhook-signature": ""}, secret)
    with pytest.raises(BadSignature, match="begins with whsec_"):
        verify_webhook(BODY, good, "not base64!")
