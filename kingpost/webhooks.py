"""Checks that a webhook comes from the server, listens to webhooks, and sends a test.

They are signed as Standard Webhooks says: the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from kingpost.calls import JSON, QUIET_SECONDS, json_body, json_object
from kingpost.errors import BadSignature, Unreachable
from kingpost.flow import (
    Emit,
    Flow,
    Pause,
    Read,
    Request,
    Retries,
    Step,
    ask,
    pause_between_streams,
    unreachable,
)
from kingpost.records import Record
from kingpost.streams.events import Parser

PREFIX = "whsec_"  # of every secret
NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Sequence[str],
    tolerance_seconds: float = 300.0,
) -> dict[str, Any]:
    """The webhook's content, if one of the secrets signed exactly this body. Raises BadSignature.

    `body` is the body as it came, before any parser. The server signs each attempt anew, with the time at which it is sent. So a
    webhook older than `tolerance_seconds` is a copy that somebody else sends.
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


@dataclass(frozen=True, kw_only=True)
class Delivery(Record):
    """A webhook as the server would send it: its headers, and exactly its body. The first one of a stream is empty."""

    place: str = ""  # where `listen(after=...)` goes on
    request_id: str = ""
    status: str = ""
    webhook_endpoint: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str = ""

    @property
    def is_signed(self) -> bool:
        """Whether the server has a secret to sign with."""
        return "webhook-signature" in self.headers

    def verify(self, secrets: str | list[str]) -> dict[str, Any]:
        """The content, if one of the secrets signed it. Raises BadSignature."""
        return verify_webhook(self.body.encode(), self.headers, secrets)


@dataclass(frozen=True, kw_only=True)
class WebhookTest(Record):
    """What a receiver answered to a test: `status` and the beginning of the answer, or why none came."""

    status: int | None = None
    answer: str = ""
    error: str | None = None
    milliseconds: float = 0.0
    signed: bool = False


def listen(after: str = "") -> Generator[Step | Emit[Delivery], Any, None]:
    """The webhooks of your own requests that become final from now on, with an endpoint or without, until you stop.

    `after` is the `place` of the last delivery that you have. A stream that breaks off is taken up where it ended. An empty delivery says that it has begun.
    """
    silent, begun = 0, False  # how many streams in a row said nothing
    while True:
        headers = {"last-event-id": after} if after else {}
        path = "/v1/webhooks/listen"
        yield from ask(Request("GET", path, headers=headers, read_seconds=QUIET_SECONDS), True)
        parser, silent = Parser(), silent + 1
        broken = Unreachable("The stream of webhooks ends.")
        try:
            while data := cast(bytes, (yield Read())):
                for event in parser.feed(data):
                    silent, after = 0, event.id or after
                    if event.kind == "delivery":
                        yield Emit(Delivery.of({**json.loads(event.data), "place": after}))
                    elif not begun:
                        begun = True
                        yield Emit(Delivery(place=after))
        except httpx.RequestError as error:
            broken = unreachable(error)
        if silent > (yield Retries()):
            raise broken
        yield Pause(pause_between_streams())


def send_test(url: str) -> Flow[WebhookTest]:
    """Lets the server send one signed webhook to a URL. Returns what the receiver answered."""
    request = Request(
        "POST", "/v1/webhooks/test", headers=JSON, content=json_body({"url": url}), repeatable=False
    )
    return WebhookTest.of(json_object((yield from ask(request))))
