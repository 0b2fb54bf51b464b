"""The async requests of the last hour, minute by minute: how long they waited, how many ended, and how many of those failed."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.gateway import gateway_of
from api.routes.control.deployer import Deployer
from api.schemas import time_of
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.state import Status
from tasks.store.hour import Hour, Series

router = APIRouter(prefix="/v1", tags=["operating"])
MOST = 1000  # deployments


class MinutesView(BaseModel):
    """The 60 minutes, the oldest first. The last one is still going on."""

    claimed: list[int]
    waited_p50_seconds: list[float | None]
    waited_p95_seconds: list[float | None]
    ended: list[int]
    failed: list[int]


class HistoryView(BaseModel):
    """The last hour of a deployment. A wait is the time from submission to the first claim, to within 20 %; null if none was claimed."""

    model: str
    deployment_id: str
    claimed: int = Field(description="Requests that a replica took for the first time.")
    waited_p50_seconds: float | None
    waited_p95_seconds: float | None
    ended: int = Field(
        description="Requests that succeeded, failed or expired. Those that were cancelled do not count."
    )
    failed: int = Field(description="Those of them that failed or expired.")
    error_share: float | None = Field(description="`failed` of `ended`; null if none ended.")
    succeeded: int
    expired: int
    canceled: int
    minutes: MinutesView

    @classmethod
    def of(cls, deployment: Deployment, series: Series) -> "HistoryView":
        """The deployment as it is shown."""
        total, share = series.total, series.total.error_share
        return cls(
            model=deployment.model_name,
            deployment_id=deployment.id,
            claimed=total.claimed,
            waited_p50_seconds=total.waited(0.5),
            waited_p95_seconds=total.waited(0.95),
            ended=total.ended,
            failed=total.bad,
            error_share=None if share is None else round(share, 4),
            succeeded=total.ends[Status.SUCCEEDED],
            expired=total.ends[Status.EXPIRED],
            canceled=total.ends[Status.CANCELED],
            minutes=MinutesView(
                claimed=[counts.claimed for counts in series.minutes],
                waited_p50_seconds=series.waited_p50,
                waited_p95_seconds=series.waited_p95,
                ended=series.ended,
                failed=series.bad,
            ),
        )


class HistoriesView(BaseModel):
    """The deployments that had work in the last hour, the busiest first."""

    since: datetime = Field(description="When the first of the 60 minutes began.")
    deployments: list[HistoryView]


@router.get("/history", response_model=HistoriesView)
async def history(
    request: Request,
    _: Deployer,
    model: Annotated[str, Query(max_length=400)] = "",
    deployment: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> HistoriesView:
    """Waiting times, throughput and errors of the last hour, minute by minute; `model` is an id or a name."""
    gateway = gateway_of(request)
    hour = await gateway.history.hour()
    busy, only = hour.busy(), ""
    if model:
        only = (await gateway.store.run(registry.model(model))).id
    known = [
        each
        for each in await gateway.store.run(registry.deployments())
        if each.id in busy and only in ("", each.model_id) and deployment in ("", each.id)
    ]
    shown = [HistoryView.of(each, hour.of([each.id])) for each in known]
    shown.sort(key=lambda row: (-row.claimed - row.ended, row.model, row.deployment_id))
    return HistoriesView(since=_began(hour), deployments=shown[:limit])


def _began(hour: Hour) -> datetime:
    return time_of(hour.first * 60_000)
