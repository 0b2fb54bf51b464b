"""Why a webhook did not arrive, in words: what came of an attempt, and the setting that would have allowed it."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import NamedTuple

from api.schemas import AttemptView
from tasks.settings import Settings
from tasks.webhooks.schedule import REFUSED, TIMED_OUT
from tasks.webhooks.targets import refusal

PRIVATE = "webhook_allow_private"
ALLOWING = {  # setting -> what it allows
    "webhook_allow_http": "http",
    PRIVATE: "private addresses and other ports",
}


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
    """The settings that allow what was refused."""
    off = [name for name in ALLOWING if not getattr(settings, name)]
    if refusal(url, _with(settings, off)):
        return ""  # no setting does
    needed = [name for name in off if refusal(url, _with(settings, [n for n in off if n != name]))]
    needed = needed or [name for name in off if name == PRIVATE]  # the address of a name
    if not needed:
        return "The settings have changed since; send it again."
    names = " and ".join(f"KINGPOST_{name.upper()}=1" for name in needed)
    word = "allows" if len(needed) == 1 else "allow"
    return f"{names} on the server {word} {' and '.join(ALLOWING[name] for name in needed)}."


def _with(settings: Settings, names: Sequence[str]) -> Settings:
    return settings.model_copy(update=dict.fromkeys(names, True))


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
