"""The calls of the API, each described once as a flow. `kingpost.client` makes methods of them."""

import codecs
import json
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import quote

import httpx

from kingpost.errors import (
    ApiError,
    JobFailed,
    NotConfigured,
    NotFinished,
    OutOfMemory,
    Unreachable,
)
from kingpost.flow import (
    Emit,
    Flow,
    Pause,
    Read,
    Request,
    Retries,
    Step,
    ask,
    foreign_page,
    pause_between_streams,
    unreachable,
)
from kingpost.records import (
    Accepted,
    ApiKey,
    Canceled,
    Chunk,
    Delivery,
    FileRef,
    JobStatus,
    Output,
    Queue,
)
from kingpost.streams.events import Event, Parser
from kingpost.streams.frames import FRAMES, Reader

LONGEST_WAIT = 60.0  # s, of one call that waits for a final status
STATUS_SECONDS = LONGEST_WAIT + 30.0  # how long the answer of such a call may take
# Above KINGPOST_SYNC_TIMEOUT_SECONDS (1200 s), so that the server answers first.
PREDICT_SECONDS = 1260.0
QUIET_SECONDS = 45.0  # three times the 15 s after which the server writes to a silent event stream
JSON = {"content-type": "application/json"}
SAME_INPUT: object = object()  # for `retry`, because None is an input, too
BYTES = {"content-type": "application/octet-stream"}
FILES = {"x-kingpost-output-files": "true"}
ASK_FRAMES = {FRAMES: "true"}


def run(
    model: str,
    model_input: object,
    *,
    environment: str | None = None,
    deployment: str | None = None,
    timeout: float = PREDICT_SECONDS,
    output_files: bool = False,
) -> Flow[Any]:
    """Runs a model and waits for its output: JSON as Python has it, text as str, anything else as bytes.

    `model` is a name or an id. It runs in production, unless an environment or the id of a deployment is given.
    `model_input` is anything that JSON can hold, or bytes. `timeout` is for how many seconds the server may say nothing. With
    `output_files`, images, bytes and files in the output are stored on the server, and `download` fetches them. Raises ApiError,
    Unreachable, and StreamFailed if the model fails in the middle of a streamed output.
    """
    answer = yield from predict(
        model,
        model_input,
        environment=environment,
        deployment=deployment,
        timeout=timeout,
        output_files=output_files,
    )
    return answer.value


def predict(
    model: str,
    model_input: object,
    *,
    environment: str | None = None,
    deployment: str | None = None,
    timeout: float = PREDICT_SECONDS,
    output_files: bool = False,
) -> Flow[Output]:
    """As `run`, but the output stays as it came, with its content type."""
    answer = yield from ask(
        _predict_request(model, model_input, environment, deployment, timeout, output_files)
    )
    found = _output(answer)
    reader = _reader_of(answer)
    content = b"".join(reader.feed(answer.content))
    reader.end()
    return replace(found, content=content)


