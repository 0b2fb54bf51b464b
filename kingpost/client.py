"""`Client` and `AsyncClient`: the calls of `kingpost.calls` as methods, carried out with httpx.

Both have the same methods. Those of `AsyncClient` are awaited, and its streams are read with `async for`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from kingpost import calls, files, log_calls, managing, operating, packages, steering, webhooks
from kingpost.contexts import Server, needed
from kingpost.flow import Conversation, Emit, Flow, Step
from kingpost.records import Accepted
from kingpost.transports import Awaiting, Blocking, client_arguments

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E")
Stream = Generator[Step | Emit[E], Any, None]

RETRIES = 4  # how often a call is sent again, if that cannot have an effect twice


class _BlockingMethods:
    """The base of what has methods that block. `_transport` carries out their calls."""

    def __init__(self, transport: Blocking) -> None:
        self._transport = transport


class _AwaitedMethods:
    """The base of what has methods that are awaited. `_transport` carries out their calls."""

    def __init__(self, transport: Awaiting) -> None:
        self._transport = transport


# How a call becomes a method: a function for each kind of call, for the sync and for the async client.
# The kinds: one answer, a stream, a submission (which returns a job), and a call about a job (which takes its id from `self`).


def _blocking(call: Callable[P, Flow[T]]) -> Callable[Concatenate[_BlockingMethods, P], T]:
    @wraps(call)
    def method(self: _BlockingMethods, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._transport.run(call(*args, **kwargs))

    return method


def _awaited(call: Callable[P, Flow[T]]) -> Callable[Concatenate[_AwaitedMethods, P], Awaitable[T]]:
    @wraps(call)
    def method(self: _AwaitedMethods, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        return self._transport.run(call(*args, **kwargs))

    return method


def _iterated(
    call: Callable[P, Stream[E]],
) -> Callable[Concatenate[_BlockingMethods, P], Iterator[E]]:
    @wraps(call)
    def method(self: _BlockingMethods, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[E]:
        return self._transport.lead(Conversation(call(*args, **kwargs)))

    return method


def _async_iterated(
    call: Callable[P, Stream[E]],
) -> Callable[Concatenate[_AwaitedMethods, P], AsyncIterator[E]]:
    @wraps(call)
    def method(self: _AwaitedMethods, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[E]:
        return self._transport.lead(Conversation(call(*args, **kwargs)))

    return method


def _submitting(
    call: Callable[P, Flow[Accepted]],
) -> Callable[Concatenate[_BlockingMethods, P], "Job"]:
    @wraps(call)
    def method(self: _BlockingMethods, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        said = self._transport.run(call(*args, **kwargs))
        return Job(self._transport, said.request_id, said.warnings)

    return method


def _async_submitting(
    call: Callable[P, Flow[Accepted]],
) -> Callable[Concatenate[_AwaitedMethods, P], Awaitable["AsyncJob"]]:
    @wraps(call)
    async def method(self: _AwaitedMethods, /, *args: P.args, **kwargs: P.kwargs) -> AsyncJob:
        said = await self._transport.run(call(*args, **kwargs))
        return AsyncJob(self._transport, said.request_id, said.warnings)

    return method


def _of_job(
    call: Callable[Concatenate[str, P], Flow[T]],
) -> Callable[Concatenate["Job", P], T]:
    @wraps(call)
    def method(self: "Job", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._transport.run(call(self.id, *args, **kwargs))

    return method


def _async_of_job(
    call: Callable[Concatenate[str, P], Flow[T]],
) -> Callable[Concatenate["AsyncJob", P], Awaitable[T]]:
    @wraps(call)
    def method(self: "AsyncJob", /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        return self._transport.run(call(self.id, *args, **kwargs))

    return method


class Job(_BlockingMethods):
    """A request that was queued. `warnings` are what the server said about the submission."""

    def __init__(self, transport: Blocking, id: str, warnings: tuple[str, ...] = ()) -> None:
        super().__init__(transport)
        self.id, self.warnings = id, warnings

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def events(self, after: str = "") -> "Iterator[calls.Event]":
        """What happens to the request, as it happens, until it is final. `after` is the id of the last event that you have."""
        return self._transport.lead(Conversation(calls.events(self.id, after)))

    status = _of_job(calls.status)
    wait = _of_job(calls.wait)
    result = _of_job(calls.result)
    output = _of_job(calls.output)
    cancel = _of_job(calls.cancel)
    purge = _of_job(calls.purge)
    set_priority = _of_job(calls.set_priority)
    move = _of_job(calls.move)
    input = _of_job(calls.job_input)
    input_as_sent = _of_job(calls.input_as_sent)
    webhook = _of_job(calls.webhook)

    def retry(self, model_input: object = calls.SAME_INPUT) -> "Job":
        """Runs a final request again as a new one, with the same input or with another.

        Raises Conflict while it is not final, and ApiError 410 if the input is not kept any more.
        """
        said = self._transport.run(calls.retry(self.id, model_input))
        return Job(self._transport, said.request_id, said.warnings)


class AsyncJob(_AwaitedMethods):
    """A request that was queued. `warnings` are what the server said about the submission."""

    def __init__(self, transport: Awaiting, id: str, warnings: tuple[str, ...] = ()) -> None:
        super().__init__(transport)
        self.id, self.warnings = id, warnings

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    def events(self, after: str = "") -> "AsyncIterator[calls.Event]":
        """What happens to the request, as it happens, until it is final. `after` is the id of the last event that you have."""
        return self._transport.lead(Conversation(calls.events(self.id, after)))

    status = _async_of_job(calls.status)
    wait = _async_of_job(calls.wait)
    result = _async_of_job(calls.result)
    output = _async_of_job(calls.output)
    cancel = _async_of_job(calls.cancel)
    purge = _async_of_job(calls.purge)
    set_priority = _async_of_job(calls.set_priority)
    move = _async_of_job(calls.move)
    input = _async_of_job(calls.job_input)
    input_as_sent = _async_of_job(calls.input_as_sent)
    webhook = _async_of_job(calls.webhook)

    async def retry(self, model_input: object = calls.SAME_INPUT) -> "AsyncJob":
        """Runs a final request again as a new one, with the same input or with another.

        Raises Conflict while it is not final, and ApiError 410 if the input is not kept any more.
        """
        said = await self._transport.run(calls.retry(self.id, model_input))
        return AsyncJob(self._transport, said.request_id, said.warnings)


class Jobs(_BlockingMethods):
    """Your own requests; with a key of the scope `admin`, those of all keys."""

    list = _blocking(steering.list_jobs)
    every = _iterated(steering.every_job)
    counts = _blocking(steering.count_jobs)
    bulk = _iterated(steering.bulk)

    def get(self, request_id: str) -> Job:
        """The request with that id. This asks the server nothing."""
        return Job(self._transport, request_id)


class AsyncJobs(_AwaitedMethods):
    """Your own requests; with a key of the scope `admin`, those of all keys."""

    list = _awaited(steering.list_jobs)
    every = _async_iterated(steering.every_job)
    counts = _awaited(steering.count_jobs)
    bulk = _async_iterated(steering.bulk)

    def get(self, request_id: str) -> AsyncJob:
        """The request with that id. This asks the server nothing."""
        return AsyncJob(self._transport, request_id)


class Models(_BlockingMethods):
    """The models of the server."""

    list = _blocking(managing.list_models)
    get = _blocking(managing.get_model)
    environments = _blocking(managing.list_environments)
    environment = _blocking(managing.get_environment)
    create_environment = _blocking(managing.create_environment)
    delete = _blocking(managing.delete_model)
    pause = _blocking(operating.pause)
    resume = _blocking(operating.resume)


class AsyncModels(_AwaitedMethods):
    """The models of the server."""

    list = _awaited(managing.list_models)
    get = _awaited(managing.get_model)
    environments = _awaited(managing.list_environments)
    environment = _awaited(managing.get_environment)
    create_environment = _awaited(managing.create_environment)
    delete = _awaited(managing.delete_model)
    pause = _awaited(operating.pause)
    resume = _awaited(operating.resume)


class Deployments(_BlockingMethods):
    """The deployments of a model."""

    list = _blocking(managing.list_deployments)
    get = _blocking(managing.get_deployment)
    promote = _blocking(managing.promote)
    rollback = _blocking(managing.rollback)
    activate = _blocking(managing.activate)
    deactivate = _blocking(managing.deactivate)
    delete = _blocking(managing.delete_deployment)
    follow = _iterated(packages.follow)


class AsyncDeployments(_AwaitedMethods):
    """The deployments of a model."""

    list = _awaited(managing.list_deployments)
    get = _awaited(managing.get_deployment)
    promote = _awaited(managing.promote)
    rollback = _awaited(managing.rollback)
    activate = _awaited(managing.activate)
    deactivate = _awaited(managing.deactivate)
    delete = _awaited(managing.delete_deployment)
    follow = _async_iterated(packages.follow)


class Keys(_BlockingMethods):
    """The API keys of the server, for a key with the scope `admin`."""

    list = _blocking(operating.list_keys)
    create = _blocking(operating.create_key)
    limit = _blocking(operating.limit_key)
    revoke = _blocking(operating.revoke_key)
    delete_files = _blocking(operating.delete_files_of_key)


class AsyncKeys(_AwaitedMethods):
    """The API keys of the server, for a key with the scope `admin`."""

    list = _awaited(operating.list_keys)
    create = _awaited(operating.create_key)
    limit = _awaited(operating.limit_key)
    revoke = _awaited(operating.revoke_key)
    delete_files = _awaited(operating.delete_files_of_key)


class Hooks(_BlockingMethods):
    """The webhooks of the server and the secrets that sign them. `listen` and `send_test` are for every key, the rest needs the scope `admin`."""

    list = _blocking(operating.list_webhooks)
    resend = _blocking(operating.resend)
    resend_all = _iterated(operating.resend_all)
    secrets = _blocking(operating.list_secrets)
    new_secret = _blocking(operating.new_secret)
    listen = _iterated(webhooks.listen)
    send_test = _blocking(webhooks.send_test)


class AsyncHooks(_AwaitedMethods):
    """The webhooks of the server and the secrets that sign them. `listen` and `send_test` are for every key, the rest needs the scope `admin`."""

    list = _awaited(operating.list_webhooks)
    resend = _awaited(operating.resend)
    resend_all = _async_iterated(operating.resend_all)
    secrets = _awaited(operating.list_secrets)
    new_secret = _awaited(operating.new_secret)
    listen = _async_iterated(webhooks.listen)
    send_test = _awaited(webhooks.send_test)


class Client(_BlockingMethods):
    """A client that blocks. Several threads may share it.

    What is not given comes from the variables KINGPOST_URL and KINGPOST_API_KEY, else from the context that `kingpost login` made.
    `retries` is how often a call is sent again, if that cannot have an effect twice. Before a wait for a busy server, `on_busy` is
    called with what the server said and the seconds. Raises NotConfigured if no server or no key is known.
    """

    def __init__(
        self,
        url: str | Server | None = None,
        key: str | None = None,
        *,
        retries: int = RETRIES,
        on_busy: Callable[[str, float], None] | None = None,
    ) -> None:
        self.server = url if isinstance(url, Server) else needed(url, key)
        http = httpx.Client(**client_arguments(self.server.url, self.server.key))
        super().__init__(Blocking(http, retries, on_busy))
        self.jobs, self.models = Jobs(self._transport), Models(self._transport)
        self.deployments = Deployments(self._transport)
        self.keys, self.webhooks = Keys(self._transport), Hooks(self._transport)

    run = _blocking(calls.run)
    predict = _blocking(calls.predict)
    stream = _iterated(calls.stream)
    stream_bytes = _iterated(calls.stream_bytes)
    submit = _submitting(calls.submit)
    queue = _blocking(calls.queue)
    logs = _iterated(log_calls.logs)
    nodes = _blocking(operating.nodes)
    overview = _blocking(operating.overview)
    history = _blocking(operating.history)
    settings = _blocking(operating.settings)
    audit = _iterated(operating.audit)
    key = _blocking(calls.own_key)
    push = _iterated(packages.push)
    upload = _blocking(files.upload)
    download = _blocking(files.download)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(_AwaitedMethods):
    """A client for asyncio. It finds its server as `Client` does."""

    def __init__(
        self, url: str | Server | None = None, key: str | None = None, *, retries: int = RETRIES
    ) -> None:
        self.server = url if isinstance(url, Server) else needed(url, key)
        http = httpx.AsyncClient(**client_arguments(self.server.url, self.server.key))
        super().__init__(Awaiting(http, retries))
        self.jobs, self.models = AsyncJobs(self._transport), AsyncModels(self._transport)
        self.deployments = AsyncDeployments(self._transport)
        self.keys, self.webhooks = AsyncKeys(self._transport), AsyncHooks(self._transport)

    run = _awaited(calls.run)
    predict = _awaited(calls.predict)
    stream = _async_iterated(calls.stream)
    stream_bytes = _async_iterated(calls.stream_bytes)
    submit = _async_submitting(calls.submit)
    queue = _awaited(calls.queue)
    logs = _async_iterated(log_calls.logs)
    nodes = _awaited(operating.nodes)
    overview = _awaited(operating.overview)
    history = _awaited(operating.history)
    settings = _awaited(operating.settings)
    audit = _async_iterated(operating.audit)
    key = _awaited(calls.own_key)
    push = _async_iterated(packages.push)
    upload = _awaited(files.upload)
    download = _awaited(files.download)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
