"""Reads KINGPOST_REDIS_URL for the store's client (redis-py) and for Celery (kombu), which expect different forms.

redis-py wants `unix://` and `ssl_cert_reqs=none`. kombu wants `redis+socket://`, and uses TLS for `rediss` only if the query says
how. Each of them ignores some options that the other refuses.
"""

from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from tasks.errors import SettingsError
from tasks.outside_text import whole_number

FORMS = "redis://HOST:PORT/0, rediss://HOST:PORT/0 or unix:///PATH?db=0"
TLS_OPTIONS = frozenset(
    {"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
)
SOCKET_OPTIONS = frozenset({"db", "virtual_host", "username", "password"})
CERTIFICATES = ("none", "optional", "required")


def canonical(url: str) -> str:
    """The address as redis-py reads it. Raises SettingsError, whose sentence never shows a password."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise _refused(f"is not an address ({error})") from None
    scheme = parts.scheme.lower()
    if scheme in ("unix", "redis+socket"):
        return _socket(parts)
    if scheme.startswith("sentinel"):
        raise _refused("names a Sentinel; Kingpost needs the address of the primary")
    if scheme not in ("redis", "rediss"):
        what = f"begins with {scheme}://" if scheme else "has no scheme"
        raise _refused(what)
    if port == 0:
        raise _refused("has port 0")
    _database(parts.path.strip("/"))
    options = _options(parts, TLS_OPTIONS if scheme == "rediss" else frozenset())
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = _certificates(options["ssl_cert_reqs"])
    query = urlencode(options)
    return parts._replace(scheme=scheme, query=query, fragment="").geturl()


def for_celery(url: str) -> str:
    """A canonical address as kombu reads it."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        name, password = options.get("username", ""), options.get("password", "")
        user = f"{quote(name, safe='')}:{quote(password, safe='')}@" if password or name else ""
        return f"redis+socket://{user}{parts.path}?virtual_host={options.get('db', '0')}"
    if parts.scheme == "rediss":
        # Without it kombu would speak plain TCP.
        options.setdefault("ssl_cert_reqs", "required")
        return parts._replace(query=urlencode(options)).geturl()
    return url


def shown(url: str) -> str:
    """The address for a message, without user, password and options."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _socket(parts: SplitResult) -> str:
    if not parts.path.startswith("/") or parts.path == "/" or parts.hostname:
        raise _refused("needs an absolute path after unix://")
    given = _options(parts, SOCKET_OPTIONS)
    database = _database(given.pop("db", given.pop("virtual_host", "0")))
    options = {"db": database}
    for name, said in (("username", parts.username), ("password", parts.password)):
        value = given.get(name) or unquote(said or "")
        if value:
            options[name] = value
    return f"unix://{parts.path}?{urlencode(options)}"


def _options(parts: SplitResult, known: frozenset[str]) -> dict[str, str]:
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in given:
        if name not in known:
            hint = " (TLS needs rediss://)" if name in TLS_OPTIONS else ""
            raise _refused(f"has the option {name!r}, which is not supported{hint}")
    return given


def _certificates(said: str) -> str:
    word = said.lower().removeprefix("cert_")
    if word not in CERTIFICATES:
        raise _refused(f"has ssl_cert_reqs={said}; it is one of {', '.join(CERTIFICATES)}")
    return word


def _database(said: str) -> str:
    if said and whole_number(said) is None:
        raise _refused(f"names the database {said!r}; it is a number")
    return said or "0"


def _refused(why: str) -> SettingsError:
    return SettingsError(f"KINGPOST_REDIS_URL {why}; give {FORMS}.")
