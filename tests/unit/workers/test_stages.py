"""The trace that a model's own spans join, whether this process records it or not."""

import pytest
from opentelemetry import trace

from workers.host.call.call import ModelCall
from workers.host.call.slots import CallKind
from workers.host.model.stages import stage

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.mark.parametrize(
    ("sent", "joined"),
    [
        (f"00-{IDS}-00", f"{IDS}-00"),
        (f"00-{IDS}-01", f"{IDS}-01"),
        (f"cc-{IDS}-01-more", f"{IDS}-01"),
        (f"00-{IDS}-01-more", ""),
        ("nonsense", ""),
        (None, ""),
    ],
)
def test_a_models_own_spans_are_under_the_callers_while_a_stage_runs(
    sent: str | None, joined: str
) -> None:
    headers = [] if sent is None else [(b"traceparent", sent.encode())]
    call = ModelCall({"type": "http", "headers": headers}, b"", CallKind.SYNC, 0.0)
    with stage(call, "predict"):
        at = trace.get_current_span().get_span_context()
        seen = f"{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}" if at.is_valid else ""
    assert seen == joined
    assert not trace.get_current_span().get_span_context().is_valid
