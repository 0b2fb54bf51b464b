"""`kingpost webhooks`: lists webhooks that could not be delivered, and sends them again."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.auditing import audited
from cli.running import current_settings
from cli.tables import show
from tasks.errors import NotFound
from tasks.store.job_store import JobStore
from tasks.webhooks import verbs
from tasks.webhooks.verbs import GivenUp, Redelivery

app = typer.Typer(
    no_args_is_help=True, help="Manages webhooks whose delivery was given up: list, resend."
)


@app.command("list")
def list_given_up(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most lines to show.")] = 20,
) -> None:
    """Lists the webhooks whose delivery was given up, latest first."""
    store = JobStore(current_settings())
    status = store.run(verbs.outbox_status(limit))
    store.close()
    print(f"{status.pending} on their way, {status.exhausted} given up.")
    if status.latest:
        rows = [
            (
                given_up.request_id,
                _date(given_up.at),
                str(len(given_up.attempts)),
                _last(given_up),
                given_up.url,
            )
            for given_up in status.latest
        ]
        show(("request", "given up", "tries", "last answer", "endpoint"), rows)


@app.command()
def resend(request_id: Annotated[str, typer.Argument(help="Id of the request.")]) -> None:
    """Sends a request's webhook again, with all its attempts."""
    store = JobStore(current_settings())
    with audited(store, "webhook.redeliver", request_id):
        word = store.run(verbs.redeliver(request_id))
        if word is not Redelivery.QUEUED:
            why = {
                Redelivery.NOT_FINAL: "is not final yet",
                Redelivery.NO_WEBHOOK: "has no webhook",
            }.get(word, "does not exist")
            raise NotFound(f"The request {request_id} {why}.")
    store.close()
    print(f"The webhook of {request_id} is on its way.")


def _last(given_up: GivenUp) -> str:
    last = given_up.attempts[-1] if given_up.attempts else {}
    return str(last.get("status") or last.get("error") or "-")


def _date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%m-%d %H:%M")
