"""The one field of a large body: found without the tree, in turns of the loop."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.problems import Problem
from api.top_level import Reader

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def found(body: bytes) -> object:
    return asyncio.run(Reader(body).text_of("model"))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text() | st.just("model"), VALUES), st.sampled_from([None, 1]))
def test_it_finds_what_a_parser_finds(said: dict[str, object], indent: int | None) -> None:
    model = said.get("model")
    body = json.dumps(said, indent=indent).encode()
    assert found(body) == (model if isinstance(model, str) else None)


@pytest.mark.parametrize(
    "unit", [b"[],", b'{"a":1},', b'"x",', b"1,", b"[[[1]]],", b'"\\n",', b'{"a":{"b":[]}},']
)
async def test_a_bomb_lets_others_run(unit: bytes) -> None:
    body = b'{"x":[' + unit * (2_000_000 // len(unit)) + b'0],"model":"m"}'
    loop, turns = asyncio.get_running_loop(), 0

    def others() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(others)

    others()
    assert await Reader(body).text_of("model") == "m"
    assert turns >= 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"model"',
        b"{",
        b'{"model',
        b'{"model":"x',
        b'{"a":[',
        b"{1:2}",
        b'{"a":' + b"[" * 200,
    ],
)
def test_what_is_no_object_is_a_400(body: bytes) -> None:
    with pytest.raises(Problem) as refused:
        found(body)
    assert refused.value.status == 400
