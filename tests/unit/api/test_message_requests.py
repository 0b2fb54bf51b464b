"""The list of a message batch, cut anywhere: each request becomes a line, and what is no list of requests is refused."""

import json
import random

import pytest

from api.routes.batches.message_requests import MessageRequests, NoRequests


def lines(body: bytes, *cuts: int, most: int = 100) -> list[dict[str, object]]:
    reader, found = MessageRequests(most), list[bytes]()
    for begin, end in zip((0, *cuts), (*cuts, len(body)), strict=True):
        found += reader.feed(body[begin:end])
    reader.end()
    assert reader.count == len(found)
    return [json.loads(line) for line in found]


TEXTS = ['a "quote" and \\ and \\"', "brackets ]}[{", "wörld\n", "", 'requests": [']
REQUESTS = [
    {"custom_id": f"r-{number}", "params": {"model": "m", "messages": [{"content": text}]}}
    for number, text in enumerate(TEXTS)
]
EXPECTED = [
    {
        "custom_id": request["custom_id"],
        "method": "POST",
        "url": "/v1/messages",
        "body": request["params"],
    }
    for request in REQUESTS
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_body_may_be_cut_anywhere(indent: int | None, ascii_only: bool) -> None:
    said = {"about": {"requests": [1]}, "requests": REQUESTS, "more": ["requests", {}]}
    body = json.dumps(said, indent=indent, ensure_ascii=ascii_only).encode()
    assert lines(body) == EXPECTED
    assert lines(body, *range(1, len(body))) == EXPECTED
    drawn = random.Random(7)
    for _ in range(50):
        assert lines(body, *sorted(drawn.sample(range(1, len(body)), 5))) == EXPECTED


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"{}", "no JSON object"),
        (b'{"requests": [', "no JSON object"),
        (b'{"requests": {}}', "no JSON object"),
        (b'{"requests": []}', "at least one"),
        (b'{"requests": [1]}', "objects"),
        (b'{"requests": ["a"]}', "objects"),
        (b'{"requests": [{"custom_id": "a", "params": {}} 7]}', "objects"),
        (b'{"requests": [[]]}', "custom_id"),
        (b'{"requests": [{]}]}', "no JSON"),
        (b'{"requests": [{"custom_id": "a b", "params": {}}]}', "requests.0.custom_id"),
        (b'{"requests": [{"custom_id": "a"}]}', "requests.0.params"),
        (
            b'{"requests": [{"custom_id": "a", "params": {}}, {"custom_id": "a", "params": {}}]}',
            "requests.1.custom_id: another",
        ),
    ],
)
def test_what_is_no_list_of_requests_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(NoRequests, match=why):
        lines(body)


def test_too_many_and_too_long_requests_are_refused() -> None:
    body = json.dumps({"requests": REQUESTS}).encode()
    with pytest.raises(NoRequests, match="4 requests"):
        lines(body, most=4)
    long = json.dumps({"requests": [{"custom_id": "a", "params": {"x": "ö" * (2 << 20)}}]})
    with pytest.raises(NoRequests, match="bytes"):
        lines(long.encode(), 1 << 20)
