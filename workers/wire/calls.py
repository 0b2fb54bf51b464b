"""The calls of the worker, as HTTP requests on its socket. Only RunJob has a body, the input of the job.

RunJob       POST   /jobs/ID             answered by messages, as they come
CancelJob    DELETE /jobs/ID
AcquireSlot  POST   /slots?wait=SECONDS  answered by Granted, or by nothing when no slot came in time
ReleaseSlot  DELETE /slots/TOKEN
AskState     GET    /state               answered by HostState
Reload       POST   /hot-reload
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from types import NoneType
from typing import NamedTuple
from urllib.parse import quote

from workers.wire.shapes import Shape, WireError, encoded, members_of, value_of

PRIVATE_PREFIX = b"x-kingpost-"  # of headers that the model never sees
FENCE, SLOT, KEEP_SLOT, PATH = (
    f"{PRIVATE_PREFIX.decode()}{name}" for name in ("fence", "slot", "keep-slot", "path")
)
FILES = f"{PRIVATE_PREFIX.decode()}files"  # as callers name them, too: see deployments/attached.py
LINK = f"{PRIVATE_PREFIX.decode()}output-files"
REQUEST_ID, CHAIN_REQUEST_ID = "x-baseten-request-id", "x-baseten-chain-request-id"


@dataclass(frozen=True)
class RunJob:
    """Runs one attempt of a job. `slot` was acquired before. `keep_slot` asks to keep it for the next job."""

    request_id: str
    fence: str = ""  # which attempt
    slot: str = ""  # none: the host waits for one
    keep_slot: bool = False
    path: str = ""  # of the model's routes; none = predict
    content_type: str = ""
    traceparent: str = ""
    chain_request_id: str = ""
    files: str = ""  # that its body has before the input
    link: str = ""  # for files of the output: see deployments/output_files.py


@dataclass(frozen=True)
class CancelJob:
    """Stops an attempt."""

    request_id: str
    fence: str = ""


@dataclass(frozen=True)
class AcquireSlot:
    """Asks for a slot and waits for that many seconds."""

    wait: float


@dataclass(frozen=True)
class ReleaseSlot:
    """Returns a slot that was not used."""

    slot: str


@dataclass(frozen=True)
class AskState:
    """Asks for the state of the host."""


@dataclass(frozen=True)
class Reload:
    """Asks the host to import the model's code again."""


@dataclass(frozen=True)
class Granted:
    """The answer with the token of a slot."""

    slot: str


@dataclass(frozen=True)
class LoadFailure:
    """Why the model did not load: one sentence, and the frames of its author's code."""

    message: str
    traceback: str


@dataclass(frozen=True)
class HostState:
    """The state of the host."""

    state: str  # loading, ready, failed or draining
    error: LoadFailure | None
    pid: int
    slots: int
    busy: int
    sync_waiting: int
    jobs_waiting: int
    open: int  # calls of callers
    served: int  # these and jobs, since it started
    not_live_ms: int = 0  # for how long its health checks have failed; 0 = it is well
    not_ready_ms: int = 0  # the same of readiness; for a model class they are one
    fault: str = ""  # why it has to end; '' = it need not


WorkerCall = RunJob | CancelJob | AcquireSlot | ReleaseSlot | AskState | Reload
COUNTS = (
    "pid",
    "slots",
    "busy",
    "sync_waiting",
    "jobs_waiting",
    "open",
    "served",
    "not_live_ms",
    "not_ready_ms",
)
STATE: Shape = {
    "state": (str,), "error": (dict, NoneType), **dict.fromkeys(COUNTS, (int,)), "fault": (str,),
}  # fmt: skip


class HttpCall(NamedTuple):
    """A call as an HTTP request."""

    method: str
    target: str
    headers: dict[str, str]


def encode_call(call: WorkerCall) -> HttpCall:
    """The HTTP request for a call."""
    match call:
        case RunJob():
            return HttpCall("POST", f"/jobs/{quote(call.request_id, '')}", _headers(call))
        case CancelJob():
            return HttpCall("DELETE", f"/jobs/{quote(call.request_id, '')}", {FENCE: call.fence})
        case AcquireSlot():
            return HttpCall("POST", f"/slots?wait={call.wait}", {})
        case ReleaseSlot():
            return HttpCall("DELETE", f"/slots/{quote(call.slot, '')}", {})
        case AskState():
            return HttpCall("GET", "/state", {})
        case Reload():
            return HttpCall("POST", "/hot-reload", {})


def decode_call(
    method: str, path: str, query: str, headers: Iterable[tuple[bytes, bytes]]
) -> WorkerCall | None:
    """The call of an HTTP request with decoded path and lower-case header names. None if it is no call. Raises WireError."""
    match method, path.split("/")[1:]:
        case "POST", ["jobs", request_id] if request_id:
            said = _said(headers)
            return RunJob(
                request_id,
                said.get(FENCE, ""),
                said.get(SLOT, ""),
                said.get(KEEP_SLOT) == "1",
                said.get(PATH, ""),
                said.get("content-type", ""),
                said.get("traceparent", ""),
                said.get(CHAIN_REQUEST_ID, ""),
                said.get(FILES, ""),
                said.get(LINK, ""),
            )
        case "DELETE", ["jobs", request_id] if request_id:
            return CancelJob(request_id, _said(headers).get(FENCE, ""))
        case "POST", ["slots"]:
            return AcquireSlot(_wait(query))
        case "DELETE", ["slots", slot] if slot:
            return ReleaseSlot(slot)
        case "GET", ["state"]:
            return AskState()
        case "POST", ["hot-reload"]:
            return Reload()
        case _:
            return None


def _headers(call: RunJob) -> dict[str, str]:
    """The headers for the model: those without our prefix."""
    headers = {REQUEST_ID: call.request_id, FENCE: call.fence}
    optional = {
        "content-type": call.content_type,
        SLOT: call.slot,
        KEEP_SLOT: "1" if call.keep_slot else "",
        PATH: call.path,
        "traceparent": call.traceparent,
        CHAIN_REQUEST_ID: call.chain_request_id,
        FILES: call.files,
        LINK: call.link,
    }
    return headers | {name: value for name, value in optional.items() if value}


def _said(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _wait(query: str) -> float:
    text = query.removeprefix("wait=") or "0"
    try:
        wait = float(text)
    except ValueError:
        wait = -1.0
    if not 0 <= wait < float("inf"):
        raise WireError(f"wait must be a number of seconds, not {text!r}.")
    return wait


def encode_answer(answer: Granted | HostState) -> bytes:
    """The body that says it."""
    return encoded(asdict(answer)).encode()


def decode_granted(body: bytes) -> Granted:
    """Raises WireError."""
    return Granted(**members_of(value_of(body), {"slot": (str,)}))


def decode_state(body: bytes) -> HostState:
    """Raises WireError."""
    said = members_of(value_of(body), STATE)
    if said["error"] is not None:
        shape: Shape = {"message": (str,), "traceback": (str,)}
        said["error"] = LoadFailure(**members_of(said["error"], shape))
    return HostState(**said)
