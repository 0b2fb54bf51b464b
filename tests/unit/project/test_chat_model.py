"""The parts of models/extra/chat that need no weights: what a body asks for, and text that comes token by token."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGES = Path(__file__).parents[3] / "models" / "extra" / "chat" / "packages"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def parts() -> Iterator[tuple[ModuleType, ModuleType]]:
    """Its modules `asking` and `writing`."""
    sys.path.insert(0, str(PACKAGES))
    try:
        yield tuple(__import__(name) for name in ("asking", "writing"))  # type: ignore[misc]
    finally:
        sys.path.remove(str(PACKAGES))
        for name in ("asking", "writing"):
            sys.modules.pop(name, None)


class Bytes:
    """A tokenizer whose tokens are bytes."""

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return bytes(tokens).decode(errors="replace")


def written(parts: Any, text: str, *stops: str) -> list[str]:
    """What is shown after each byte of the text, and at its end."""
    writing = parts[1].Writing(Bytes(), stops)
    shown: list[str] = []
    for token in text.encode():
        shown.append(writing.add(token))
        if writing.stopped:
            return shown
    return [*shown, writing.rest()]


def test_text_comes_at_once_but_for_half_characters(parts: Any) -> None:
    assert written(parts, "ab") == ["a", "b", ""]
    assert written(parts, "é🎉") == ["", "é", "", "", "", "🎉", ""]
    writing = parts[1].Writing(Bytes(), ())
    assert (writing.add(0xF0), writing.rest()) == ("", "\ufffd")  # it was cut off


def test_a_stop_sequence_ends_the_text_and_is_never_shown_in_part(parts: Any) -> None:
    assert written(parts, "one\n\ntwo", "\n\n") == ["o", "n", "e", "", ""]
    assert written(parts, "a\nb", "\n\n") == ["a", "", "\nb", ""]
    assert "".join(written(parts, "a\n", "\n\n")) == "a\n"  # held back until the end
    assert "".join(written(parts, "the END of it", "END", "THE")) == "the "
    assert "".join(written(parts, "aab", "aab", "ab")) == ""
    assert "".join(written(parts, "xaay", "aab")) == "xaay"


def test_what_a_body_asks_for(parts: Any) -> None:
    asked = parts[0].asked_in({"messages": HI})
    assert (asked.temperature, asked.top_p, asked.seed, asked.stop) == (1, 1, None, ())
    body = {
        "model": "chat", "stream": True, "stream_options": {"include_usage": True}, "seed": 3, "stop": "x",
        "max_completion_tokens": 7, "temperature": 0, "n": 1, "user": "me", "tools": [], "logit_bias": None,
    }  # fmt: skip
    parted = {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]}  # fmt: skip
    asked = parts[0].asked_in({**body, "messages": [parted, *HI]})
    assert asked.messages == [{"role": "system", "content": "be brief"}, *HI]
    assert (asked.stream, asked.include_usage, asked.max_tokens) == (True, True, 7)
    assert (asked.seed, asked.stop, asked.temperature) == (3, ("x",), 0)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"seed": "x"}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stream_options": 1}, "stream_options"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_it_cannot_obey_is_refused_by_name(parts: Any, more: Any, param: str) -> None:
    from fastapi import HTTPException

    with pytest.raises(HTTPException) as refused:
        parts[0].asked_in({"messages": HI, **more})
    detail: Any = refused.value.detail
    assert (refused.value.status_code, detail["param"]) == (400, param)
    assert detail["message"].startswith(f"{param}: ")
