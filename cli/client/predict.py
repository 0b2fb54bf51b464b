"""`kingpost predict`: runs a model from the shell, at once or through the queue."""

import codecs
import json
import shlex
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client.choosing import client, where
from cli.client.filtering import taking
from cli.client.inputs import model_input, with_files
from cli.client.outputs import CannotShow, Out, finish
from cli.options import AsJson
from kingpost.errors import ApiError, Error, StreamFailed, Unavailable, Unreachable
from kingpost.records import Output
from tasks.outside_text import printable

if TYPE_CHECKING:
    from kingpost import Client, Job

Model = Annotated[str, typer.Argument(help="A model's name or id.")]
Environment = Annotated[
    str | None,
    typer.Option("--environment", "-e", help="Name of the environment (default: production)."),
]
DeploymentId = Annotated[
    str | None, typer.Option("--deployment", help="Id of a deployment, instead of an environment.")
]

QUIET_SECONDS = 2.0  # without an answer, before somebody at a terminal wonders
# What a deployment does, for the statuses of one that will be ready by itself.
DOES = {
    "BUILDING": "is being built",
    "DEPLOYING": "is about to load",
    "LOADING_MODEL": "is loading",
    "WAKING_UP": "is loading",
    "SCALED_TO_ZERO": "wakes up",
}


# The options of a request in the queue, by the names of the fields of async_predict.
IN_QUEUE: dict[str, tuple[Any, Any]] = {
    "priority": (
        Annotated[int | None, typer.Option(min=0, max=2, help="With --async: 0 is the most urgent.")],
        None,
    ),
    "detach": (
        Annotated[bool, typer.Option("--detach", help="With --async: print the request's id and end.")],
        False,
    ),
    "webhook": (
        Annotated[str | None, typer.Option(metavar="URL", help="With --async: where the server posts the outcome.")],
        None,
    ),
    "max_time_in_queue_seconds": (
        Annotated[int | None, typer.Option("--max-time-in-queue-seconds", "--max-time-in-queue", min=10, max=259_200, help="With --async: how long it may wait for its first run (default: 600).")],
        None,
    ),
    "max_attempts": (
        Annotated[int | None, typer.Option(min=1, max=10, help="With --async: how often it runs at most if it fails.")],
        None,
    ),
    "initial_delay_ms": (
        Annotated[int | None, typer.Option(min=0, max=10_000, help="With --async: the wait before its second run.")],
        None,
    ),
    "max_delay_ms": (
        Annotated[int | None, typer.Option(min=0, max=60_000, help="With --async: the longest wait between runs.")],
        None,
    ),
}  # fmt: skip
RETRY = ("max_attempts", "initial_delay_ms", "max_delay_ms")


@dataclass(frozen=True)
class InQueue:
    """What the options of IN_QUEUE say, by their names."""

    given: Mapping[str, Any]

    @property
    def detach(self) -> bool:
        """Whether the command ends when the request is queued."""
        return self.given["detach"]

    @property
    def first_given(self) -> str:
        """The first of these options that was given, '' for none."""
        names = [
            name for name, value in self.given.items() if value is not None and value is not False
        ]
        return f"--{names[0].replace('_', '-')}" if names else ""

    def fields(self) -> dict[str, Any]:
        """The arguments of `Client.submit`."""
        own = ("priority", "webhook", "max_time_in_queue_seconds")
        retry = {name: self.given[name] for name in RETRY if self.given[name] is not None}
        return {name: self.given[name] for name in own} | {"retry": retry or None}


