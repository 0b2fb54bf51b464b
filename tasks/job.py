"""The domain types of a job: frozen dataclasses without a framework."""

from dataclasses import dataclass
from typing import NewType

from tasks.state import ErrorCode, Status

RequestId = NewType("RequestId", str)
Milliseconds = int
Bytes = int


@dataclass(frozen=True, slots=True)
class Retry:
    """How an async request is retried: Baseten's `inference_retry_config`."""

    max_attempts: int = 3  # with the first one
    initial_delay_ms: Milliseconds = 1000
    max_delay_ms: Milliseconds = 5000

    def delay_ms(self, attempt: int) -> Milliseconds:
        """The wait after failed attempt number `attempt` (from 1). It doubles each time, up to the limit."""
        return min(self.initial_delay_ms * 2 ** (attempt - 1), self.max_delay_ms)


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as a client submits it. `input` has the bytes of the model input as the model host gets them.

    A large input is in the payload store instead, under `input_ref`.
    """

    request_id: RequestId
    deployment_id: str
    model_id: str
    input: bytes
    level: int = 0
    max_time_in_queue_ms: Milliseconds = 600_000
    retry: Retry = Retry()
    webhook: str = ""
    content_type: str = "application/json"
    traceparent: str = ""
    path: str = ""  # a route of the model host other than predict, such as /v1/chat/completions
    chain_id: str = ""  # of a run of a chain; it equals model_id
    input_ref: str = ""
    retry_of: str = ""  # the job that is run anew
    files: str = ""  # to which the input refers: words `id:bytes:ending`, with spaces between
    output_files: bool = False  # whether files in its output are stored apart


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one attempt. Only the holder of its fence can renew, report, release or finish the job.

    It runs out if it is not renewed. It is lost for good when another replica claims the job, and when the job ends or is cancelled.
    """

    request_id: RequestId
    fence: str


@dataclass(frozen=True, slots=True)
class JobError:
    """One entry of a job's `errors`. Everybody may read `message`; `detail` is the model's exception, for keys that may read it."""

    code: ErrorCode | str
    message: str
    detail: str = ""

    def told(self, detailed: bool) -> str:
        """The message, with or without the details of the exception."""
        return self.detail if detailed and self.detail else self.message


@dataclass(frozen=True, slots=True)
class Job:
    """The record of a job in the store. Times are Unix milliseconds of Redis' clock.

    `not_before` alone uses the clock of leases and due times (see tasks/store/scripting.py).
    """

    request_id: RequestId
    status: Status
    deployment_id: str
    model_id: str
    api_key: str
    level: int
    attempt: int  # 0 before the first claim; a drain takes its attempt back
    retry: Retry
    created: Milliseconds
    status_at: Milliseconds
    errors: tuple[JobError, ...] = ()
    webhook: str = ""
    content_type: str = "application/json"
    traceparent: str = ""
    path: str = ""
    chain_id: str = ""
    not_before: Milliseconds | None = None
    started: Milliseconds | None = None
    finished: Milliseconds | None = None
    predict_ms: float | None = None
    fraction: float | None = None  # 0 to 1, of the progress that the model reported
    message: str | None = None  # of that progress
    stopping: bool = False
    stopped_at: Milliseconds | None = None
    stopped_by: str | None = None  # how a cancelled call ended: 'cooperative', 'closed' or 'killed'
    output_type: str | None = None
    output_bytes: int | None = None
    input_ref: str = ""  # where the payload store has the input; '' = the job store has it
    output_ref: str = ""
    replica: str = ""
    # The load of the replica that claimed it, if it ended while the job waited. It may have begun before the submission.
    load_began: Milliseconds | None = None
    load_ended: Milliseconds | None = None
    deaths: int = 0  # hosts or workers that died under it in a row
    max_time_in_queue_ms: Milliseconds = 600_000
    retry_of: str = ""  # the job that it ran anew
    retried_as: str = ""  # the latest job that ran it anew
    files: str = ""  # to which the input refers: words `id:bytes:ending`, with spaces between
    output_files: bool = False  # whether files in its output are stored apart
    story: str = ""  # see tasks/store/story.py
    story_cut: int = 0  # oldest words that `story` has lost
    chunks_end: str = ""  # the id of the last event that its stream held at the end, if it had one


@dataclass(frozen=True, slots=True)
class Loaded:
    """When a replica has loaded its model. Durations, because its clock is not that of the store."""

    ago_ms: Milliseconds
    took_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed job: its record, its input and the lease under which it runs."""

    job: Job
    input: bytes
    lease: Lease
    resumed: bool = False  # under an old lease of the same worker, whose call may still be running


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended for good."""

    status: Status  # SUCCEEDED or FAILED
    predict_ms: float
    output: bytes = b""
    output_type: str = ""  # '' = there is no output: `output` is not stored
    error: JobError | None = None
    output_ref: str = ""  # the payload that holds the output instead
    output_bytes: Bytes = 0  # of the payload at `output_ref`; 0 = the length of `output`


@dataclass(frozen=True, slots=True)
class Reading:
    """A job as its owner sees it now. Times are those of `Job`. For a final job `run_times_ms` and `running_since` are empty."""

    job: Job
    jobs_ahead: int | None  # None unless QUEUED
    webhook_status: str  # a WebhookStatus
    run_times_ms: tuple[float, ...]  # of the deployment's latest successes, newest first
    running_since: tuple[
        Milliseconds, ...
    ]  # of any 64 running jobs of the deployment at most, cancelled ones that still run too
    now: Milliseconds
    backoff_ms: Milliseconds = 0  # until its next attempt
    hold: str = ""  # why claims pass over a queued job: 'paused' or 'key_limit'


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The numbers of waiting and running jobs of a deployment, and whether it is paused."""

    queued: int
    in_progress: int
    paused: bool = False
