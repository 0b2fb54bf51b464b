"""What a call does, written once for the sync and the async client.

A *flow* is a generator. It yields steps (send this, pause, read on) and gets their outcome back; it does no I/O itself.
`Client` and `AsyncClient` carry out the steps, each in its own way.
"""

import email.utils
import json
import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Generic, TypeVar, cast

import httpx

from kingpost.errors import OF_STATUS, ApiError, NotConfigured, Unreachable

T = TypeVar("T")
E = TypeVar("E")

READ_SECONDS = 60.0  # how long the server may say nothing in an ordinary call
LONGEST_RETRY_AFTER = 60.0  # s; a server that asks for more is not waited for
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # s, between tries
BUSY = (429, 503)  # with the header Retry-After they mean: nothing was done, try again
LONGEST_SENTENCE = 500  # characters of an error that is no JSON


@dataclass(frozen=True)
class Request:
    """One HTTP request. It is sent again after a lost connection only if it is `repeatable`: then it has no effect twice."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    repeatable: bool = True
    read_seconds: float | None = READ_SECONDS  # how long the server may say nothing; None: for ever


@dataclass(frozen=True)
class Send:
    """Send the request and read the whole answer. The outcome is an httpx.Response."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send the request and read the head of the answer, or all of an error. The outcome is an httpx.Response."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Read on in the answer that was opened. The outcome is bytes, empty at the end."""


@dataclass(frozen=True)
class Pause:
    """Wait. The outcome is None. `why` is what a busy server said, with its HTTP status; empty for anything else."""

    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Retries:
    """Ask how often this client tries again. The outcome is that number."""


@dataclass(frozen=True)
class Emit(Generic[E]):
    """Hand a value to the caller. The outcome is None."""

    value: E


Step = Send | Open | Read | Pause | Retries
Flow = Generator[Step, Any, T]


class Conversation(Generic[T]):
    """A flow on its way: the next step, and where its outcome goes."""

    result: T

    def __init__(self, flow: Generator[Step | Emit[Any], Any, T]) -> None:
        self._flow = flow
        self._resume = partial(next, flow)

    def step(self) -> Step | Emit[Any] | None:
        """The next step. None at the end; then `result` is there."""
        try:
            return self._resume()
        except StopIteration as done:
            self.result = cast(T, done.value)
            return None

    def answer(self, outcome: object) -> None:
        """Says how the step went."""
        self._resume = partial(self._flow.send, outcome)

    def fail(self, error: Exception) -> None:
        """Says that the step failed."""
        self._resume = partial(self._flow.throw, error)

    def close(self) -> None:
        """The caller wants no more."""
        self._flow.close()


def ask(request: Request, opened: bool = False) -> Flow[httpx.Response]:
    """Sends a request, again if that may help, until there is an answer. Raises ApiError and Unreachable.

    With `opened`, only the head of the answer is read. A refusal after several tries says how long they took.
    """
    began = time.monotonic()
    for attempt in count():
        try:
            answer = cast(httpx.Response, (yield Open(request) if opened else Send(request)))
        except httpx.RequestError as error:
            if attempt >= (yield Retries()) or not _may_repeat(request, error):
                raise unreachable(error) from error
            yield Pause(pause(attempt))
            continue
        if answer.is_success:
            return answer
        wait = retry_after(answer) if answer.status_code in BUSY else None
        if wait is None or wait > LONGEST_RETRY_AFTER or attempt >= (yield Retries()):
            tried = f"tried {attempt + 1} times in {time.monotonic() - began:.0f} s"
            raise refusal(answer, tried if attempt else "")
        yield Pause(wait, f"{_sentence_and_code(answer)[0].rstrip('.')} ({answer.status_code})")
    raise AssertionError  # `count` has no end


def pause(attempt: int) -> float:
    """Seconds to wait after a failure: longer each time, and not the same for all clients."""
    return min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0)


def pause_between_streams() -> float:
    """Seconds to wait before a stream that ended is opened again: 0.5 to 1."""
    return pause(2)


def _may_repeat(request: Request, error: httpx.RequestError) -> bool:
    never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return request.repeatable or never_sent


def unreachable(error: httpx.RequestError) -> Unreachable:
    """The error for a call without an answer, or with a part of one."""
    where = _origin(error.request.url)
    why = str(error).rstrip(".") or type(error).__name__
    if isinstance(error, httpx.ReadTimeout):
        return Unreachable(f"{where} did not answer in time.")
    if isinstance(error, httpx.PoolTimeout):
        return Unreachable(f"All connections of this client to {where} were busy for too long.")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Unreachable(f"{where} cannot be reached: {why}.")
    return Unreachable(f"The connection to {where} broke off: {why}.")


def refusal(answer: httpx.Response, tried: str = "") -> ApiError | NotConfigured:
    """The error for an answer that is not 2xx. `tried` says how often and how long, if not once."""
    where, target = _origin(answer.request.url), answer.headers.get("location")
    if answer.is_redirect and target:
        to = _origin(answer.request.url.join(target))
        return NotConfigured(f"{where} redirects to {to}; use that address.")
    said, code = _sentence_and_code(answer)
    if page := foreign_page(answer):
        said = page
    elif answer.status_code == 401:
        said = f"{where} refuses this key: {said}"
    if tried:
        said = f"{said.rstrip('.')}; {tried}."
    return OF_STATUS.get(answer.status_code, ApiError)(
        said,
        answer.status_code,
        code,
        answer.headers.get("x-baseten-request-id", ""),
        retry_after(answer),
        answer.content,
    )


def foreign_page(answer: httpx.Response) -> str:
    """Says that another web server answered, if it did so with a page; else empty. A page of a model has a request id."""
    is_page = answer.headers.get("content-type", "").lower().startswith("text/html")
    if not is_page or "x-baseten-request-id" in answer.headers:
        return ""
    where = _origin(answer.request.url)
    return (
        f"{where} is not a Kingpost server: it answered with an HTML page ({answer.status_code})."
    )


def _sentence_and_code(answer: httpx.Response) -> tuple[str, str]:
    """What the server says, and its error code."""
    try:
        body: object = json.loads(answer.content)
    except ValueError:
        text = answer.text.strip()[:LONGEST_SENTENCE]
        return text or f"HTTP {answer.status_code} {answer.reason_phrase}".strip(), ""
    fields = cast("dict[str, object]", body if isinstance(body, dict) else {"error": body})
    said, code = fields.get("error"), fields.get("error_code") or ""
    if isinstance(said, dict) and "message" in said:  # as OpenAI's and Anthropic's routes say it
        inner = cast("dict[str, object]", said)
        said, code = inner["message"], inner.get("code") or inner.get("type") or ""
    return (said if isinstance(said, str) else json.dumps(said or body)), str(code)


def retry_after(answer: httpx.Response) -> float | None:
    """The seconds of the header Retry-After, which may also be a date. None without a usable one."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])  # more digits are as good as for ever
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, at.timestamp() - time.time())


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"
