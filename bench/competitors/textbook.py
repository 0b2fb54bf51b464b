"""What a user would otherwise build: FastAPI and Celery with a Redis result backend, as their documentation shows.

Each endpoint is here twice: with `def`, which FastAPI's documentation asks for around blocking libraries and runs in
its thread pool, and with `async def`, which blocks the event loop for the call and is faster here.
"""

import http.client
import json
import os
import socket
import threading
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from fastapi import FastAPI
from pydantic import BaseModel

BROKER = os.environ["TEXTBOOK_BROKER"]
celery = Celery("textbook", broker=BROKER, backend=os.environ.get("TEXTBOOK_RESULTS", BROKER))
app = FastAPI()
here = threading.local()


class Job(BaseModel):
    """The body of a submission."""

    model_input: Any
    priority: int = 0


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(os.environ["TEXTBOOK_HOST"].removeprefix("unix:"))


@celery.task(name="predict")
def predict(body: Any) -> Any:
    """Calls the model host and keeps its answer as the result; one kept connection for each process or thread."""
    if not hasattr(here, "host"):
        here.host = _Unix("host")
    headers = {"content-type": "application/json"}
    here.host.request("POST", "/v1/models/model:predict", json.dumps(body), headers)
    return json.loads(here.host.getresponse().read())


@app.get("/health")
async def health() -> dict[str, str]:
    """It answers."""
    return {}


@app.post("/threaded/submit", status_code=201)
def submit(job: Job) -> dict[str, str]:
    """Queues a task."""
    return {"id": predict.apply_async(args=[job.model_input]).id}


@app.get("/threaded/status/{task_id}")
def status(task_id: str) -> dict[str, Any]:
    """The state of a task, and its result when it is there."""
    result = AsyncResult(task_id, app=celery)
    state = result.state
    return {"id": task_id, "state": state, "result": result.result if state == "SUCCESS" else None}


@app.post("/submit", status_code=201)
async def submit_on_loop(job: Job) -> dict[str, str]:
    """The same on the event loop."""
    return submit(job)


@app.get("/status/{task_id}")
async def status_on_loop(task_id: str) -> dict[str, Any]:
    """The same on the event loop."""
    return status(task_id)
