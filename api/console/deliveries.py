"""Why a webhook did not arrive, in words: what came of an attempt, and the setting that would have allowed it."""

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from api.schemas import AttemptView
from tasks.settings import Settings
from tasks.webhooks.schedule import REFUSED, TIMED_OUT
from tasks.webhooks.targets import refusal

ALLOWS_HTTP, ALLOWS_PRIVATE = "KINGPOST_WEBHOOK_ALLOW_HTTP", "KINGPOST_WEBHOOK_ALLOW_PRIVATE"


class Told(NamedTuple):
    """An attempt: what came of it, and what can be done about it ('' if nothing is known)."""

    what: str
    hint: str = ""


def told(attempt: AttemptView, url: str, settings: Settings) -> Told:
    """What came of an attempt to deliver to that URL."""
    error = attempt.error or ""
    if error.startswith(REFUSED):
        return Told(f"not sent: {error.removeprefix(REFUSED)}", _allowed_by(url, settings))
    if error == TIMED_OUT:
        return Told("no answer in time", "The receiver must answer within 10 seconds.")
    if error.startswith("ClientConnectorDNSError"):
        return Told("no connection: its name is not known here", error)
    if error.startswith(("ClientConnector", "ServerDisconnected", "ClientOSError")):
        what = "connection refused" if "Connect call failed" in error else "no connection"
        return Told(what, error)
    if error:
        return Told("not sent", error)
    return Told(f"answered {_status(attempt.status)}", _meaning(attempt.status))


def teller(settings: Settings) -> Callable[[AttemptView, str], Told]:
    """`told` by those settings, for a template."""
    return lambda attempt, url: told(attempt, url, settings)


def _allowed_by(url: str, settings: Settings) -> str:
    """The setting that allows what was refused."""
    if refusal(url, settings) and not refusal(url, _with(settings, "webhook_allow_http")):
        return f"{ALLOWS_HTTP}=1 on the server allows http."
    if not settings.webhook_allow_private:
        return f"{ALLOWS_PRIVATE}=1 on the server allows private addresses and other ports."
    return "The settings have changed since; send it again."


def _with(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={name: True})


def _status(status: int | None) -> str:
    try:
        return f"{status} {HTTPStatus(status or 0).phrase}"
    except ValueError:
        return str(status)


def _meaning(status: int | None) -> str:
    """What a status of the receiver leads to."""
    if status is None or 200 <= status < 300:
        return ""
    if status == HTTPStatus.GONE:
        return "The receiver wants no more webhooks at this address."
    if 300 <= status < 400:
        return "Redirects are not followed; name the address that it leads to."
    if status in (408, 409, 425, 429) or status >= 500:
        return "The receiver is in trouble: attempts go on for about three days."
    return "The receiver refuses it, so it is not tried again by itself."
