"""The limit: the endpoints of the API with the same framework and schemas, and nothing behind them."""

from datetime import UTC, datetime
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from pydantic import TypeAdapter
from pydantic_core import to_json

from api.schemas import AsyncPredictRequest, RequestStatus

app = FastAPI()
ONE = TypeAdapter(AsyncPredictRequest)
NOW = datetime.now(UTC)
STATUS = RequestStatus(
    request_id="0" * 32,
    model_id="model001",
    deployment_id="dep00001",
    status="QUEUED",
    webhook_status="NO_WEBHOOK_PROVIDED",
    created_at=NOW,
    status_at=NOW,
    errors=[],
    priority=0,
    attempt=0,
    queue_position=0,
    eta_seconds=None,
    waiting_for="replica",
    waiting_reason=None,
    progress=None,
    started_at=None,
    finished_at=None,
    predict_ms=None,
    result_url=None,
    stopped_at=None,
    stopped_by=None,
)


@app.get("/health")
async def health() -> dict[str, str]:
    """It answers."""
    return {}


@app.post("/production/async_predict")
async def async_predict(request: Request) -> Response:
    """Validates and does nothing."""
    ONE.validate_json(await request.body())
    return Response(to_json({"request_id": uuid4().hex}), 201, media_type="application/json")


@app.get("/async_request/{request_id}")
async def status(request_id: str) -> RequestStatus:
    """A status as it would be, of nothing."""
    return STATUS.model_copy(update={"request_id": request_id})
