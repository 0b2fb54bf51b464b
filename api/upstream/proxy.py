"""The sync path: passes a request to a replica, and its answer back chunk by chunk without parsing it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import body as bodies
from api.dialects.translating import translated
from api.gateway import (
    Gateway,
    addressed_of,
    authenticate,
    deployment_for,
    gateway_of,
    new_request_id,
)
from api.problems import Problem, log, of_error
from api.upstream.attaching import attached, files_of, may_refer
from api.upstream.hosts import BODILESS, ReplayableBody
from api.upstream.output_files import AnswerFiles, link_for
from api.upstream.passing import CHAIN_REQUEST_ID, PublicAddress, answered, forwarded, target_at
from api.upstream.waiting import WaitingCall
from deployments.attached import FILES, written
from deployments.http_client.connection import BrokenAnswer, BrokenCall, Connection
from deployments.http_client.exchange import RawHeaders
from deployments.output_files import ASKED, OUTPUT, Link, is_asked
from deployments.registry.records import Deployment, Replica
from deployments.registry.resolver import Target
from deployments.sendable import why_unsendable
from kingpost.streams.frames import FRAMES
from tasks.errors import FileMissing, KingpostError, NotFound
from tasks.files.verbs import File
from tasks.outside_text import whole_number
from tasks.process.descriptors import NONE_LEFT

SMALL_BODY = 64 * 1024  # bytes that are received as a whole before they are sent on
PREDICT = "/v1/models/model:predict"
MOST_TRIES = 16  # replicas that one call may be sent to
TOO_MANY = "There are too many connections right now; try again shortly."
AGAIN = {"Retry-After": "1"}


@dataclass
class ProxiedCall:
    """One sync call on its way."""

    waiting: WaitingCall
    request: Request
    target: Target
    path: str
    request_id: str
    chain_id: bytes
    key_id: str
    body: bytes | None = None
    files: str = ""  # the header that names the files which are sent ahead of the input
    link: Link | None = None  # for files of the output, if the caller wants them by URL
    frames: str = ""  # `plain`, or `detailed` with the model's exceptions; '' = no frames
    attempts: int = 0
    sending: bool = False  # whether the answer to the caller has begun

    @property
    def gateway(self) -> Gateway:
        """The gateway of the call."""
        return self.waiting.gateway

    @property
    def takes_files(self) -> bool:
        """Whether its input may refer to files: that of predict, in JSON."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return self.path.partition("?")[0] == PREDICT and kind != "application/octet-stream"

    @property
    def deployment(self) -> Deployment:
        """The deployment of the call."""
        return self.waiting.deployment


