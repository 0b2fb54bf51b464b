"""Bodies of submissions: any encoding that a model takes on the sync path, and fields that nobody knows."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from api import body as bodies
from api.problems import Problem
from api.routes.management_schemas import AutoscalingBody
from api.schemas import AsyncPredictRequest
from api.unknown_fields import warnings

ONE = TypeAdapter(AsyncPredictRequest)
TEXT = '{"model_input": {"name": "café ☃"}}'


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
)
def test_a_body_may_have_any_encoding_that_json_knows(encoding: str) -> None:
    assert bodies.parse(ONE, TEXT.encode(encoding)).model_input == {"name": "café ☃"}


def test_half_a_surrogate_pair_reaches_the_model_escaped() -> None:
    body = b'{"model_input": "caf\\udce9.png"}'
    value = bodies.parse(ONE, body).model_input
    assert value == json.loads(body)["model_input"]
    assert json.loads(bodies.encoded(value)) == value


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": }', b"{'a': 1}", b"\xff\xfe{", b"[1,]"])
def test_a_body_that_is_no_json_hears_what_a_model_host_would_say(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as said:
        json.loads(body)
    with pytest.raises(Problem, match="Invalid JSON payload: ") as refused:
        bodies.decoded(body)
    assert refused.value.status == 400
    if not isinstance(said.value, UnicodeError):
        assert refused.value.message == f"Invalid JSON payload: {said.value}"


@pytest.mark.parametrize("body", [b"\xe9", b'"\xe9"', b"[" * 5000, b"[" * 100_000])
def test_what_no_parser_takes_is_a_400(body: bytes) -> None:
    with pytest.raises(Problem) as refused:
        bodies.decoded(body)
    assert refused.value.status == 400


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({"model_input": 1, "priority": 1}, []),
    (
        {"model_input": 1, "prioritty": 2},
        ["The field prioritty is unknown and was ignored. Did you mean priority?"],
    ),
    (
        {"model_input": 1, "Webhook_Endpoint": "x"},
        ["The field Webhook_Endpoint is unknown and was ignored. Did you mean webhook_endpoint?"],
    ),
    ({"model_input": 1, "zzz": 2}, ["The field zzz is unknown and was ignored."]),
    (
        {"model_input": 1, "inference_retry_config": {"max_atempts": 1}},
        [
            "The field inference_retry_config.max_atempts is unknown and was ignored."
            " Did you mean max_attempts?"
        ],
    ),
]


@pytest.mark.parametrize(("body", "expected"), CASES)
def test_a_field_that_nobody_knows_is_told(body: dict[str, Any], expected: list[str]) -> None:
    asked = bodies.parse(ONE, json.dumps(body).encode())
    assert warnings([asked]) == expected
    assert asked.retry.max_attempts == 3, "what is unknown changes nothing"


def test_a_thousand_unknown_fields_are_a_short_list_of_short_lines() -> None:
    body = {"model_input": 1, **{f"{'x' * 500}{i}": 1 for i in range(1000)}}
    said = warnings([bodies.validated(ONE, body)])
    assert len(said) == 11
    assert max(len(line.encode()) for line in said) < 200


async def test_complaints_about_a_batch_end_after_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"[" + b",".join([b"{}"] * 80_001) + b"]"  # 240 KB
    looked_at = list[object]()
    validate = ONE.validate_python

    def counting(item: object) -> AsyncPredictRequest:
        looked_at.append(item)
        return validate(item)

    monkeypatch.setattr(ONE, "validate_python", counting)
    with pytest.raises(Problem) as refused:
        await bodies.validated_items(ONE, bodies.decoded(body))
    assert refused.value.status == 400
    assert [part.partition(":")[0] for part in refused.value.message.split("; ")] == [
        f"{place}.model_input" for place in range(bodies.MOST_WRONG)
    ]
    assert len(looked_at) == bodies.MOST_WRONG


def test_items_of_a_batch_are_named_by_their_place() -> None:
    items = [
        bodies.validated(ONE, item) for item in ({"model_input": 1}, {"model_input": 1, "x": 1})
    ]
    assert warnings(items, batch=True) == ["The field [1].x is unknown and was ignored."]


def test_where_baseten_refuses_unknown_fields_the_refusal_guesses() -> None:
    with pytest.raises(Problem) as refused:
        bodies.parse(TypeAdapter(AutoscalingBody), b'{"min_replicas": 1}')
    assert (
        refused.value.message == "min_replicas: there is no such field. Did you mean min_replica?"
    )
