"""`kingpost webhooks listen` and `test`: webhooks on a machine that no server reaches."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client.choosing import client
from cli.options import AsJson
from kingpost.errors import BadSignature
from tasks.outside_text import printable

if TYPE_CHECKING:
    import httpx

    from kingpost.webhooks import Delivery

FORWARD_SECONDS = 30.0  # for the receiver to answer
UNVERIFIED = "Signatures are not verified: that takes the webhook secret of the server (--secret whsec_...), which only `kingpost webhook-secret create` and `rotate` show."
RETRIES = 1000  # so that a listener waits for an hour and more for its server to come back


def listen(
    forward_to: Annotated[
        str | None,
        typer.Option(help="URL of your receiver, such as http://localhost:3000/hook."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="Webhook secret (whsec_...) to verify with. Repeat for more."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Shows the webhook of each of your requests that becomes final, and forwards it with its headers and body. No receiver need be reachable from the server."""
    import httpx

    with (
        client(RETRIES) as server,
        httpx.Client(timeout=FORWARD_SECONDS, trust_env=False) as receiver,
    ):
        for delivery in server.webhooks.listen():
            if not delivery.request_id:
                typer.echo(f"Listening at {server.server.url}; Ctrl-C ends.", err=True)
                if not secret:
                    typer.echo(UNVERIFIED, err=True)
                continue
            said: dict[str, Any] = {"signature": _verified(delivery, secret or [])}
            if forward_to:
                said |= _forwarded(receiver, forward_to, delivery)
            _show(delivery, said, as_json)


def send_test(
    receiver: Annotated[
        str, typer.Argument(metavar="URL", help="URL of a receiver that the server can reach.")
    ],
    as_json: AsJson = False,
) -> None:
    """Lets the server send one signed webhook to a URL, and says what came back. The exit code is 1 unless that is 2xx."""
    with client() as server:
        found = server.webhooks.send_test(receiver)
    if as_json:
        print(json.dumps(found.raw))
    else:
        what = found.error or f"answered {found.status}"
        print(f"{what} after {found.milliseconds:.0f} ms")
        if found.answer:
            print(printable(found.answer))
        if not found.signed:
            typer.echo("It was not signed: `kingpost webhook-secret create` makes a secret.", err=True)  # fmt: skip
    if found.status is None or not 200 <= found.status < 300:
        raise typer.Exit(1)


def _verified(delivery: "Delivery", secrets: list[str]) -> str:
    if not delivery.is_signed:
        return "not signed"
    if not secrets:
        return "not verified"
    try:
        delivery.verify(secrets)
    except BadSignature as error:
        return f"WRONG: {printable(str(error))}"
    return "ok"


def _forwarded(receiver: "httpx.Client", url: str, delivery: "Delivery") -> dict[str, Any]:
    """Posts the webhook as the server would. Returns the status of the answer, or the error."""
    import httpx

    try:
        answer = receiver.post(url, content=delivery.body.encode(), headers=dict(delivery.headers))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return {"answer": None, "error": str(error) or type(error).__name__}
    return {"answer": answer.status_code, "error": None}


def _show(delivery: "Delivery", said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        fields = asdict(delivery)
        del fields["raw"]
        print(json.dumps(fields | said), flush=True)
        return
    at = datetime.now().strftime("%H:%M:%S")
    print(f"{at}  {delivery.request_id}  {delivery.status}", flush=True)
    forwarded = ""
    if "answer" in said:
        forwarded = f"; forwarded: {said['answer'] or said['error']}"
    print(f"          signature {said['signature']}{printable(forwarded)}", flush=True)