class ProxyResponse(Response):
    """Answers with the answer of the model host."""

    def __init__(self, call: ProxiedCall) -> None:
        self._call = call
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the call. It ends if the client leaves."""
        body = _body_of(self._call)
        work = asyncio.current_task()
        assert work
        gone = asyncio.create_task(_cancel_when_gone(work, body, receive))
        try:
            await self._answer(body, send)
        except asyncio.CancelledError:
            if not gone.done():
                raise  # the client did not leave: something else has cancelled the call
            work.uncancel()
            log.info("call.abandoned", request_id=self._call.request_id)
        except ClientDisconnect:
            pass  # before its body was complete
        except Problem as problem:
            await self._answer_problem(problem, scope, receive, send)
        except KingpostError as error:
            await self._answer_problem(of_error(error), scope, receive, send)
        finally:
            gone.cancel()
            body.close()

    async def _answer_problem(
        self, problem: Problem, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if self._call.sending:
            raise problem  # too late for a status: the connection breaks, and the client sees it
        response = problem.response(scope)
        response.headers["x-baseten-request-id"] = self._call.request_id
        await response(scope, receive, send)

    async def _answer(self, body: ReplayableBody, send: Send) -> None:
        limit = self._call.gateway.settings.sync_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                if _is_small(self._call.request):
                    await body.receive()
                    await self._attach(body)
                await self._try_replicas(body, send)
        except TimeoutError:
            message = f"The model did not answer within {limit:g} s."
            raise Problem(504, "timeout", message) from None

    async def _attach(self, body: ReplayableBody) -> None:
        """Finds the files that an input in JSON refers to, which are sent ahead of it. Raises Problem and FileMissing."""
        call, raw = self._call, b"".join(body.held)
        if not (call.takes_files and may_refer(raw)):
            return
        (files,) = await files_of(call.gateway, call.key_id, [bodies.decoded(raw)])
        if files:
            call.files = written(attached(files))
            body.before = lambda: _contents(call.gateway, files)

    async def _try_replicas(self, body: ReplayableBody, send: Send) -> None:
        call, failed, possible_runs = self._call, frozenset[str](), 0
        while call.attempts < MOST_TRIES:
            replica = call.gateway.upstreams.choose(call.deployment.id, failed)
            if replica is None:
                await self._wait_for_replica(bool(failed))
                failed = frozenset()
                continue
            call.attempts += 1
            try:
                await self._call_replica(replica, body, send)
                return
            except OSError as error:
                if call.sending:
                    raise  # the answer has begun: the client sees it break off
                if error.errno in NONE_LEFT:  # no fault of the replica's
                    raise Problem(503, "internal_baseten_error", TOO_MANY, AGAIN) from None
                self._log(replica, error)
                if isinstance(error, BrokenAnswer):
                    break  # the model ran
                call.gateway.upstreams.shun(replica)
                possible_runs += (
                    isinstance(error, BrokenCall) and not error.unread
                )  # the model may have run
                if possible_runs > 1 or not body.replayable:
                    break
                failed |= {replica.id}
        raise Problem(502, "model_unavailable", "Error making prediction")

    def _log(self, replica: Replica, error: OSError) -> None:
        deployment = self._call.deployment
        log.warning(
            "replica.failed",
            replica=replica.id,
            request_id=self._call.request_id,
            deployment=deployment.id,
            model=deployment.model_name,
            error=repr(error),
        )

    async def _wait_for_replica(self, failed: bool) -> None:
        gateway = self._call.gateway
        if failed:  # the view still shows replicas that are gone
            await gateway.directory.wait_change(gateway.settings.sync_park_seconds)
        await self._call.waiting.until_ready()

    async def _call_replica(self, replica: Replica, body: ReplayableBody, send: Send) -> None:
        call = self._call
        headers = forwarded(call.request, call.request_id, call.chain_id)
        if call.files:
            headers.append((FILES.encode(), call.files.encode()))
        if call.link:
            headers.append((ASKED.encode(), str(call.link).encode()))
        if call.frames:
            headers.append((FRAMES.encode(), call.frames.encode()))
        method = call.request.method
        async with call.gateway.upstreams.request(
            replica, method, call.path, headers, body
        ) as answer:
            check_sendable(answer)
            if said := await translated(answer, call.request.scope["path"]):
                call.sending = True
                await _send_whole(send, answer.status, _answer_headers(said[0], call), said[1])
                return
            files = AnswerFiles.of(call.gateway, call.key_id, call.link, answer)
            first = await files.store(answer) if files else b""
            call.sending = True
            kept = _without(answer.headers, files.size) if files else answer.headers
            await send({"type": "http.response.start", "status": answer.status,
                        "headers": _answer_headers(kept, call)})  # fmt: skip
            more = not (files and files.ended)
            if files:
                await send({"type": "http.response.body", "body": first, "more_body": more})
            while more:
                chunk = await answer.read()
                more = not answer.complete
                await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _send_whole(send: Send, status: int, headers: RawHeaders, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _without(headers: RawHeaders, size: int) -> RawHeaders:
    """The headers of an answer whose files were taken out, which have that many bytes."""
    kept = [pair for pair in headers if pair[0] != OUTPUT.encode()]
    return [
        (name, b"%d" % (int(value) - size)) if name == b"content-length" else (name, value)
        for name, value in kept
    ]


def _body_of(call: ProxiedCall) -> ReplayableBody:
    cap = call.gateway.settings.max_sync_body_bytes
    body = ReplayableBody(bodies.counted(call.request, cap))
    if call.body is not None:
        body.held.append(call.body)
    body.absent = call.body is None and _has_no_body(call.request)
    if call.body is not None or body.absent:
        body.finished.set()
    return body


async def _contents(gateway: Gateway, files: Sequence[File]) -> AsyncGenerator[bytes]:
    """The bytes of files, one after the other. Raises Problem 410 if one has gone meanwhile."""
    for file in files:
        try:
            pieces = await gateway.payloads.read_async(file.ref)
        except NotFound:
            raise Problem(410, "application_error", str(FileMissing(file.id))) from None
        async for piece in pieces:
            yield piece


def _has_no_body(request: Request) -> bool:
    headers = request.headers
    declared = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return request.method in BODILESS and not declared


async def _cancel_when_gone(
    work: asyncio.Task[Any], body: ReplayableBody, receive: Receive
) -> None:
    """Waits until the client leaves. It receives only after the body was read, because both use one channel."""
    await body.finished.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()


def _is_small(request: Request) -> bool:
    declared = whole_number(request.headers.get("content-length", ""))
    return declared is not None and declared <= SMALL_BODY


def check_sendable(answer: Connection) -> None:
    """Raises BrokenAnswer for a head that our own server could not send."""
    if why := why_unsendable(answer.status, answer.headers):
        raise BrokenAnswer(f"the host's answer cannot be sent: {why}")


def _answer_headers(headers: RawHeaders, call: ProxiedCall) -> RawHeaders:
    def address() -> PublicAddress:
        return PublicAddress.of(call.request, addressed_of(call.request), call.target)

    kept = answered(headers, address)
    if call.frames:
        kept += [pair for pair in headers if pair[0] == FRAMES.encode()]
    kept.append((b"x-baseten-request-id", call.request_id.encode()))
    kept.append((b"x-baseten-model-prediction-attempts", b"%d" % call.attempts))
    return kept


async def proxied(
    request: Request, target: Target, path: str, body: bytes | None = None
) -> Response:
    """The answer of the model host's `path` to this request. Raises Problem and NotFound.

    `body` is the body of the request if it was read before, to look into it.
    """
    key = await authenticate(request)
    bodies.check_declared(request, gateway_of(request).settings.max_sync_body_bytes)
    deployment = await deployment_for(request, key, target)
    full = target_at(request, path)
    request_id, gateway = new_request_id(), gateway_of(request)
    chain_id = _chain_id(request, deployment, request_id, key.id == gateway.chain_key_id)
    waiting = WaitingCall.of(gateway, deployment, key)
    call = ProxiedCall(waiting, request, target, full, request_id, chain_id, key.id, body)
    if call.takes_files:
        call.link = await link_for(gateway, request)
    if call.path.partition("?")[0] == PREDICT and is_asked(request.headers.get(FRAMES, "")):
        call.frames = "detailed" if waiting.detailed else "plain"
    return ProxyResponse(call)


def _chain_id(
    request: Request, deployment: Deployment, request_id: str, is_chainlet: bool
) -> bytes:
    """The id of the chain run that this call belongs to. Only chainlets may set it."""
    if deployment.kind == "chain":
        return request_id.encode()
    said = request.headers.get(CHAIN_REQUEST_ID.decode(), "") if is_chainlet else ""
    return said.encode("latin-1")
