"""Which webhook endpoints are taken at submission; the sender checks the address again when it connects."""

from urllib.parse import urlsplit

from api.problems import Problem
from tasks.settings import Settings

LONGEST = 2048


def check_webhook(url: str, settings: Settings) -> None:
    """Raises Problem 400 that says what to do."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or len(url) > LONGEST or parts.username or parts.password:
        raise _refused("must be a URL such as https://example.com/hook, without user and password")
    local = host == "localhost" and settings.webhook_allow_private
    if parts.scheme != "https" and not (
        parts.scheme == "http" and (settings.webhook_allow_http or local)
    ):
        raise _refused("must begin with https://")


def _refused(what: str) -> Problem:
    return Problem(400, "client_error", f"webhook_endpoint: {what}.")
