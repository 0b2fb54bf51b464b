"""Celery's standard task events, sent for requests, so that Flower shows requests: id, model, state, run time."""

import threading
from queue import Empty, Full, Queue
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from tasks.job import Job
from tasks.logs import get_logger

log = get_logger("events")

HELD = 10_000  # events; operators' eyes may miss some, jobs may not wait for them


class RequestEvents:
    """One dispatcher and one thread; nobody waits for Flower."""

    def __init__(self, app: Celery, hostname: str, model_name: str) -> None:
        self._app = app
        self._hostname = hostname
        self._model_name = model_name
        self._queue: Queue[tuple[str, dict[str, Any]] | None] = Queue(HELD)
        self._thread = threading.Thread(target=self._send_all, name="events", daemon=True)

    def start(self) -> None:
        """Starts sending."""
        self._thread.start()

    def stop(self) -> None:
        """Sends what is left, then stops."""
        self._queue.put(None)
        self._thread.join(timeout=5)

    def started(self, job: Job) -> None:
        """The job was claimed."""
        summary = f"priority={job.level} attempt={job.attempt}"
        names: dict[str, Any] = {"name": self._model_name, "args": f"({summary})", "kwargs": "{}"}
        self._put("task-received", job, retries=job.attempt - 1, root_id=job.request_id, **names)
        self._put("task-started", job)

    def succeeded(self, job: Job, runtime: float) -> None:
        """`runtime` in seconds."""
        self._put("task-succeeded", job, result="'stored'", runtime=runtime)

    def failed(self, job: Job, code: str) -> None:
        """The job is FAILED."""
        self._put("task-failed", job, exception=str(code), traceback="")

    def retried(self, job: Job, code: str) -> None:
        """The attempt failed, the job goes back into the queue."""
        self._put("task-retried", job, exception=str(code), traceback="")

    def revoked(self, job: Job) -> None:
        """The job was cancelled and its call has ended."""
        self._put("task-revoked", job, terminated=True, signum=None, expired=False)

    def _put(self, kind: str, job: Job, **fields: Any) -> None:
        try:
            self._queue.put_nowait((kind, {"uuid": job.request_id, **fields}))
        except Full:
            log.warning("event.dropped", kind=kind, request_id=job.request_id)

    def _send_all(self) -> None:
        with self._app.connection_for_write() as connection:
            dispatcher = self._app.events.Dispatcher(connection, hostname=self._hostname)
            while (event := self._queue.get()) is not None:
                try:
                    dispatcher.send(event[0], **event[1])
                except (OperationalError, OSError) as error:
                    log.warning("event.lost", kind=event[0], error=str(error))
                    self._drop_old()

    def _drop_old(self) -> None:
        """While the broker is away, old news is no news."""
        try:
            while self._queue.qsize() > HELD // 2:
                self._queue.get_nowait()
        except Empty:
            pass