@taking("in_queue", IN_QUEUE, InQueue)
def predict(
    model: Model,
    in_queue: InQueue,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="KEY=VALUE|@FILE.json",
            help="A part of the input. VALUE is JSON, @FILE for the content of a file, @@FILE to upload a large one, else text. Repeat for more.",
        ),
    ] = None,
    out: Out = None,
    queued: Annotated[
        bool, typer.Option("--async", help="Go through the queue, and show how it goes.")
    ] = False,
    environment: Environment = None,
    deployment: DeploymentId = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Runs a model and shows its output, as it comes if the model streams."""
    if not queued and (option := in_queue.first_given):
        raise typer.BadParameter(f"{option} is for requests in the queue: add --async.")
    if in_queue.detach and out:
        raise typer.BadParameter("Without an output there is no file: take out -o, and get it later with `kingpost jobs result ID -o FILE`.")  # fmt: skip
    sent = model_input(given or ())
    target: dict[str, Any] = {"environment": environment, "deployment": deployment}
    with client() as server:
        sent = with_files(sent, server)
        if queued:
            files = out is not None
            job = server.submit(model, sent, output_files=files, **in_queue.fields(), **target)
            for warning in job.warnings:
                typer.echo(printable(warning), err=True)
            if in_queue.detach:
                typer.echo(json.dumps({"request_id": job.id}) if as_json else job.id)
            else:
                _follow_queued(server, job, out, as_json)
            return
        try:
            _at_once(server, model, sent, target, out, as_json)
        except (ApiError, StreamFailed) as error:
            # An error of the model's code.
            if isinstance(error, StreamFailed) or error.status == 500:
                way = f"`kingpost logs {shlex.quote(model)}` shows why"
                raise Error(f"{str(error).rstrip('.')}; {way}.") from None
            raise


def _at_once(
    server: "Client", model: str, sent: Any, target: dict[str, Any], out: Path | None, as_json: bool
) -> None:
    chunks = server.stream_bytes(model, sent, output_files=out is not None, **target)
    with _telling_of_load(server, model, target["environment"], target["deployment"]):
        content_type = next(chunks).content_type
    if out or as_json or Output(b"", content_type).is_json:
        content = b"".join(chunk.data for chunk in chunks)
        finish(Output(content, content_type), out, as_json, server)
        return
    screen = Screen()
    try:
        for chunk in chunks:
            screen.take(chunk.data)
    finally:
        screen.end()  # so that an error begins on a new line


@contextmanager
def _telling_of_load(
    server: "Client",
    model: str,
    environment: str | None,
    deployment: str | None,
) -> Generator[None]:
    """While the body waits for an answer: says once on stderr that the model loads, if it does after QUIET_SECONDS."""
    answered = threading.Event()

    def tell() -> None:
        said = _what_it_does(server, model, environment, deployment)
        if said and not answered.is_set():
            print(f"{printable(model)} {said}; waiting ...", file=sys.stderr)

    timer = threading.Timer(QUIET_SECONDS, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        answered.set()
        timer.cancel()


def _what_it_does(
    server: "Client", model: str, environment: str | None, deployment: str | None
) -> str | None:
    """What the deployment does instead of answering. None if it runs, or if that cannot be known."""
    try:
        if deployment or environment in (None, "production", "development"):
            known = server.deployments.get(model, deployment or environment or "production")
        else:
            known = server.models.environment(model, environment or "").current_deployment
    except Error:  # the call itself says what is wrong; a key for calls alone may not look
        return None
    return DOES.get(known.status) if known else None


def _follow_queued(server: "Client", job: "Job", out: Path | None, as_json: bool) -> None:
    from cli.client.following import follow

    if not as_json:
        typer.echo(f"queued as {job.id}", err=True)
    screen = None if out or as_json else Screen()
    with _telling_how_to_follow(job.id):
        seen = follow(job, screen.show if screen else _drop)
        output = None if screen and seen.all_shown else job.output()
    if output:
        finish(output, out, as_json, server, job.id)
    elif screen:
        screen.end()


@contextmanager
def _telling_how_to_follow(request_id: str) -> Generator[None]:
    """If the user or the server leaves, says that the request goes on, and how to follow it."""
    way = f"`kingpost jobs watch {request_id}{where()}` follows it"
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nThe request {request_id} goes on: {way}, and `cancel` instead of `watch` ends it.", err=True)  # fmt: skip
        raise
    except (Unreachable, Unavailable) as error:
        kept = f"The request {request_id} is kept, and runs when the server is back: {way}."
        raise Unreachable(f"{str(error).rstrip('.')}. {kept}") from error


def _drop(_: str) -> None:
    """Ignores output that comes as events: it is fetched and written at the end."""


class Screen:
    """Shows output as it comes. To a pipe or a file it is passed on as it is."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._terminal = sys.stdout.isatty()
        self._last = "\n"

    def take(self, data: bytes) -> None:
        """The next bytes. Raises CannotShow if a terminal cannot show them."""
        if not self._terminal:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        try:
            text = self._decoder.decode(data)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise CannotShow
        self.show(text)

    def show(self, text: str) -> None:
        """The next text."""
        print(printable(text) if self._terminal else text, end="", flush=True)
        self._last = text[-1:] or self._last

    def end(self) -> None:
        """Ends the last line."""
        if self._terminal and self._last != "\n":
            print()
