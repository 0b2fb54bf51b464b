"""`kingpost demo`: draws digits through the queue, with a progress bar for each job, and saves the picture."""

import base64
import io
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from cli.stack.briefly import lacking, running
from tasks.errors import KingpostError

RUN_SECONDS = 300.0  # for all jobs
MODEL = "digits"  # one of the models in the repository
NEEDS = ("torch", "diffusers")  # what it imports, of the extra `models`
POLL_SECONDS = 0.15  # between looks at the jobs
FINAL = {"SUCCEEDED", "FAILED", "EXPIRED", "CANCELED", "WEBHOOK_FAILED"}
# Six patient jobs are submitted first, then four urgent ones, which overtake them.
PATIENT = [{"digit": digit, "count": 8, "steps": 60, "seed": digit} for digit in range(6)]
URGENT = [{"digit": digit, "count": 8, "steps": 60, "seed": digit} for digit in range(6, 10)]


class DemoFailed(KingpostError):
    """The demo did not work."""


@dataclass
class Job:
    """One request of the demo."""

    digit: int
    priority: int
    request_id: str
    status: dict[str, Any] = field(default_factory=dict[str, Any])
    bar: TaskID | None = None


class Api:
    """The public HTTP API, as any client sees it."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of an answer. Raises DemoFailed with what the API said."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise DemoFailed(f"{method} {path} answered {error.code}: {said}") from error


def run(models: Path, out: Path) -> None:
    """Starts the stack, runs the jobs, saves the picture, stops. Raises DemoFailed."""
    if lack := lacking(models / MODEL, "the demo runs", NEEDS):
        raise DemoFailed(lack)
    console = Console(highlight=False)
    console.print("Starting Valkey, the API, maintenance, Flower and a replica for each model ...")
    with running(models, MODEL) as stack:
        api = Api(stack.url, stack.key)
        console.print(f"Ready. Flower shows the requests: {stack.flower}")
        jobs = _submit(api)
        _follow(api, jobs, console)
        sheet = _contact_sheet(api, jobs, out)
        console.print(_table(jobs))
        console.print(f"The picture: {sheet}")
    console.print("Stopped. `make up` runs the same stack until Ctrl-C.")


def _submit(api: Api) -> list[Job]:
    jobs: list[Job] = []
    for priority, inputs in ((2, PATIENT), (0, URGENT)):
        for given in inputs:
            body = {"model_input": given, "priority": priority}
            said = api.call("POST", f"/models/{MODEL}/production/async_predict", body)
            jobs.append(Job(int(given["digit"]), priority, said["request_id"]))
    return jobs


def _follow(api: Api, jobs: list[Job], console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=console) as bars:
        for job in jobs:
            words = f"digit {job.digit}  priority {job.priority}"
            job.bar = bars.add_task(words, total=1.0, state="queued")
        ends = time.monotonic() + RUN_SECONDS
        while any(job.status.get("status") not in FINAL for job in jobs):
            if time.monotonic() > ends:
                raise DemoFailed(f"The jobs were not done within {RUN_SECONDS:.0f} s.")
            for job in jobs:
                if job.status.get("status") not in FINAL:
                    job.status = api.call("GET", f"/async_request/{job.request_id}")
                    _draw_bar(bars, job)
            time.sleep(POLL_SECONDS)
    for job in jobs:
        if job.status["status"] != "SUCCEEDED":
            raise DemoFailed(
                f"Digit {job.digit} ended {job.status['status']}: {job.status['errors']}"
            )


def _draw_bar(bars: Progress, job: Job) -> None:
    status, progress = job.status["status"], job.status["progress"] or {}
    if status == "QUEUED":
        state, done = f"queued, {job.status['queue_position']} ahead", 0.0
    elif status == "IN_PROGRESS":
        state, done = progress.get("message") or "running", progress.get("fraction", 0.0)
    else:
        state, done = status.lower(), 1.0
    assert job.bar is not None
    bars.update(job.bar, completed=done, state=state)


def _contact_sheet(api: Api, jobs: list[Job], out: Path) -> Path:
    from PIL import Image  # the extra `models` has it; the other commands do without

    pictures = []
    for job in sorted(jobs, key=lambda done: done.digit):
        result = api.call("GET", f"/async_request/{job.request_id}/result")
        pictures.append(Image.open(io.BytesIO(base64.b64decode(result["image"]))))
    width, height = pictures[0].size
    sheet = Image.new("L", (5 * width, 2 * height), 255)
    for place, picture in enumerate(pictures):
        sheet.paste(picture, ((place % 5) * width, (place // 5) * height))
    sheet.save(out)
    return out.resolve()


def _table(jobs: list[Job]) -> Table:
    table = Table("ran", "digit", "priority", "waited s", "ran s", "request", box=None)
    ordered = sorted(jobs, key=lambda done: done.status["started_at"])
    for place, job in enumerate(ordered, start=1):
        created, started, finished = (
            datetime.fromisoformat(job.status[name])
            for name in ("created_at", "started_at", "finished_at")
        )
        waited, ran = (started - created).total_seconds(), (finished - started).total_seconds()
        row = (str(place), str(job.digit), str(job.priority), f"{waited:.2f}", f"{ran:.2f}")
        table.add_row(*row, job.request_id)
    return table
