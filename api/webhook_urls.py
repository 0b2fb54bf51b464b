"""Checks webhook endpoints at submission. The sender checks the address again when it connects."""

import re

from api.problems import Problem
from tasks.settings import Settings
from tasks.webhooks.targets import refusal

LONGEST = 2048  # characters
_PORT = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}"
_REST = rf"//(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:({_PORT}))?([/?#][!-~]*)?$"
PATTERN = "^https:" + _REST  # as the OpenAPI document has it: ASCII, no user, no password
_HTTPS, _HTTP = re.compile(PATTERN), re.compile("^https?:" + _REST)


def check_webhook(url: str, settings: Settings) -> None:
    """Raises Problem 400 for an endpoint that is malformed, not allowed by the settings, or can never be reached."""
    if len(url) > LONGEST or not _HTTP.match(url):
        example = "a URL such as https://example.com/hook, without user and password"
        raise Problem(400, "client_error", f"webhook_endpoint: must be {example}.")
    if not settings.webhook_allow_http and not _HTTPS.match(url):
        raise Problem(
            400,
            "client_error",
            "webhook_endpoint: must begin with https://; KINGPOST_WEBHOOK_ALLOW_HTTP=1 on the server allows http.",
        )
    if why := refusal(url, settings):
        message = f"webhook_endpoint: can never be reached: {why}."
        if not refusal(url, settings.model_copy(update={"webhook_allow_private": True})):
            message += " KINGPOST_WEBHOOK_ALLOW_PRIVATE=1 on the server allows it."
        raise Problem(400, "client_error", message)
