"""Pushes a package over HTTP: what the server has is not sent again, and an upload that broke off goes on where it ended."""

import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx

from kingpost.calls import JSON, QUIET_SECONDS, json_body, json_object
from kingpost.errors import Unreachable
from kingpost.files import Sent, sending
from kingpost.flow import (
    Emit,
    Flow,
    Pause,
    Read,
    Request,
    Retries,
    Step,
    ask,
    pause_between_streams,
    unreachable,
)
from kingpost.managing import deployment_path
from kingpost.records import Deployment, Record
from kingpost.streams.events import Parser

if TYPE_CHECKING:
    from kingpost.packing.files import Selection

MOST_FILE_BYTES = 1 << 62  # no limit here: the server refuses what is too large for it
UPLOADS = "/v1/packages/uploads"
# How long the answer may take: the server unpacks and checks the package first.
DEPLOY_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Deployed(Record):
    """The deployment of a push. `promotion` is 'switched', 'warming' or 'unchanged', None without one."""

    deployment: Deployment
    model_name: str
    promotion: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeploymentStep(Record):
    """Where a deployment is on its way: `queued`, `building`, `loading`, and at the end one of FINAL.

    `message` says what happens. After a failure it is a traceback, and its last line is the error.
    """

    state: str
    status: str = ""
    message: str = ""
    ready_replicas: int = 0


Told = Sent | Deployed | DeploymentStep
Telling = Generator[Step | Emit[Told], Any, None]
FINAL = frozenset({"ready", "asleep", "failed", "inactive", "deleted"})


def push(
    folder: Path | str,
    *,
    name: str | None = None,
    environment: str | None = None,
    allow_unsupported: Sequence[str] = (),
) -> Telling:
    """Uploads a package's folder, deploys it, and follows the deployment until it is ready or has failed.

    Gives `Sent` while it uploads, `Deployed`, and then each `DeploymentStep`. Stop reading after `Deployed` if you do not want to wait. Raises
    PackageError for a folder that cannot be read, and ApiError with the server's sentence for one that it refuses.
    """
    # Here, because it needs yaml and pathspec, which a client that pushes nothing does without.
    from kingpost.packing.gathering import gather

    with tempfile.TemporaryDirectory() as scratch:
        selection = gather(Path(folder), MOST_FILE_BYTES, Path(scratch))
        yield from upload(selection)
    wanted = name or name_of(folder)
    deployed = yield from deploy(
        selection.content_hash,
        name=wanted,
        environment=environment,
        allow_unsupported=allow_unsupported,
    )
    yield Emit(deployed)
    yield from follow(deployed.deployment.model_id, deployed.deployment.id)


def name_of(folder: Path | str) -> str | None:
    """The name of the folder, if config.yaml has no `model_name`. None if it has one, which the server reads and checks."""
    from kingpost.packing.config_file import read_yaml

    root = Path(folder).resolve()
    said = read_yaml(root)[0].get("model_name")
    return root.name if said is None else None


def upload(selection: "Selection") -> Telling:
    """Uploads the files of a package, as far as the server does not have them."""
    total = selection.tar_size
    offer = json_body({"content_hash": selection.content_hash, "size": total})
    asked = Request("POST", "/v1/packages", headers=JSON, content=offer)
    yield from sending(lambda _: asked, UPLOADS, selection.tar, total)


def deploy(
    content_hash: str,
    *,
    name: str | None = None,
    environment: str | None = None,
    allow_unsupported: Sequence[str] = (),
) -> Flow[Deployed]:
    """Makes a deployment of a package that the server has. If the model has one of the same package, that one is returned."""
    asked = {"content_hash": content_hash, "name": name, "environment": environment}
    body = json_body({**asked, "allow_unsupported": list(allow_unsupported)})
    answer = yield from ask(
        Request("POST", "/v1/deployments", headers=JSON, content=body, read_seconds=DEPLOY_SECONDS)
    )
    said = json_object(answer)
    return Deployed.of({**said, "deployment": Deployment.of(said["deployment"])})


def follow(model: str, deployment: str) -> Telling:
    """The steps of a deployment until it is ready or has failed. A stream that breaks off is opened again, and no step comes twice in a row."""
    last, path = None, f"{deployment_path(model, deployment)}/events"
    for tries in count():
        silent, parser = True, Parser()
        yield from ask(Request("GET", path, read_seconds=QUIET_SECONDS), opened=True)
        try:
            while data := cast(bytes, (yield Read())):
                silent = False
                for event in parser.feed(data):
                    if event.kind != "deployment":
                        continue
                    step = DeploymentStep.of(event.json())
                    if step != last:
                        yield Emit(step)
                    last = step
                    if step.state in FINAL:
                        return
        except httpx.RequestError as error:
            if silent and tries >= (yield Retries()):
                raise unreachable(error) from error
        if silent and tries >= (yield Retries()):
            raise Unreachable(f"The events of {deployment} end before it is ready.")
        yield Pause(pause_between_streams())
