"""Sends Celery's standard task events for requests, so that Flower shows their id, model, state and run time.

The events of a tenth of a second are sent as one message, as Celery's own workers do. A message for each event would cost the
worker as much as the jobs themselves.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from tasks.job import Job
from tasks.process.logs import get_logger
from tasks.process.loops import Guard

log = get_logger("events")

SEND_SECONDS = 0.1  # between messages; operators do not notice so short a delay
MESSAGE_EVENTS = 1_000  # in one message at most
HELD = 10_000  # events at most while the broker is away; no job waits, so more are dropped


class RequestEvents:
    """Sends events in one thread, so that no job waits for Flower. `names` maps deployment ids to models."""

    def __init__(self, app: Celery, hostname: str, names: Mapping[str, str]) -> None:
        self._app = app
        self._hostname = hostname
        self._names = names
        self._held: deque[tuple[str, dict[str, Any]]] = deque()
        self._counting = threading.Lock()
        self._dropped = 0
        self._stopping = threading.Event()
        self._guard = Guard("events")
        self._thread = threading.Thread(target=self._loop, name="events", daemon=True)

    def start(self) -> None:
        """Starts sending."""
        self._thread.start()

    def stop(self) -> None:
        """Sends what is left, then stops. It waits 5 s at most, because the broker may be away."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def started(self, job: Job) -> None:
        """The job was claimed."""
        summary = f"priority={job.level} attempt={job.attempt}"
        name = self._names.get(job.deployment_id, "")
        names: dict[str, Any] = {"name": name, "args": f"({summary})", "kwargs": "{}"}
        self._put("task-received", job, retries=job.attempt - 1, root_id=job.request_id, **names)
        self._put("task-started", job)

    def succeeded(self, job: Job, runtime: float) -> None:
        """The job succeeded. `runtime` is in seconds."""
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
        if len(self._held) >= HELD:
            with self._counting:
                self._dropped += 1
            return
        self._held.append((kind, {"uuid": job.request_id, "timestamp": time.time(), **fields}))

    def _loop(self) -> None:
        while not self._stopping.is_set():
            with self._guard.round():
                self._send_all()
            self._stopping.wait(self._guard.delay)

    def _send_all(self) -> None:
        with self._app.connection_for_write() as connection:
            dispatcher = self._app.events.Dispatcher(
                connection,
                hostname=self._hostname,
                buffer_while_offline=False,  # it would swallow the error and hold without a limit
                buffer_group={"task"},
                buffer_limit=MESSAGE_EVENTS,
            )
            away = (*connection.connection_errors, *connection.channel_errors, OperationalError)
            ending = unsent = False
            while not ending:
                ending, again = self._stopping.wait(SEND_SECONDS), unsent
                try:
                    if again:  # the dispatcher kept them while the broker was away
                        dispatcher.flush()
                    unsent = True
                    self._send_held(dispatcher)
                    unsent = False
                except away as error:
                    if not again:
                        log.warning("events.delayed", held=len(self._held), error=str(error))

    def _send_held(self, dispatcher: Any) -> None:
        with self._counting:
            count, self._dropped = self._dropped, 0
        if count:
            log.warning("events.dropped", count=count)
        for _ in range(len(self._held)):
            kind, fields = self._held.popleft()
            dispatcher.send(kind, **fields)
        dispatcher.flush()
