"""`kingpost keys`: create, list and revoke API keys."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.auditing import audited
from cli.running import current_settings
from cli.tables import show
from tasks.access import keys
from tasks.api_keys import SCOPES, ApiKey, Limits, key_id
from tasks.errors import SettingsError
from tasks.store.job_store import JobStore

app = typer.Typer(no_args_is_help=True, help="Manages API keys: create, list, revoke.")
LIMIT = "0 = no limit (default: the setting)."


@app.command()
def create(
    name: Annotated[str, typer.Option(help="A name, to recognise the key.")] = "",
    scope: Annotated[str, typer.Option(help=", ".join(SCOPES) + ".")] = "full",
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
) -> None:
    """Creates a key and prints it. It is not shown again."""
    if scope not in SCOPES:
        raise SettingsError(f"--scope must be one of {', '.join(SCOPES)}, not {scope!r}.")
    seconds = None if expires_in_days is None else expires_in_days * 86_400
    store, plain = JobStore(current_settings()), keys.fresh()
    limits = Limits(
        submits_per_minute,
        status_calls_per_minute,
        max_unfinished=max_unfinished,
        max_running=max_running,
    )
    only = (tuple(model or ()), tuple(environment or ()))
    with audited(store, "key.create", f"{key_id(plain)} {scope} {name}".rstrip()):
        store.run(keys.create(plain, name, scope, *only, seconds, limits))
    print(plain)
    typer.echo("Keep this key: Kingpost stores only its hash and cannot show it again.", err=True)


@app.command("list")
def list_keys() -> None:
    """Lists all keys, without their secrets."""
    known = JobStore(current_settings()).run(keys.known())
    if not known:
        print("There are no keys yet: `kingpost keys create`.")
        return
    rows: list[tuple[str, ...]] = []
    for key in (use.key for use in known):
        limits = [f"{name}={n}" for name, n in vars(key.limits).items() if n is not None]
        only = ", ".join((*key.models, *key.environments, *limits)) or "-"
        rows.append((key.id, key.name or "-", key.scope, _state(key), _date(key.created), only))
    show(("id", "name", "scope", "state", "created", "only"), rows)


@app.command()
def revoke(
    identity: Annotated[
        str, typer.Argument(metavar="KEY_ID", help="Id from `kingpost keys list`.")
    ],
) -> None:
    """Revokes a key for good. It stops working everywhere within two seconds."""
    store = JobStore(current_settings())
    with audited(store, "key.revoke", identity):
        store.run(keys.revoke(identity))
    print(f"The key {identity} is revoked.")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _state(key: ApiKey) -> str:
    if key.revoked:
        return "revoked"
    return "valid" if key.expires is None else f"until {_date(key.expires)}"
