"""The verbs of sessions: logins of the console. The browser has a token in a cookie, and the store has its SHA-256."""

import hashlib
import secrets
from dataclasses import dataclass

from tasks.access.library import ACCESS
from tasks.job import Milliseconds
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import ScriptCall

MOST_OF_A_KEY = 50  # logins


@dataclass(frozen=True)
class Session:
    """A login: the id of its API key, and the CSRF token that every change has to show beside the cookie."""

    key_id: str
    csrf: str


def fresh() -> str:
    """A new token, for `open_session`."""
    return secrets.token_urlsafe(32)


def open_session(token: str, key_id: str, lives: Milliseconds) -> ScriptCall[str]:
    """Notes a login."""
    arguments = [_hashed(token), key_id, secrets.token_urlsafe(24), lives, MOST_OF_A_KEY]
    return ScriptCall("open_session", arguments, text, ACCESS)


def session(token: str) -> ScriptCall[Session | None]:
    """The login with that token, None if it has ended."""

    def read(reply: Reply) -> Session | None:
        key_id, csrf = items(reply)
        return None if key_id is None else Session(text(key_id), text(csrf))

    return ScriptCall("session", [_hashed(token)], read, ACCESS)


def close_sessions(key_id: str) -> ScriptCall[int]:
    """Ends all logins of that API key, in every browser. Returns how many there were."""
    return ScriptCall("close_sessions", [key_id], number, ACCESS)


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
