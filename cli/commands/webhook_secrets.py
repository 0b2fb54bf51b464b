"""`kingpost webhook-secret`: create, rotate and list the secrets that webhooks are signed with."""

from datetime import UTC, datetime

import typer

from cli.auditing import audited
from cli.running import current_settings
from tasks.errors import SettingsError
from tasks.store.job_store import JobStore
from tasks.webhooks.secrets import WebhookSecrets

app = typer.Typer(
    no_args_is_help=True, help="Manages the secrets that sign webhooks: create, rotate, list."
)


@app.command()
def create() -> None:
    """Creates the first secret and prints it. From then on webhooks are signed."""
    if WebhookSecrets(current_settings()).list():
        raise SettingsError(
            "There is a secret already; `kingpost webhook-secret rotate` makes the next one."
        )
    rotate()


@app.command()
def rotate() -> None:
    """Creates a new secret and prints it. The old one still signs for 24 hours."""
    settings = current_settings()
    with audited(JobStore(settings), "webhook_secret.rotate"):
        print(WebhookSecrets(settings).rotate())


@app.command("list")
def list_secrets() -> None:
    """Lists the secrets that sign now, newest first, with their middle hidden."""
    known = WebhookSecrets(current_settings()).list()
    if not known:
        print("There are no webhook secrets yet: `kingpost webhook-secret create`.")
    for secret in known:
        until = "" if secret.expires is None else f", signs until {_date(secret.expires)}"
        print(f"{secret.secret[:10]}...{secret.secret[-4:]}  made {_date(secret.created)}{until}")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
