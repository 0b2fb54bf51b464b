"""The logs of a deployment as `truss model-logs` and `--tail` ask for them: Baseten's route, over the same store as GET /v1/logs."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.gateway import gateway_of
from api.problems import Problem
from api.routes.control.deployer import Deployer, Manage, read_body
from api.routes.control.logs import LARGEST_PAGE, NAMES_REQUEST, LogLine
from tasks.log_store import reading
from tasks.log_store.lines import LEVEL_ALIASES, LEVELS
from tasks.log_store.verbs import LineFilter, LineId

NO_PATTERNS = (
    "Kingpost does not search logs by a regular expression; use --includes and --excludes."
)
Milliseconds = Annotated[int, Field(ge=0, le=10**14)]
Words = Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=20)]


class LogsBody(BaseModel):
    """POST .../logs: which lines."""

    model_config = ConfigDict(extra="forbid")

    start_epoch_millis: Milliseconds | None = None
    end_epoch_millis: Milliseconds | None = None
    min_level: Annotated[str, Field(max_length=20)] = ""
    replica: Annotated[str, Field(max_length=100)] = ""
    request_id: Annotated[str, Field(pattern=NAMES_REQUEST)] | None = None
    search_pattern: str | None = None
    includes: Words = []
    excludes: Words = []

    @property
    def wanted(self) -> LineFilter:
        """What of it the store filters by. Raises Problem 400."""
        said = self.min_level.lower()
        level = LEVEL_ALIASES.get(said, said) or "debug"
        if level not in LEVELS:
            raise Problem(400, "client_error", f"min_level: one of {', '.join(LEVELS)}.")
        if self.search_pattern:
            raise Problem(400, "client_error", NO_PATTERNS)
        return LineFilter(LEVELS.index(level), self.request_id or "", self.start_epoch_millis or 0)

    def takes(self, line: "LogEntry") -> bool:
        """Whether the rest of it lets the line through."""
        return (
            all(word in line.message for word in self.includes)
            and not any(word in line.message for word in self.excludes)
            and self.replica in ("", line.replica)
        )


class LogEntry(BaseModel):
    """A line: its time in nanoseconds since 1970, as text, and what was printed or logged."""

    timestamp: str
    message: str
    replica: str | None

    @classmethod
    def of(cls, line: LogLine) -> "LogEntry":
        """The line as Baseten shows it, with a traceback if it has one."""
        trace = line.fields.get("traceback") or line.fields.get("exception")
        said = f"{line.message}\n{trace}" if isinstance(trace, str) else line.message
        replica = line.fields.get("replica")
        nanoseconds = int(line.at.timestamp() * 1_000_000) * 1000
        return cls(
            timestamp=str(nanoseconds),
            message=said,
            replica=replica if isinstance(replica, str) else None,
        )


class LogEntries(BaseModel):
    """Lines, the latest first."""

    logs: list[LogEntry]


router = APIRouter(prefix="/v1/models", include_in_schema=False)


@router.post("/{model}/deployments/{which}/logs", response_model=LogEntries)
async def logs(request: Request, _: Deployer, manage: Manage, model: str, which: str) -> LogEntries:
    """The latest lines of a deployment, a thousand at most."""
    asked = await read_body(request, LogsBody)
    wanted = asked.wanted
    deployment = (await manage.deployment(model, which))[1]
    before = LineId(asked.end_epoch_millis + 1, 0) if asked.end_epoch_millis else None
    page = await reading.newest(
        gateway_of(request).store, [deployment.id], wanted, LARGEST_PAGE, before=before
    )
    entries = [LogEntry.of(LogLine.of(line)) for line in reversed(page.lines)]
    return LogEntries(logs=[entry for entry in entries if asked.takes(entry)])
