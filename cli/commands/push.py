"""`kingpost push`: from a folder to a running deployment, on a server or on the local stack."""

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.status import Status

from cli.client.choosing import chosen_server, local_server, where
from cli.options import AsJson, Unsupported
from kingpost import contexts
from kingpost.errors import ApiError, Error, Unreachable
from kingpost.packing.config_file import PackageError, read_yaml
from tasks.outside_text import printable
from tasks.process.variables import is_set

if TYPE_CHECKING:
    from kingpost.contexts import Server
    from kingpost.packages import Deployed, DeploymentStep, Sent

RETRIES = 8  # more than elsewhere, because an upload that breaks off goes on where it ended
MOST_EXAMPLE = 2000  # characters; a longer example input is shown as {}
STATES = {"building": "preparing"}  # how a state is shown; others as they are
COLUMNS = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())


class PushFailed(Error):
    """The package was not deployed, or does not run."""


@dataclass(frozen=True)
class Wanted:
    """What the options of a push say."""

    name: str | None
    environment: str | None
    allow_unsupported: list[str]
    wait: bool
    as_json: bool


def push(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Folders of Truss packages.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Model name to use instead of model_name in config.yaml.")
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option("--environment", "-e", help="Promote the deployment to this environment."),
    ] = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Promote the deployment to production.")
    ] = False,
    allow_unsupported: Unsupported = None,
    wait: Annotated[
        bool | None,
        typer.Option(
            "--wait/--no-wait",
            help="Wait until it is ready or has failed (default).",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Deploys Truss packages. The first deployment of a model becomes its production."""
    if name and len(folders) > 1:
        raise PushFailed(
            "--name works with one package only; push the others in separate commands."
        )
    wanted = environment or ("production" if promote else None)
    server = chosen_server()
    if server is None:
        if as_json:
            raise PushFailed("--json needs a server: name it with --url, or `kingpost login`.")
        from cli.commands.deploy import push_here

        deployed = push_here(folders, name, wanted, allow_unsupported)
        waiting_at = None if wait is False else _local_api(wait)
        if waiting_at is None:
            print("`kingpost models` shows whether it is loaded, and if not, why.")
            return
        for folder, known in zip(folders, deployed, strict=True):
            _wait_here(waiting_at, folder, known.model_id, known.id, wanted)
        return
    options = Wanted(name, wanted, allow_unsupported or [], wait is not False, as_json)
    for folder in folders:
        try:
            _push(server, folder, options)
        except PackageError as error:
            raise PushFailed(f"{folder}: {error.shown}") from error
        except (ApiError, Unreachable) as error:
            raise PushFailed(f"{folder}: {error}") from error


def _push(server: "Server", folder: Path, wanted: Wanted) -> None:
    from kingpost import Client

    with Client(server, retries=RETRIES) as client:
        going = client.push(
            folder,
            name=wanted.name,
            environment=wanted.environment,
            allow_unsupported=wanted.allow_unsupported,
        )
        deployed = _upload(going, folder)
        if not wanted.as_json:
            _say(deployed)
        last = _show_steps(going, deployed) if wanted.wait else None
    if wanted.as_json:
        print(json.dumps(_summary(server, deployed, last)))
    else:
        _say_how_to_call(server, folder, deployed, wanted.environment, last)
    _refuse_broken(deployed, last)


def _refuse_broken(deployed: "Deployed", last: "DeploymentStep | None") -> None:
    """Raises PushFailed for a deployment that does not run."""
    if last and last.state not in ("ready", "asleep"):
        reason = last.message.strip().splitlines()
        raise PushFailed(
            f"{deployed.model_name} is {last.state}: {reason[-1] if reason else last.status}"
        )


def _local_api(wait: bool | None) -> "Server | None":
    """The API of the stack of this machine. None if only its store is known. Then it raises NoStack if `--wait` was given."""
    from cli.running import NoStack

    try:
        return local_server()
    except NoStack:
        if wait:
            raise
        return None


def _wait_here(
    server: "Server", folder: Path, model_id: str, deployment_id: str, environment: str | None
) -> None:
    """Waits for a deployment of the stack of this machine."""
    from kingpost import Client
    from kingpost.packages import Deployed

    try:
        with Client(server, retries=RETRIES) as client:
            found = client.deployments.get(model_id, deployment_id)
            deployed = Deployed(deployment=found, model_name=client.models.get(model_id).name)
            last = _show_steps(client.deployments.follow(model_id, deployment_id), deployed)
    except (ApiError, Unreachable) as error:
        raise PushFailed(f"{folder} is deployed, but how it loads is not known: {error}") from error
    _say_how_to_call(server, folder, deployed, environment, last)
    _refuse_broken(deployed, last)


def _upload(going: Iterator[Any], folder: Path) -> "Deployed":
    """Shows the upload, and returns the deployment that it leads to."""
    from kingpost.packages import Sent

    with Progress(*COLUMNS, console=Console(stderr=True), transient=True) as bars:
        task, sent = bars.add_task(f"checking {folder.name}", total=None), ""
        try:
            for step in going:
                if not isinstance(step, Sent):
                    return step
                sent = f"{step.done / 1e6:.1f} of {step.total / 1e6:.1f} MB"
                bars.update(task, description="uploading", completed=step.done, total=step.total)
                if step.done == step.total:
                    bars.update(task, description="checking on the server")
        except Unreachable as error:
            if not sent:
                raise
            message = f"{error} About {sent} have arrived; the same command goes on from there."
            raise Unreachable(message) from error
    raise PushFailed("The push ended without a deployment.")


def _say(deployed: "Deployed") -> None:
    found = deployed.deployment
    print(f"{deployed.model_name}: deployment {found.id} (model {found.model_id})")
    for warning in found.warnings:
        typer.echo(printable(f"{deployed.model_name}: {warning}"), err=True)
    promote = f"Promote it: kingpost promote {shlex.quote(deployed.model_name)} {found.id}"
    said = {
        "switched": "The environment points at it now.",
        "warming": "The environment switches to it as soon as a replica is ready.",
        "unchanged": "The environment points at it already.",
        None: f"{found.environment} points at it." if found.environment else promote,
    }
    print(said[deployed.promotion])


def _show_steps(
    going: Iterator["Sent | Deployed | DeploymentStep"], deployed: "Deployed"
) -> "DeploymentStep | None":
    """Shows the steps of a deployment, and returns the last one. None if there was none."""
    from kingpost.packages import DeploymentStep

    last: DeploymentStep | None = None
    console = Console(stderr=True, highlight=False)
    try:
        with console.status("queued") as status:
            for step in going:
                if not isinstance(step, DeploymentStep):
                    continue
                last = step
                _show_step(step, status, console)
    except KeyboardInterrupt:
        typer.echo(f"It goes on: kingpost deployments {shlex.quote(deployed.model_name)}", err=True)
        raise
    frames = last.message.strip().splitlines()[:-1] if last and last.state == "failed" else []
    if frames:  # the last line is what PushFailed says
        told = printable("\n".join(frames))
        console.print(told, markup=False, style="dim", soft_wrap=True)
    return last


def _show_step(step: "DeploymentStep", status: Status, console: Console) -> None:
    """Shows what happens now. What an installer prints, and why a deployment is queued, stays on the terminal. An error is shown only at the end."""
    note = printable((step.message.strip().splitlines() or [""])[-1])
    doing, stays = STATES.get(step.state, step.state), step.state in ("building", "queued")
    words = f"{doing}: {note}" if note else doing
    if not console.is_terminal:
        print(words if stays else doing, file=sys.stderr, flush=True)
        return
    status.update(doing if stays else words)
    if stays and note:
        said = note if step.state == "building" else words
        console.print(said, markup=False, style="dim", soft_wrap=True)


def _path_to_call(
    deployed: "Deployed", environment: str | None, last: "DeploymentStep | None"
) -> str:
    """The path at which the deployment is called: that of its environment if that points at it or will soon, else that of its id.

    `last` is None if nobody has waited. An environment that is still `warming` then points elsewhere, so the id is used.
    """
    from kingpost.calls import target_path

    found = deployed.deployment
    target = environment or found.environment
    if target is None or (deployed.promotion == "warming" and last is None):
        return target_path(found.model_id, deployment=found.id)
    return target_path(found.model_id, target)


def _summary(
    server: "Server", deployed: "Deployed", last: "DeploymentStep | None"
) -> dict[str, object]:
    from kingpost.calls import target_path

    found = deployed.deployment
    return {
        "model": deployed.model_name,
        "model_id": found.model_id,
        "deployment_id": found.id,
        "promotion": deployed.promotion,
        "state": last.state if last else None,
        "message": last.message if last else None,
        "url": f"{server.url}{target_path(found.model_id, deployment=found.id)}/predict",
        "warnings": list(found.warnings),
    }


def _say_how_to_call(
    server: "Server",
    folder: Path,
    deployed: "Deployed",
    environment: str | None,
    last: "DeploymentStep | None",
) -> None:
    """Prints the address of the deployment and a curl command, unless it does not run."""
    if last and last.state not in ("ready", "asleep"):
        return
    url = f"{server.url}{_path_to_call(deployed, environment, last)}/predict"
    key = f"${contexts.KEY}" if is_set(contexts.KEY) else f"$(kingpost key{where()})"
    print(f"{'ready' if last else 'deployed'}: {url}")
    print(
        f'curl -X POST {shlex.quote(url)} -H "Authorization: Api-Key {key}" -d {_example(folder)}'
    )


def _example(folder: Path) -> str:
    """The example input of config.yaml for a shell, `{}` without one."""
    metadata = read_yaml(folder.resolve())[0].get("model_metadata")
    known = cast("dict[str, object]", metadata if isinstance(metadata, dict) else {})
    text = json.dumps(known.get("example_model_input", {}))
    return shlex.quote(text if len(text) <= MOST_EXAMPLE else "{}")
