"""What the console says of an attempt to deliver a webhook: why it did not arrive, and which setting would have allowed it."""

import pytest

from api.console.deliveries import told
from api.schemas import AttemptView
from tasks.settings import Settings

PRIVATE, HTTP = "KINGPOST_WEBHOOK_ALLOW_PRIVATE=1", "KINGPOST_WEBHOOK_ALLOW_HTTP=1"
URL = "https://example.com/hook"


def attempt(**fields: object) -> AttemptView:
    return AttemptView.model_validate({"at": "2026-01-01T00:00:00Z", "ms": 1.0, **fields})


@pytest.mark.parametrize(
    ("error", "url", "what", "hint"),
    [
        ("refused: 10.0.0.1 is not a public address", URL, "not sent: 10.0.0.1 is not a public", PRIVATE),
        ("refused: port 8080 is not 443 or 80", "https://example.com:8080/", "not sent: port 8080", PRIVATE),
        ("refused: only https is allowed", "http://example.com/hook", "not sent: only https", HTTP),
        ("timeout", URL, "no answer in time", "10 seconds"),
        ("ClientConnectorError: Cannot connect to host x:443 ssl:default [Connect call failed ('1.2.3.4', 443)]", URL, "connection refused", "x:443"),
        ("ClientConnectorDNSError: Cannot connect to host x.invalid:443", URL, "name is not known", "x.invalid"),
        ("ServerDisconnectedError: Server disconnected", URL, "no connection", "disconnected"),
        ("The output is gone", URL, "not sent", "The output is gone"),
    ],
)  # fmt: skip
def test_an_error_is_explained(error: str, url: str, what: str, hint: str) -> None:
    words = told(attempt(error=error), url, Settings())
    assert what in words.what
    assert hint in words.hint


@pytest.mark.parametrize(
    ("status", "what", "hint"),
    [
        (200, "answered 200 OK", ""),
        (302, "answered 302 Found", "Redirects are not followed"),
        (404, "answered 404 Not Found", "not tried again by itself"),
        (410, "answered 410 Gone", "wants no more"),
        (503, "answered 503 Service Unavailable", "three days"),
        (599, "answered 599", "three days"),
    ],
)
def test_a_status_is_explained(status: int, what: str, hint: str) -> None:
    words = told(attempt(status=status), URL, Settings())
    assert words.what == what
    assert hint in words.hint


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "http://10.0.0.1/", "http://example.com:81/"])  # fmt: skip
def test_a_url_that_needs_two_settings_names_both(url: str) -> None:
    hint = told(attempt(error="refused: only https is allowed"), url, Settings()).hint
    assert HTTP in hint and PRIVATE in hint


def test_settings_that_allow_it_now_are_no_hint_to_change_them() -> None:
    now = Settings(webhook_allow_private=True)
    words = told(attempt(error="refused: 10.0.0.1 is not a public address"), URL, now)
    assert "KINGPOST" not in words.hint
