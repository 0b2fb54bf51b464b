"""`kingpost webhook-secret`: create, rotate and list the secrets that webhooks are signed with."""

import typer

app = typer.Typer(no_args_is_help=True, help="Webhook secrets: create, rotate, list.")
