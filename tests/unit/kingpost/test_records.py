"""What the client reads of the server's answers."""

from kingpost.records import JobStatus


def test_what_went_wrong_several_times_is_said_once() -> None:
    errors = [{"code": "MODEL_PREDICT_ERROR", "message": "division by zero."}] * 3
    errors.append({"code": "EXPIRED", "message": "It waited too long."})
    said = JobStatus.of({"request_id": "a", "status": "FAILED", "errors": errors}).reason
    once = "MODEL_PREDICT_ERROR: division by zero (3 times)"
    assert said == f"{once}; EXPIRED: It waited too long"
