"""What a user would otherwise build: FastAPI and Celery with a Redis result backend, as their documentation shows.

The endpoints are `async def` and call Celery directly: with `def` and FastAPI's thread pool both were slower here.
"""

import http.client
import os
import socket
import threading
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from fastapi import FastAPI
from pydantic import BaseModel

BROKER = os.environ["TEXTBOOK_BROKER"]
celery = Celery("textbook", broker=BROKER, backend=BROKER)
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
    import json

    if not hasattr(here, "host"):
        here.host = _Unix("host")
    headers = {"content-type": "application/json"}
    here.host.request("POST", "/v1/models/model:predict", json.dumps(body), headers)
    return json.loads(here.host.getresponse().read())


@app.get("/health")
async def health() -> dict[str, str]:
    """It answers."""
    return {}


@app.post("/submit", status_code=201)
async def submit(job: Job) -> dict[str, str]:
    """Queues a task."""
    return {"id": predict.apply_async(args=[job.model_input], ignore_result=False).id}


@app.get("/status/{task_id}")
async def status(task_id: str) -> dict[str, Any]:
    """The state of a task, and its result when it is there."""
    result = AsyncResult(task_id, app=celery)
    state = result.state
    return {"id": task_id, "state": state, "result": result.result if state == "SUCCESS" else None}
