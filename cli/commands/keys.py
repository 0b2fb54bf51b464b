"""`kingpost keys`: create, list, limit, revoke and purge API keys."""

import json
import re
import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.choosing import client
from cli.client.operator import NewKey, operator
from cli.commands.deployed import NotConfirmed
from cli.options import AsJson, say
from cli.tables import show

if TYPE_CHECKING:
    from kingpost.operating import ApiKey

SCOPES = "full, inference, metrics, deploy or admin"
app = typer.Typer(
    no_args_is_help=True, help="Manages API keys: create, list, limit, revoke, purge."
)
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="Id from `kingpost keys list`.")]
NewLimit = Annotated[
    str | None, typer.Option(metavar="N", help="0 = no limit, `default` = the setting.")
]
LARGEST_LIMIT = 2**31  # as over REST
LIMIT = "0 = no limit (default: the setting)."  # in the help of each limit


@app.command()
def create(
    name: Annotated[str, typer.Option(help="A name, to recognise the key.")] = "",
    scope: Annotated[str, typer.Option(help=f"{SCOPES}.")] = "full",
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model. Repeat for more.")
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="Only this environment. Repeat for more.")
    ] = None,
    expires_in_days: Annotated[
        float | None, typer.Option(min=0, help="Days until it expires (default: never).")
    ] = None,
    submits_per_minute: Annotated[
        int | None, typer.Option(min=0, help=f"Submissions in a minute. {LIMIT}")
    ] = None,
    status_calls_per_minute: Annotated[
        int | None, typer.Option(min=0, help=f"Status calls in a minute. {LIMIT}")
    ] = None,
    queue_status_calls_per_minute: Annotated[
        int | None,
        typer.Option(min=0, help=f"Calls for the length of a queue in a minute. {LIMIT}"),
    ] = None,
    max_unfinished: Annotated[
        int | None, typer.Option(min=0, help=f"Requests queued or running. {LIMIT}")
    ] = None,
    max_running: Annotated[
        int | None, typer.Option(min=0, help=f"Requests running at once on a deployment. {LIMIT}")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Creates a key and prints it. It is not shown again."""
    limits = {
        "submits_per_minute": submits_per_minute,
        "status_calls_per_minute": status_calls_per_minute,
        "queue_status_calls_per_minute": queue_status_calls_per_minute,
        "max_unfinished": max_unfinished,
        "max_running": max_running,
    }
    wish = NewKey(scope, name, model or [], environment or [], expires_in_days, limits)
    plain = operator().create_key(wish)
    if as_json:
        print(json.dumps({"key": plain}))
    else:
        print(plain)
    typer.echo("Keep this key: Kingpost stores only its hash and cannot show it again.", err=True)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Lists all keys, without their secrets."""
    known = operator().keys()
    if as_json:
        print(json.dumps([_as_json(key) for key in known], default=str))
        return
    if not known:
        print("There are no keys yet: `kingpost keys create`.")
        return
    rows: list[tuple[str, ...]] = []
    for key in known:
        limits = [f"{name}={n}" for name, n in key.limits.items() if n is not None]
        only = ", ".join((*key.models, *key.environments, *limits)) or "-"
        rows.append((key.id, key.name or "-", key.scope, _state(key), _date(key.created_at), only))
    show(("id", "name", "scope", "state", "created", "only"), rows)


@app.command()
def limits(
    identity: KeyId,
    submits_per_minute: NewLimit = None,
    status_calls_per_minute: NewLimit = None,
    queue_status_calls_per_minute: NewLimit = None,
    max_unfinished: NewLimit = None,
    max_running: NewLimit = None,
    as_json: AsJson = False,
) -> None:
    """Changes limits of a key. Those that are not given stay. They hold within two seconds."""
    given = {
        "submits_per_minute": submits_per_minute,
        "status_calls_per_minute": status_calls_per_minute,
        "queue_status_calls_per_minute": queue_status_calls_per_minute,
        "max_unfinished": max_unfinished,
        "max_running": max_running,
    }
    changes = {name: _limit(text, name) for name, text in given.items() if text is not None}
    if not changes:
        raise typer.BadParameter("Name at least one limit, such as --max-running 2.")
    now = operator().limit_key(identity, changes)
    shown = ", ".join(f"{name}={n}" for name, n in now.items() if n is not None)
    sentence = f"The key {identity} has these limits of its own: {shown or 'none'}."
    say(as_json, sentence, id=identity, limits=dict(now))


def _limit(text: str, name: str) -> int | None:
    """None for `default`. Raises BadParameter."""
    if text == "default":
        return None
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > LARGEST_LIMIT:
        option = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(
            f"{option} must be a whole number of 0 to {LARGEST_LIMIT}, or `default`, not {text!r}."
        )
    return int(text)


@app.command()
def revoke(
    identity: KeyId,
    as_json: AsJson = False,
) -> None:
    """Revokes a key for good. It stops working everywhere within two seconds."""
    operator().revoke_key(identity)
    say(as_json, f"The key {identity} is revoked.", id=identity, state="revoked")


@app.command()
def purge(
    identity: KeyId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes everything of a key: its requests, of which unfinished ones are cancelled, its files and its unfinished uploads. The key itself stays."""
    what = f"all requests and files of the key {identity}"
    if not yes and not sys.stdin.isatty():
        raise NotConfirmed(f"This would delete {what}; add --yes.")
    if not yes and not typer.confirm(f"Delete {what}?", err=True):
        raise typer.Exit(1)
    with client() as server:
        files = server.keys.delete_files(
            identity
        )  # first, since it knows whether there is such a key
        *_, requests = server.jobs.bulk("purge", key=identity)
        files += server.keys.delete_files(identity)  # those that a request used
        (left,) = [key.kept_requests for key in server.keys.list() if key.id == identity]
    said = f"Deleted: requests {requests.done}, files {files}."
    said += " Its idempotency keys are remembered for a day after the submission."
    if left:
        said += f" Still there: requests {left}, which end or are new. Repeat the command for them."
    say(as_json, said, id=identity, requests=requests.done, files=files, kept_requests=left)


def _as_json(key: "ApiKey") -> dict[str, object]:
    """The fields of a key, without the key itself."""
    return {name: value for name, value in asdict(key).items() if name not in ("raw", "key")}


def _date(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M") if at else "-"


def _state(key: "ApiKey") -> str:
    if key.state == "revoked":
        return "revoked"
    return "valid" if key.expires_at is None else f"until {_date(key.expires_at)}"