def stream(
    model: str,
    model_input: object,
    *,
    environment: str | None = None,
    deployment: str | None = None,
    timeout: float = PREDICT_SECONDS,
    output_files: bool = False,
) -> Generator[Step | Emit[str], Any, None]:
    """Runs a model and gives its output as text, as it comes. Raises StreamFailed if the model fails in the middle."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    request = _predict_request(model, model_input, environment, deployment, timeout, output_files)
    answer = yield from ask(request, opened=True)
    reader = _reader_of(answer)
    while data := (yield from read_on()):
        for part in reader.feed(data):
            if text := decoder.decode(part):
                yield Emit(text)
    reader.end()
    if text := decoder.decode(b"", final=True):
        yield Emit(text)


def stream_bytes(
    model: str,
    model_input: object,
    *,
    environment: str | None = None,
    deployment: str | None = None,
    timeout: float = PREDICT_SECONDS,
    output_files: bool = False,
) -> Generator[Step | Emit[Chunk], Any, None]:
    """Runs a model and gives its output as bytes, as they come, with their content type. The first chunk is empty. Raises StreamFailed as `stream`."""
    request = _predict_request(model, model_input, environment, deployment, timeout, output_files)
    answer = yield from ask(request, opened=True)
    content_type = answer.headers.get("content-type", "")
    yield Emit(Chunk(b"", content_type))
    reader = _reader_of(answer)
    while data := (yield from read_on()):
        for part in reader.feed(data):
            yield Emit(Chunk(part, content_type))
    reader.end()


def submit(
    model: str,
    model_input: object,
    *,
    environment: str | None = None,
    deployment: str | None = None,
    priority: int | None = None,
    webhook: str | None = None,
    max_time_in_queue_seconds: int | None = None,
    retry: Mapping[str, int] | None = None,
    idempotency_key: str | None = None,
    output_files: bool = False,
) -> Flow[Accepted]:
    """Queues a request.

    0 is the most urgent priority, and the default. `retry` is the `inference_retry_config`: `max_attempts`, `initial_delay_ms`,
    `max_delay_ms`. The submission has an idempotency key, so that sending it again after a lost connection queues nothing twice.
    Give one of your own if your program may restart and submit again.
    """
    options = {
        "priority": priority,
        "webhook_endpoint": webhook,
        "max_time_in_queue_seconds": max_time_in_queue_seconds,
        "inference_retry_config": retry,
        "output_files": output_files or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    key = idempotency_key or uuid.uuid4().hex
    path = f"{target_path(model, environment, deployment)}/async_predict"
    body = json_body({"model_input": model_input, **given})
    headers = {**JSON, "idempotency-key": key}
    answer = yield from ask(Request("POST", path, headers=headers, content=body))
    return Accepted.of(json_object(answer))


def status(request_id: str, wait: float = 0) -> Flow[JobStatus]:
    """The status now. With `wait`, it comes as soon as it is final, at the latest after that many seconds (60 at most)."""
    params = {"wait": f"{min(wait, LONGEST_WAIT):g}"} if wait > 0 else {}
    answer = yield from ask(
        Request("GET", _request_path(request_id), params, read_seconds=STATUS_SECONDS)
    )
    return JobStatus.of(json_object(answer))


def wait(request_id: str, timeout: float | None = None) -> Flow[JobStatus]:
    """Waits until the status is final. Raises NotFinished after `timeout` seconds; the request then goes on."""
    ends = None if timeout is None else time.monotonic() + timeout
    while True:
        left = LONGEST_WAIT if ends is None else ends - time.monotonic()
        found = yield from status(request_id, max(left, 0))
        if found.is_final:
            return found
        if ends is not None and time.monotonic() >= ends:
            message = f"The request {request_id} is {found.status} after {timeout:g} s; it goes on."
            raise NotFinished(message, request_id, found.status)


def result(request_id: str, timeout: float | None = None) -> Flow[Any]:
    """Waits for the request and returns its output, as `run` does. Raises JobFailed (or OutOfMemory) if it has none, and NotFinished."""
    found = yield from output(request_id, timeout)
    return found.value


def output(request_id: str, timeout: float | None = None) -> Flow[Output]:
    """As `result`, but the output stays as it came, with its content type."""
    found = yield from wait(request_id, timeout)
    if not found.has_result:
        errors = [(error.code, error.message) for error in found.errors]
        message = f"The request {request_id} has no result: {found.reason}"
        out_of_memory = bool(errors) and errors[-1][0] == "MODEL_OUT_OF_MEMORY"
        kind = OutOfMemory if out_of_memory else JobFailed
        raise kind(message, request_id, found.status, errors)
    request = Request("GET", f"{_request_path(request_id)}/result", read_seconds=PREDICT_SECONDS)
    return _output((yield from ask(request)))


def webhook(request_id: str) -> Flow[Delivery]:
    """How the request's webhook stands. Raises Conflict if it has none."""
    return Delivery.of(
        json_object((yield from ask(Request("GET", f"{_request_path(request_id)}/webhook"))))
    )


def events(request_id: str, after: str = "") -> Generator[Step | Emit[Event], Any, None]:
    """What happens to the request, as it happens, until it is final. `after` is the id of the last event that you have.

    A stream that breaks off is taken up where it ended.
    """
    path = f"{_request_path(request_id)}/events"
    silent = 0  # how many streams in a row said nothing
    while True:
        headers = {"last-event-id": after} if after else {}
        yield from ask(Request("GET", path, headers=headers, read_seconds=QUIET_SECONDS), True)
        parser, silent = Parser(), silent + 1
        broken = Unreachable(f"The events of {request_id} end before it is final.")
        try:
            while data := cast(bytes, (yield Read())):
                silent = 0
                for event in parser.feed(data):
                    after = event.id or after
                    yield Emit(event)
                    if event.kind == "done":
                        return
        except httpx.RequestError as error:
            broken = unreachable(error)
        if silent > (yield Retries()):
            raise broken
        yield Pause(pause_between_streams())


def cancel(request_id: str) -> Flow[Canceled]:
    """Cancels the request, also while it runs. No result is written afterwards."""
    return Canceled.of(json_object((yield from ask(Request("DELETE", _request_path(request_id))))))


def set_priority(request_id: str, priority: int) -> Flow[JobStatus]:
    """Moves a waiting request to another priority, 0 to 2. Raises Conflict if it does not wait."""
    return (yield from move(request_id, priority=priority))


def move(
    request_id: str, *, priority: int | None = None, deployment: str | None = None
) -> Flow[JobStatus]:
    """Moves a waiting request to another priority, to another deployment of its model (by id), or both."""
    options = {"priority": priority, "deployment_id": deployment}
    body = json_body({name: value for name, value in options.items() if value is not None})
    answer = yield from ask(Request("PATCH", _request_path(request_id), headers=JSON, content=body))
    return JobStatus.of(json_object(answer))


