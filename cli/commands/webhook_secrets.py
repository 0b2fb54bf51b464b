"""`kingpost webhook-secret`: create, rotate and list the secrets that webhooks are signed with."""

import json
from dataclasses import asdict
from datetime import datetime

import typer

from cli.client.operator import operator
from cli.options import AsJson, say

app = typer.Typer(
    no_args_is_help=True, help="Manages the secrets that sign webhooks: create, rotate, list."
)


@app.command()
def create(as_json: AsJson = False) -> None:
    """Creates the first secret and prints it. From then on webhooks are signed."""
    secret = operator().new_secret(first=True)
    say(as_json, secret, secret=secret)


@app.command()
def rotate(as_json: AsJson = False) -> None:
    """Creates a new secret and prints it. The old one still signs for 24 hours."""
    secret = operator().new_secret(first=False)
    say(as_json, secret, secret=secret)


@app.command("list")
def list_secrets(as_json: AsJson = False) -> None:
    """Lists the secrets that sign now, newest first, with their middle hidden."""
    known = operator().secrets()
    if as_json:
        rows = [{k: v for k, v in asdict(secret).items() if k != "raw"} for secret in known]
        print(json.dumps(rows, default=str))
        return
    if not known:
        print("There are no webhook secrets yet: `kingpost webhook-secret create`.")
    for secret in known:
        until = f", signs until {_date(secret.signs_until)}" if secret.signs_until else ""
        print(f"{secret.secret}  made {_date(secret.created_at)}{until}")


def _date(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M") if at else "-"
