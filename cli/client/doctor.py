"""`kingpost doctor`: what could keep a stack, or this user's way to a server, from working, and what to do about it."""

import json
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, cast

import typer

from cli.client.choosing import chosen_server
from cli.options import AsJson
from kingpost.errors import ApiError, Error, Unreachable
from tasks.outside_text import printable

if TYPE_CHECKING:
    import httpx

    from kingpost import Client
    from kingpost.contexts import Server

Level = Literal["ok", "warn", "fail"]
COLORS: dict[str, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
SECONDS = 10.0  # for the server to answer
LONG_LOAD_SECONDS = 120.0  # s: a load that takes longer may hang; the console says so, too
CLOCK_WARN, CLOCK_FAIL = 2.0, 60.0  # s apart: more is a warning, or a failure
MOST_PARTS = 20  # of the service that are shown
MOST_SAID = 300  # characters of an answer that are shown
# What a key of each scope may do.
SCOPES = {
    "inference": "it runs models; it manages neither models nor keys",
    "metrics": "it reads /metrics alone; it runs no model and manages nothing",
    "deploy": "it runs and manages models; it manages no keys and sees its own requests only",
    "full": "it does everything but managing keys and seeing the requests of others",
    "admin": "it may do everything",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, and what to do unless it is ok."""

    name: str
    level: Level
    said: str
    advice: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Checks this machine and its stack, or the way to a server elsewhere, and says what to do. The exit code is 1 if something fails."""
    server = chosen_server()
    if server:
        findings = on_server(server)
    else:
        from cli.local.doctor import on_this_machine

        findings = on_this_machine()
    failed = False
    shown: list[Finding] = []
    for finding in findings:
        failed |= finding.level == "fail"
        shown.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print(json.dumps([asdict(finding) for finding in shown]))
    if failed:
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    level = typer.style(f"{finding.level:<4}", fg=COLORS[finding.level])
    typer.echo(f"{level}  {finding.name:<11}  {printable(finding.said)}")
    if finding.advice:
        typer.echo(f"{'':19}{printable(finding.advice)}")


def on_server(server: "Server") -> Iterator[Finding]:
    """What is to be known of a server elsewhere and of the key for it."""
    import httpx

    from kingpost import Client
    from kingpost.flow import foreign_page

    where = server.url + (f" (context {server.context})" if server.context else "")
    began, asked = time.monotonic(), time.time()
    try:
        answer = httpx.get(f"{server.url}/health/ready", timeout=SECONDS)
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        yield Finding("server", "fail", f"{where} cannot be reached: {why}.", "Check the address, and whether a firewall or a proxy is in between.")  # fmt: skip
        return
    took = (time.monotonic() - began) * 1000
    if page := foreign_page(answer):
        yield Finding("server", "fail", page, "Check the address.")
        return
    if answer.is_success:
        yield Finding("server", "ok", f"{where} answers in {took:.0f} ms.")
    else:
        yield Finding("server", "fail", f"{where} answers {answer.status_code}: {sentence(answer)}", "Run `kingpost doctor` on its machine.")  # fmt: skip
    yield from parts(answer)
    yield _clock(answer.headers.get("date", ""), asked, took / 1000)
    with Client(server, retries=0) as client:  # it is to say how things are now
        try:
            key = client.key()
            said = SCOPES.get(key.scope, "")
            limits = [*key.models, *key.environments]
            only = f" It is for {', '.join(limits)} alone." if limits else ""
            until = f" It ends at {key.expires_at:%Y-%m-%d %H:%M}." if key.expires_at else ""
            yield Finding("key", "ok", f"{key.id} has the scope {key.scope}: {said}.{only}{until}")
            yield from _loads(client, key.scope)
        except (ApiError, Unreachable) as error:
            yield Finding("key", "fail", str(error), "`kingpost login` with another key; `kingpost keys create` makes one there.")  # fmt: skip
        except Error as error:
            yield Finding("key", "fail", str(error))


def _loads(client: "Client", scope: str) -> Iterator[Finding]:
    """The loads on all nodes that may hang, for a key that may see them."""
    if scope in ("inference", "metrics"):
        return
    replicas = [replica for node in client.nodes() for replica in node.replicas]
    yield from long_loads((str(each["model"]), each.get("loading_seconds")) for each in replicas)


def long_loads(loads: Iterable[tuple[str, float | None]]) -> Iterator[Finding]:
    """The models that have been loading for very long. `loads` are names and seconds, None for one that does not load."""
    for model, seconds in loads:
        if seconds is not None and seconds >= LONG_LOAD_SECONDS:
            said = f"{model} has been loading for {seconds // 60:.0f} min."
            way = (
                f"`kingpost logs {shlex.quote(model)}` says how far it has come, or where it hangs."
            )
            yield Finding("load", "warn", said, way)


def parts(answer: "httpx.Response") -> Iterator[Finding]:
    """The parts of the service that are not well, as `/health/ready` says. Servers of an earlier version say none."""
    try:
        said = records(answer.json(), "parts")
    except ValueError:
        return
    for part in said[:MOST_PARTS]:
        name, state, why = (str(part.get(field, ""))[:MOST_SAID] for field in ("name", "state", "said"))  # fmt: skip
        if state == "fail":
            yield Finding(name, "fail" if part.get("needed") is True else "warn", why)
        elif state == "unknown" and why:
            yield Finding(name, "warn", why)


def records(answer: object, name: str) -> list[dict[str, object]]:
    """The objects of a list in a JSON object; none if the answer is of another shape."""
    said = cast("dict[str, object]", answer).get(name) if isinstance(answer, dict) else None
    rows = cast("list[object]", said) if isinstance(said, list) else []
    return [cast("dict[str, object]", row) for row in rows if isinstance(row, dict)]


def sentence(answer: "httpx.Response") -> str:
    """What an answer says: the sentence of an error of Kingpost's, else the first line of the text."""
    try:
        said: object = answer.json()
    except ValueError:
        said = None
    if isinstance(said, dict):
        error: object = said.get("error")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(error, str) and error:
            return error[:MOST_SAID]
    return (answer.text.strip().splitlines() or ["nothing"])[0][:MOST_SAID]


def _clock(date: str, asked: float, took: float) -> Finding:
    """Compares the clocks by the header `date`. The server read its clock about half-way between question and answer, and says whole seconds.

    `asked` is when the question was sent (Unix time), `took` how long the answer took, in seconds.
    """
    try:
        there = parsedate_to_datetime(date).timestamp() + 0.5
    except (TypeError, ValueError):
        return Finding("clock", "warn", "The server does not say its time.")
    return clock(asked + took / 2 - there, "the server's", CLOCK_WARN, 0.5 + took / 2)


def clock(apart: float, whose: str, most: float, unsure: float = 0.0) -> Finding:
    """Says how far this machine's clock is from another one. It matters because webhooks are signed with the time.

    All in seconds: the clocks are `apart`, which may be wrong by `unsure`, and up to `most` is ok.
    """
    if abs(apart) <= unsure:
        said = f"This machine's clock and {whose} agree, within {unsure:.1f} s."
    else:
        within = f" (give or take {unsure:.1f} s)" if unsure else ""
        said = f"This machine's clock and {whose} are {abs(apart):.1f} s apart{within}."
    if abs(apart) <= most + unsure:
        return Finding("clock", "ok", said)
    level = "fail" if abs(apart) > CLOCK_FAIL else "warn"
    return Finding("clock", level, said, "Let both follow NTP (chrony or systemd-timesyncd).")