def purge(request_id: str) -> Flow[bool]:
    """Deletes the request with all that is kept of it; one that is not final is cancelled.

    Returns whether it is gone. If not, its running call is being stopped, and the request is deleted when that call has ended.
    """
    answer = yield from ask(Request("POST", f"{_request_path(request_id)}/purge"))
    return bool(json_object(answer)["purged"])


def retry(
    request_id: str,
    model_input: object = SAME_INPUT,
    *,
    idempotency_key: str | None = None,
) -> Flow[Accepted]:
    """Runs a final request again as a new one, with the same input or with another.

    It has an idempotency key, as in `submit`. Raises ApiError 410 if the input is not kept any more, and Conflict while the request is
    not final.
    """
    said = {} if model_input is SAME_INPUT else {"model_input": model_input}
    headers = {**JSON, "idempotency-key": idempotency_key or uuid.uuid4().hex}
    path = f"{_request_path(request_id)}/retry"
    answer = yield from ask(Request("POST", path, headers=headers, content=json_body(said)))
    return Accepted.of(json_object(answer))


def job_input(request_id: str) -> Flow[Any]:
    """The input of a request, while it is kept: JSON as Python has it. Raises ApiError 410 if it is not kept any more."""
    return (yield from input_as_sent(request_id)).value


def input_as_sent(request_id: str) -> Flow[Output]:
    """As `job_input`, but the input stays as it was sent, with its content type."""
    path = f"/v1/jobs/{path_segment(request_id)}/input"
    return _output((yield from ask(Request("GET", path, read_seconds=PREDICT_SECONDS))))


def queue(
    model: str, *, environment: str | None = None, deployment: str | None = None
) -> Flow[Queue]:
    """How many requests wait and run."""
    path = f"{target_path(model, environment, deployment)}/async_queue_status"
    return Queue.of(json_object((yield from ask(Request("GET", path)))))


def own_key() -> Flow[ApiKey]:
    """The key of this client: what it may do, and until when."""
    return ApiKey.of(json_object((yield from ask(Request("GET", "/v1/key")))))


def _predict_request(
    model: str,
    model_input: object,
    environment: str | None,
    deployment: str | None,
    timeout: float,
    output_files: bool,
) -> Request:
    is_bytes = isinstance(model_input, bytes)
    return Request(
        "POST",
        f"{target_path(model, environment, deployment)}/predict",
        headers=(BYTES if is_bytes else JSON) | ASK_FRAMES | (FILES if output_files else {}),
        content=model_input if is_bytes else json_body(model_input),
        repeatable=False,  # the model may have begun
        read_seconds=timeout,
    )


class _PlainReader:
    """Reads an output that has no frames, with the methods of `Reader`."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def end(self) -> None:
        pass


def _reader_of(answer: httpx.Response) -> "Reader | _PlainReader":
    """What reads the output in this answer."""
    return Reader() if FRAMES in answer.headers else _PlainReader()


def read_on() -> Flow[bytes]:
    """The next bytes of the opened answer, empty at the end. Raises Unreachable when it breaks off, because an output cannot be taken up again."""
    try:
        return cast(bytes, (yield Read()))
    except httpx.RequestError as error:
        raise unreachable(error) from error


def target_path(model: str, environment: str | None = None, deployment: str | None = None) -> str:
    """The path of a model's target: production without an environment or a deployment. Raises NotConfigured for both."""
    if environment and deployment:
        raise NotConfigured("Give an environment or a deployment, not both.")
    if deployment:
        target = f"deployment/{path_segment(deployment)}"
    elif environment in (None, "production", "development"):
        target = environment or "production"
    else:
        target = f"environments/{path_segment(environment or '')}"
    return f"/models/{path_segment(model)}/{target}"


def _request_path(request_id: str) -> str:
    return f"/async_request/{path_segment(request_id)}"


def path_segment(name: str) -> str:
    """A name as one segment of a path. Raises NotConfigured for an empty one, `.` and `..`, which would lead to another path."""
    if not name or name in (".", ".."):
        raise NotConfigured(f"{name!r} is not the name or id of anything.")
    return quote(name, safe="", errors="replace")


def json_body(value: object) -> bytes:
    """The body of a request as JSON. A FileRef becomes its reference. Raises TypeError for what JSON cannot hold."""
    return json.dumps(value, separators=(",", ":"), default=_file_as_input).encode()


def _file_as_input(value: object) -> object:
    if isinstance(value, FileRef):
        return value.as_input
    raise TypeError(
        f"JSON cannot hold {type(value).__name__}; a file is uploaded first: client.upload(path)."
    )


def json_object(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises ApiError for anything else, because Kingpost answers nothing else."""
    try:
        said: object = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):
        other = f"{answer.request.url} answers something that is not Kingpost's; check the address."
        message = foreign_page(answer) or other
        raise ApiError(message, answer.status_code, body=answer.content)
    return cast("dict[str, Any]", said)


def _output(answer: httpx.Response) -> Output:
    headers = answer.headers
    return Output(
        answer.content, headers.get("content-type", ""), headers.get("x-baseten-request-id", "")
    )
