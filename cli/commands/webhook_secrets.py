"""`kingpost webhook-secret`: create, rotate and list the secrets that webhooks are signed with."""

from datetime import UTC, datetime

import typer

from cli.auditing import audited
from cli.running import current_settings
from tasks.errors import SettingsError
from tasks.store.job_store import JobStore
from tasks.webhooks import secrets
from tasks.webhooks.signatures import new_secret

app = typer.Typer(
    no_args_is_help=True, help="Manages the secrets that sign webhooks: create, rotate, list."
)


@app.command()
def create() -> None:
    """Creates the first secret and prints it. From then on webhooks are signed."""
    _make(first=True)


@app.command()
def rotate() -> None:
    """Creates a new secret and prints it. The old one still signs for 24 hours."""
    _make(first=False)


@app.command("list")
def list_secrets() -> None:
    """Lists the secrets that sign now, newest first, with their middle hidden."""
    known = JobStore(current_settings()).run(secrets.signing())
    if not known:
        print("There are no webhook secrets yet: `kingpost webhook-secret create`.")
    for secret in known:
        until = "" if secret.expires is None else f", signs until {_date(secret.expires)}"
        print(f"{secret.hidden}  made {_date(secret.created)}{until}")


def _make(first: bool) -> None:
    store, fresh = JobStore(current_settings()), new_secret()
    with audited(store, "webhook_secret.rotate"):
        if not store.run(secrets.rotate(fresh, first)):
            raise SettingsError(
                "There is a secret already; `kingpost webhook-secret rotate` makes the next one."
            )
    print(fresh)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
