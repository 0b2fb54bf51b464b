"""Which server a client talks to, and with which key: what was given, the variables, or the context of `kingpost login`."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from kingpost.errors import NotConfigured

URL, KEY = "KINGPOST_URL", "KINGPOST_API_KEY"
OTHERS = 0o077  # the rights of the group and of all others
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Server:
    """An address and a key. `context` is the name of the context that they are from, '' for none."""

    url: str
    key: str
    context: str = ""

    def __repr__(self) -> str:
        return f"Server({self.url!r}, context={self.context!r})"  # without the key


def chosen(url: str | None = None, key: str | None = None) -> Server | None:
    """The server: what is given, else the variables, else the current context. None if nothing names one.

    A context's key is only ever sent to that context's address. Raises NotConfigured.
    """
    url, key = url or os.environ.get(URL), key or os.environ.get(KEY)
    known = Contexts.read()
    if url:
        url = address(url)
        context = known.at(url)
        key = key or (context.key if context else None)
        if not key:
            way = f"set {KEY}, or log in with `kingpost login {url}`"
            raise NotConfigured(f"No key is known for {url}; {way}.")
        return Server(url, checked_key(key), context.context if context else "")
    current = known.current
    if current and key:
        return Server(current.url, checked_key(key), current.context)
    return current


def needed(url: str | None = None, key: str | None = None) -> Server:
    """As `chosen`. Raises NotConfigured if nothing names a server."""
    if server := chosen(url, key):
        return server
    raise NotConfigured(f"No server is known; use `kingpost login URL`, or set {URL} and {KEY}.")


def address(text: str) -> str:
    """The address of a server in one form: scheme, host and port. Raises NotConfigured for anything else."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise NotConfigured(f"{text} is not an address: {error}.") from None
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise NotConfigured(
            f"{text} is not an address; it looks like https://kingpost.example.com."
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise NotConfigured("An address has no user, `?` or `#`; the key is given apart from it.")
    host = f"[{host}]" if ":" in host else host
    shown = "" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}"
    plain = f"{parts.scheme}://{host}{shown}"
    if parts.path.strip("/"):
        raise NotConfigured(f"{text} has a path; give the address of the server alone: {plain}.")
    return plain


def checked_key(key: str) -> str:
    """The key without blanks around it. Raises NotConfigured for one that no header can carry."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise NotConfigured("That is not an API key; a key is one line of letters and digits.")
    return key


def config_folder() -> Path:
    """Where this user's programs keep their configuration, by the rules of the system."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "kingpost"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "kingpost"
    given = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".config"
    return base / "kingpost"


@dataclass(frozen=True)
class Contexts:
    """The servers that `kingpost login` has noted, in a file that only its owner can read."""

    servers: Mapping[str, Server]
    current_name: str = ""

    @property
    def current(self) -> Server | None:
        """The server that `kingpost login` or `kingpost use` chose last."""
        return self.servers.get(self.current_name)

    def at(self, url: str) -> Server | None:
        """A context with that address, the current one before others. None if there is none."""
        ordered = sorted(self.servers.values(), key=lambda server: server != self.current)
        return next((server for server in ordered if server.url == url), None)

    def with_server(self, server: Server) -> "Contexts":
        """A copy with that context, which becomes the current one."""
        return Contexts({**self.servers, server.context: server}, server.context)

    def using(self, name: str) -> "Contexts":
        """A copy with that context as the current one. Raises NotConfigured for an unknown name."""
        self._check(name)
        return Contexts(self.servers, name)

    def without(self, name: str) -> "Contexts":
        """A copy without that context. Raises NotConfigured for an unknown name."""
        self._check(name)
        kept = {known: server for known, server in self.servers.items() if known != name}
        return Contexts(kept, "" if name == self.current_name else self.current_name)

    def _check(self, name: str) -> None:
        if name not in self.servers:
            known = ", ".join(self.servers) or "none"
            raise NotConfigured(f"There is no context {name!r} (known: {known}).")

    @classmethod
    def read(cls) -> "Contexts":
        """The contexts in the file; none without a file. If others could read it, now only its owner can. Raises NotConfigured for a damaged one."""
        path = _path()
        try:
            if path.stat().st_mode & OTHERS:
                with contextlib.suppress(OSError):  # not ours, or the disk is read-only
                    path.chmod(0o600)
            said = json.loads(path.read_bytes())
            servers = {name: _server(name, entry) for name, entry in said["contexts"].items()}
            return cls(servers, str(said["current"]))
        except (FileNotFoundError, NotADirectoryError):
            return cls({})
        except OSError as error:
            raise NotConfigured(f"{path} cannot be read: {error.strerror}.") from None
        except (ValueError, TypeError, KeyError, AttributeError, NotConfigured):
            way = "remove it and log in again"
            raise NotConfigured(f"{path} is damaged or not of `kingpost login`; {way}.") from None

    def write(self) -> Path:
        """Replaces the file in one step, and only its owner can ever read it. Returns its path. Raises NotConfigured if it cannot be written."""
        path = _path()
        contexts = {name: {"url": at.url, "key": at.key} for name, at in self.servers.items()}
        said = {"current": self.current_name, "contexts": contexts}
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=".contexts-")  # with 0600
        except OSError as error:
            raise NotConfigured(f"{path} cannot be written: {error.strerror}.") from None
        try:
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(said, file, indent=2)
            os.replace(fresh, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            raise
        return path


def _path() -> Path:
    return config_folder() / "contexts.json"


def _server(name: str, entry: Any) -> Server:
    fields = cast("dict[str, str]", entry)
    return Server(address(fields["url"]), checked_key(fields["key"]), name)
