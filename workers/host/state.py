"""The model host as a whole: its state, the live model, loading in a thread, health, hot reload."""

import asyncio
import threading
import time
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from deployments.packages.package import Package
from tasks.outside_text import utf8
from tasks.process import tracing
from workers.host.call.slots import Reservations, SlotGate
from workers.host.errors import ModelNotReady
from workers.host.health import Health
from workers.host.logs import event, log_user_error, user_frames
from workers.host.model.batch import Batcher
from workers.host.model.failure import headline
from workers.host.model.loader import (
    LiveModel,
    Surroundings,
    load,
    make_model,
    on_loop,
    read_environment,
    reload_methods,
    warm_up,
)
from workers.host.model.methods import Methods
from workers.host.model.pipeline import Pipeline
from workers.host.threads import in_thread
from workers.host.traffic import Traffic
from workers.wire.calls import LoadFailure

# s between two looks at the environment file. With the 30 s of Truss, a model would take calls of its new environment for 30 s before
# it is told of it.
ENVIRONMENT_POLL = 1.0

State = Literal["loading", "ready", "failed", "draining"]


class Host(Protocol):
    """What the routes of the worker need of a host, for a model class and for a custom server."""

    package: Package
    gate: SlotGate
    reservations: Reservations
    traffic: Traffic
    state: State
    failure: LoadFailure | None
    liveness: Health
    readiness: Health
    files_dir: Path | None  # where files of calls are kept; None = it takes none

    def drain(self) -> None:
        """Sets the state to say that this process is about to end."""
        ...


class ModelHost:
    """One package with one model. After a failed load the process lives on and answers `failed`.

    Truss's server ends its process instead. Here the worker reads the reason and decides.
    """

    def __init__(self, package: Package, surroundings: Surroundings) -> None:
        self.package = package
        self.gate = SlotGate(slot_count(package))
        self.reservations = Reservations(self.gate)
        self.traffic = Traffic()
        self.state: State = "loading"
        self.failure: LoadFailure | None = None
        self.files_dir: Path | None = surroundings.files_dir
        self.liveness = self.readiness = Health(self.is_healthy)
        self._surroundings = surroundings
        self._live: LiveModel | None = None
        self._created: LiveModel | None = None  # set before the load, whose end `_live` waits for
        self._pipeline: Pipeline | None = None
        self._loaded = asyncio.Event()

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that calls the model. Raises ModelNotReady until the model is ready."""
        if self._pipeline is None or self.state not in ("ready", "draining"):
            raise ModelNotReady
        return self._pipeline

    @property
    def methods(self) -> Methods:
        """The methods of the loaded model. Raises ModelNotReady until the model is ready."""
        return self.pipeline.methods

    @property
    def known_methods(self) -> Methods | None:
        """The methods of the model. They are known before it is loaded."""
        live = self._live or self._created
        return live.methods if live else None

    def start_loading(self) -> None:
        """Starts to load in a separate thread, while the server already answers."""
        loop, context = asyncio.get_running_loop(), copy_context()
        # the context has the name of the chainlet for the log
        run = partial(context.run, self._load, loop)
        threading.Thread(target=run, name="load", daemon=True).start()

    async def wait_loaded(self) -> None:
        """Returns when loading has ended or failed."""
        await self._loaded.wait()

    def drain(self) -> None:
        """Sets the state to say that this process is about to end. Running calls go on."""
        if self.state != "failed":
            self.state = "draining"

    def hot_reload(self) -> None:
        """Replaces the class of the live instance by the one on disk.

        Raises ModelNotReady before the load, and the exceptions of the import.
        """
        live = self._live
        if live is None:
            raise ModelNotReady
        try:
            methods = reload_methods(self.package, live, self._surroundings)
            self._adopt(LiveModel(live.instance, methods, live.environment))
        except Exception as error:
            log_user_error("Hot reload failed", error, self.package.model_class_filename)
            raise
        event("model.reloaded")

    async def is_healthy(self) -> bool:
        """False if the model's own `is_healthy` returns something falsy other than None, or raises. True if it has none.

        Raises ModelNotReady until the model is ready.
        """
        method = self.methods.is_healthy
        if method is None:
            return True
        try:
            healthy = await (method.function() if method.is_async else in_thread(method.function))
        except Exception as error:  # whatever a health check raises means unhealthy
            file = self.package.model_class_filename
            log_user_error("Exception while checking if model is healthy", error, file)
            healthy = False
        if not healthy:
            event("health_check.failed", "warning", message="Health check failed.")
        # a check that returns nothing has succeeded, as in Truss
        return healthy is None or bool(healthy)

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        started = time.perf_counter()
        try:
            with self._surroundings.loading:
                event("model.loading")
                live = self._created = make_model(self.package, self._surroundings)
                load(live, self._surroundings.load_retries, on_loop(loop))
                warm_up(live, on_loop(loop))
        except BaseException as error:  # a model may raise even SystemExit
            loop.call_soon_threadsafe(self._load_failed, error)
            return
        took_ms = round((time.perf_counter() - started) * 1000)
        loop.call_soon_threadsafe(self._load_done, live, took_ms)

    def _load_done(self, live: LiveModel, took_ms: int) -> None:
        self._adopt(live)
        tracing.share()  # now that the model could have set up its own way
        if self.state == "loading":
            self.state = "ready"
        event("model.loaded", took_ms=took_ms)
        self._loaded.set()

    def _load_failed(self, error: BaseException) -> None:
        file = self.package.model_class_filename
        log_user_error("Exception while loading model", error, file)
        message = " ".join(utf8(headline(error)).split())
        if isinstance(error, ModuleNotFoundError):
            message += "; if it is a library, add it to requirements in config.yaml"
        self.failure = LoadFailure(message, utf8(user_frames(error, file)))
        self.state = "failed"
        self._loaded.set()

    def _adopt(self, live: LiveModel) -> None:
        runtime = self.package.runtime
        file, gap = self.package.model_class_filename, runtime.streaming_read_timeout
        pipeline = Pipeline(live.methods, self.gate, file, gap)
        batch = live.methods.predict_batch
        if batch and (runtime.batching or live.methods.predict is None):
            pipeline.predict_batch = Batcher(batch, runtime.batching).run
        self._live, self._pipeline = live, pipeline

    async def follow_health(self) -> None:
        """Checks the model's health every few seconds, once it is loaded. It ends only if the load failed."""
        await self.wait_loaded()
        if self.state != "failed":
            await self.liveness.run()

    async def follow_environment(self) -> None:
        """Calls setup_environment again whenever the environment file changes. It ends if the model has no such method."""
        await self.wait_loaded()
        while (live := self._live) and (method := live.methods.setup_environment):
            await asyncio.sleep(ENVIRONMENT_POLL)
            try:
                latest = read_environment(self._surroundings.environment_file)
                if latest is not None and latest != live.environment:
                    # Set before the call, so that a call that fails is repeated only when the file changes again.
                    live.environment = latest
                    run = method.function(latest) if method.is_async else None
                    await (run or in_thread(method.function, latest))
            except Exception as error:  # the model's own error must not end the polling
                file = self.package.model_class_filename
                log_user_error("Exception while setting up environment", error, file)


def slot_count(package: Package) -> int:
    """The number of slots: predict_concurrency, or room for one batch that runs and one that fills."""
    batching = package.runtime.batching
    concurrency = package.runtime.predict_concurrency
    return max(concurrency, 2 * batching.max_batch_size) if batching else concurrency
