"""`kingpost keys`: create, list and revoke API keys."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.operator import NewKey, operator
from cli.options import AsJson, say
from cli.tables import show

if TYPE_CHECKING:
    from kingpost.operating import ApiKey

SCOPES = "full, inference, metrics, deploy or admin"
app = typer.Typer(no_args_is_help=True, help="Manages API keys: create, list, revoke.")
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
def revoke(
    identity: Annotated[
        str, typer.Argument(metavar="KEY_ID", help="Id from `kingpost keys list`.")
    ],
    as_json: AsJson = False,
) -> None:
    """Revokes a key for good. It stops working everywhere within two seconds."""
    operator().revoke_key(identity)
    say(as_json, f"The key {identity} is revoked.", id=identity, state="revoked")


def _as_json(key: "ApiKey") -> dict[str, object]:
    """The fields of a key, without the key itself."""
    return {name: value for name, value in asdict(key).items() if name not in ("raw", "key")}


def _date(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M") if at else "-"


def _state(key: "ApiKey") -> str:
    if key.state == "revoked":
        return "revoked"
    return "valid" if key.expires_at is None else f"until {_date(key.expires_at)}"
