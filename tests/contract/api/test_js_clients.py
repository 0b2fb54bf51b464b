"""The official JavaScript clients against a live stack: OpenAI's, Anthropic's, Vercel's `ai`, and calls as LiveKit's agents make them.

tests/contract/js has their versions and what they ask, all of it in one process of node.
"""

import json
from typing import Any

import pytest

from tests.contract.api.conftest import KEY, Live
from tests.contract.js.run import SOURCE, said_by

HELLO = ["Hello", " ", "there"]
EXPECTED: dict[str, object] = {
    "openai chat": "Hello there",
    "openai chat stream": HELLO,
    "openai chat stream at the model's own address": HELLO,
    "openai embeddings": [1, 2],
    "openai responses stream": ["response.output_text.delta", "response.completed"],
    "anthropic message": "Hello",
    "anthropic stream": ["Hello"],
    "anthropic stream helper": "Hello",
    "anthropic with a token": "Hello",
    "anthropic stream at the model's own address": ["Hello"],
    "ai generateText": "Hello there",
    "ai streamText": HELLO,
    "livekit openai stream": HELLO,
    "livekit openai stream at the model's own address": HELLO,
    "livekit anthropic stream": ["Hello"],
}
REFUSED: dict[str, tuple[str, int, str]] = {
    "openai unknown model": ("NotFoundError", 404, "nobody"),
    "openai wrong key": ("AuthenticationError", 401, "api-key"),
    "anthropic unknown model": ("NotFoundError", 404, "nobody"),
}


@pytest.fixture(scope="module")
def found(live: Live) -> dict[str, Any]:
    """What every case got."""
    return said_by("clients.mjs", live.url, KEY)


def test_no_case_is_left_out(found: dict[str, Any]) -> None:
    assert found.keys() == {*EXPECTED, *REFUSED}


@pytest.mark.parametrize("case", EXPECTED)
def test_a_client_gets_what_the_model_says(found: dict[str, Any], case: str) -> None:
    assert found[case] == {"got": EXPECTED[case]}


@pytest.mark.parametrize("case", REFUSED)
def test_a_client_raises_its_own_error_with_the_reason(found: dict[str, Any], case: str) -> None:
    name, status, said = found[case]["got"]
    assert (name, status) == REFUSED[case][:2]
    assert REFUSED[case][2] in said


def test_the_lock_file_names_every_package_and_no_registry() -> None:
    packages = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    packages.pop("")
    assert all(package["integrity"] and "resolved" not in package for package in packages.values())
