"""`kingpost login`, `logout`, `contexts`, `use`: which servers this user works with."""

import json
import sys
from typing import Annotated

import typer

from cli.client.choosing import chosen_server, local_server
from cli.options import AsJson, say
from cli.tables import show
from kingpost import contexts
from kingpost.contexts import Contexts, Server
from kingpost.errors import ApiError, Forbidden, NotConfigured, Unauthorized

Name = Annotated[str, typer.Argument(help="Name of the context.")]


def login(
    url: Annotated[str, typer.Argument(help="Address of the server, such as https://host:8000.")],
    key: Annotated[
        str | None,
        typer.Option(
            help="The API key (default: asked for, or read from stdin).", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the context (default: the host of the address).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Notes a server and a key for all later commands, after a look whether the server takes the key."""
    address = contexts.address(url)
    server = Server(address, contexts.checked_key(key or _ask(address)), name or _host(address))
    said = _try_key(server)
    path = Contexts.read().with_server(server).write()
    done = f"Logged in to {server.url} as the context {server.context}; {said}."
    kept = f"The key is in {path}, which only you can read."
    say(as_json, f"{done}\n{kept}", url=server.url, context=server.context, file=str(path))


def logout(
    name: Annotated[
        str | None, typer.Argument(help="Name of the context (default: the current one).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forgets a server and its key. The key stays valid: `kingpost keys revoke` ends it."""
    known = Contexts.read()
    gone = name or known.current_name
    if not gone:
        raise NotConfigured("You are not logged in.")
    known.without(gone).write()
    say(as_json, f"The context {gone} and its key are forgotten.", context=gone)


def list_contexts(as_json: AsJson = False) -> None:
    """Lists the servers of `kingpost login`; a star marks the current one."""
    known = Contexts.read()
    rows = [
        {"name": name, "url": server.url, "current": name == known.current_name}
        for name, server in sorted(known.servers.items())
    ]
    if as_json:
        print(json.dumps(rows))
    elif rows:
        cells = [(str(row["name"]), "*" if row["current"] else "", str(row["url"])) for row in rows]
        show(("context", "now", "address"), cells)
    else:
        print("There are no contexts yet: `kingpost login URL`.")


def use(name: Name, as_json: AsJson = False) -> None:
    """Makes a context the current one."""
    known = Contexts.read().using(name)
    known.write()
    url = known.servers[name].url
    say(as_json, f"Commands use {url} from now on.", context=name, url=url)


def key(as_json: AsJson = False) -> None:
    """Prints the API key of the current context, or of the stack of this machine, for `$(kingpost key)` in a shell."""
    found = chosen_server() or local_server()
    say(as_json, found.key, url=found.url, key=found.key)


def _ask(url: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    return typer.prompt(f"API key for {url}", hide_input=True)


def _host(url: str) -> str:
    return url.partition("://")[2]


def _try_key(server: Server) -> str:
    """Asks the server with this key. Returns in words what it serves, or what the key may not do. Raises Unauthorized for a wrong key, NotConfigured for another kind of server."""
    from kingpost import Client

    with Client(server, retries=0) as client:
        try:
            models = client.models.list()
        except Forbidden:
            scope = client.key().scope  # it is valid, for something else
            return (
                f"the key has the scope {scope}, so it may neither run models nor manage anything"
            )
        except Unauthorized as error:
            message = (
                f"{server.url} does not take this key; `kingpost keys create` makes one there."
            )
            raise Unauthorized(message, error.status, error.code) from None
        except (ApiError, KeyError) as error:
            status = f" (HTTP {error.status})" if isinstance(error, ApiError) else ""
            message = (
                f"{server.url} does not answer as a Kingpost server{status}; check the address."
            )
            raise NotConfigured(message) from None
    return "it serves 1 model" if len(models) == 1 else f"it serves {len(models)} models"
