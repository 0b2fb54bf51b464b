"""`kingpost webhook-secret`: create, rotate and list the secrets that webhooks are signed with."""

from datetime import UTC, datetime

import typer

from tasks.errors import SettingsError
from tasks.settings import Settings
from tasks.webhooks.secrets import WebhookSecrets

app = typer.Typer(no_args_is_help=True, help="Webhook secrets: create, rotate, list.")


@app.command()
def create() -> None:
    """Makes the first secret and shows it; from then on webhooks are signed."""
    known = WebhookSecrets(Settings.load())
    if known.list():
        raise SettingsError(
            "There is a secret already; `kingpost webhook-secret rotate` makes the next."
        )
    print(known.rotate())


@app.command()
def rotate() -> None:
    """Makes a new secret and shows it; the old one still signs for 24 hours."""
    print(WebhookSecrets(Settings.load()).rotate())


@app.command("list")
def list_secrets() -> None:
    """Shows the secrets that sign now, newest first, with their middle hidden."""
    known = WebhookSecrets(Settings.load()).list()
    if not known:
        print("There are no webhook secrets yet: `kingpost webhook-secret create`.")
    for one in known:
        until = "" if one.expires is None else f", signs until {_date(one.expires)}"
        print(f"{one.secret[:10]}...{one.secret[-4:]}  made {_date(one.created)}{until}")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
