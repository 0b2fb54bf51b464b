"""The calls of the worker, as HTTP requests on its socket. Only RunJob has a body, the input of the job.

RunJob       POST   /jobs/ID             answered by messages, as they come
CancelJob    DELETE /jobs/ID
AcquireSlot  POST   /slots?wait=SECONDS  answered by Granted, or by an empty 204 when no slot came in time
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
FILES = f"{PRIVATE_PREFIX.decode()}files"  # sync calls have it, too: see deployments/attached.py
LINK = f"{PRIVATE_PREFIX.decode()}output-files"  # the same: see deployments/output_files.py
REQUEST_ID, CHAIN_REQUEST_ID = "x-baseten-request-id", "x-baseten-chain-request-id"


@dataclass(frozen=True)
class RunJob:
    """Runs one attempt of a job. Its input is the body of the request."""

    request_id: str
    fence: str = ""  # tells the attempts of a request apart
    slot: str = ""  # the token of a slot that was acquired before; '' = the host waits for one
    keep_slot: bool = False  # asks to keep the slot under its token, for the next job
    path: str = ""  # which of the model's routes; '' = predict
    content_type: str = ""
    traceparent: str = ""
    chain_request_id: str = ""
    files: str = ""  # the files that stand before the input: see deployments/attached.py
    link: str = ""  # asks for files of the output: see deployments/output_files.py


@dataclass(frozen=True)
class CancelJob:
    """Stops the attempt with that fence."""

    request_id: str
    fence: str = ""


@dataclass(frozen=True)
class AcquireSlot:
    """Asks for a slot."""

    wait: float  # s, at most, until a slot is free


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
    busy: int  # slots in use
    sync_waiting: int  # sync calls that wait for a slot
    jobs_waiting: int
    open: int  # sync calls and WebSockets in progress
    served: int  # those and jobs, since the host started
    not_live_ms: int = 0  # for how long its liveness checks have failed; 0 = it is live
    not_ready_ms: int = 0  # the same for readiness; a model class has one check for both
    fault: str = ""  # why the host has to end; '' = it need not


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
    """The call of an HTTP request with decoded path and lower-case header names. None if it is no call.

    Raises WireError for a wait that is no number of seconds.
    """
    match method, path.split("/")[1:]:
        case "POST", ["jobs", request_id] if request_id:
            values = _as_text(headers)
            return RunJob(
                request_id,
                values.get(FENCE, ""),
                values.get(SLOT, ""),
                values.get(KEEP_SLOT) == "1",
                values.get(PATH, ""),
                values.get("content-type", ""),
                values.get("traceparent", ""),
                values.get(CHAIN_REQUEST_ID, ""),
                values.get(FILES, ""),
                values.get(LINK, ""),
            )
        case "DELETE", ["jobs", request_id] if request_id:
            return CancelJob(request_id, _as_text(headers).get(FENCE, ""))
        case "POST", ["slots"]:
            return AcquireSlot(_wait_seconds(query))
        case "DELETE", ["slots", slot] if slot:
            return ReleaseSlot(slot)
        case "GET", ["state"]:
            return AskState()
        case "POST", ["hot-reload"]:
            return Reload()
        case _:
            return None


def _headers(call: RunJob) -> dict[str, str]:
    """The headers of the request. The model sees those without PRIVATE_PREFIX."""
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


def _as_text(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _wait_seconds(query: str) -> float:
    text = query.removeprefix("wait=") or "0"
    try:
        wait = float(text)
    except ValueError:
        wait = -1.0
    if not 0 <= wait < float("inf"):
        raise WireError(f"wait must be a number of seconds, not {text!r}.")
    return wait


def encode_answer(answer: Granted | HostState) -> bytes:
    """The JSON body of an answer."""
    return encoded(asdict(answer)).encode()


def decode_granted(body: bytes) -> Granted:
    """Parses the body of an answer to AcquireSlot. Raises WireError."""
    return Granted(**members_of(value_of(body), {"slot": (str,)}))


def decode_state(body: bytes) -> HostState:
    """Parses the body of an answer to AskState. Raises WireError."""
    members = members_of(value_of(body), STATE)
    if members["error"] is not None:
        shape: Shape = {"message": (str,), "traceback": (str,)}
        members["error"] = LoadFailure(**members_of(members["error"], shape))
    return HostState(**members)
