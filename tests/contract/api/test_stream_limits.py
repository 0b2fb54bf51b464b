"""How many streams a key may have open, also if it asks for all of them at once."""

import asyncio

import httpx
import pytest

from api.routes.control.logs import MOST_VIEWERS
from api.routes.listening import MOST
from tests.contract.api.conftest import Live


@pytest.mark.parametrize(
    ("path", "most", "scope"),
    [
        ("/v1/webhooks/listen", MOST, "inference"),
        ("/v1/logs/events?limit=0", MOST_VIEWERS, "deploy"),
    ],
    ids=["listen", "logs"],
)
async def test_no_burst_opens_more_streams_than_the_limit(
    live: Live, path: str, most: int, scope: str
) -> None:
    headers = {"Authorization": f"Api-Key {live.new_key(scope=scope)}"}
    wanted = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=live.url, headers=headers, timeout=30, limits=wanted
    ) as client:
        asked = [client.build_request("GET", path) for _ in range(most + 20)]
        answers = await asyncio.gather(*(client.send(each, stream=True) for each in asked))
        found = [answer.status_code for answer in answers]
        for answer in answers:
            await answer.aclose()
    assert (found.count(200), found.count(429)) == (most, 20)
