"""The sync path: chunks as they come, callers that leave, hosts that die, sockets, and bodies of 100 MB."""

import itertools
import os
import signal
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live
from tests.memory import MEGABYTE, rss
from tests.processes import ready_replicas


def test_the_model_s_own_error_passes_through_untouched(http: httpx.Client) -> None:
    answer = http.post("/models/echo/production/predict", json={"fail": 418})
    assert answer.status_code == 418
    assert "error" in answer.json()
    assert answer.headers["x-baseten-error-source"] == "04"
    assert len(answer.headers["x-baseten-request-id"]) == 32
    assert answer.headers["x-baseten-model-prediction-attempts"] == "1"


def test_a_model_s_cookie_goes_to_its_caller_and_to_nobody_else(live: Live) -> None:
    for _ in range(3):
        with live.client() as caller:  # each without cookies of its own
            answer = caller.post("/models/talker/production/predict", json={"cookie": True})
        assert (answer.text, answer.headers["set-cookie"]) == ("none", "who=me")


def test_chunks_are_passed_on_as_they_come(live: Live, http: httpx.Client) -> None:
    gate = live.folder / "gate-proxy"
    order = {"stream": ["one", "two"], "gate": str(gate)}
    (live.folder / "gate-proxy.0").touch()
    with http.stream("POST", "/models/talker/production/predict", json=order) as answer:
        chunks = answer.iter_text()
        assert next(chunks) == "one"  # the model waits for its second gate now
        (live.folder / "gate-proxy.1").touch()
        assert next(chunks) == "two"


async def test_a_caller_who_leaves_ends_the_call(live: Live) -> None:
    mark = live.folder / "gone"
    url = live.url + "/models/talker/production/predict"
    headers = {"Authorization": f"Api-Key {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        import asyncio

        call = asyncio.create_task(session.post(url, json={"gone": str(mark)}))
        await asyncio.to_thread(wait_until, Path(str(mark) + ".started").exists, 10)
        call.cancel()
        await asyncio.to_thread(wait_until, mark.exists, 10)


def test_a_host_that_dies_in_the_middle_does_not_hang_the_caller(
    live: Live, http: httpx.Client
) -> None:
    os.kill(live.host_pid("talker"), signal.SIGKILL)
    answer = http.post(
        "/models/talker/production/predict", json={}
    )  # parked until the host is back
    assert answer.status_code == 200
    ready_replicas(live.settings, 3)


def test_100_megabytes_stream_up_in_little_memory(live: Live, http: httpx.Client) -> None:
    api = live.processes["api"].pid
    http.post("/models/echo/production/predict", json=1)
    before = rss(api)
    zeros = (b"0" * MEGABYTE for _ in range(95))
    body = itertools.chain([b'"'], zeros, [b'"'])
    url = "/models/echo/production/predict"
    with http.stream("POST", url, content=body, timeout=120) as answer:
        received = sum(len(chunk) for chunk in answer.iter_bytes())
    assert answer.status_code == 200
    assert received == 95 * MEGABYTE + 2
    assert rss(api) - before < 20 * MEGABYTE


def test_100_megabytes_stream_down_in_little_memory(live: Live, http: httpx.Client) -> None:
    api, url = live.processes["api"].pid, "/models/talker/production/predict"
    http.post(url, json={"megabytes": 1})
    before, worst, received = rss(api), 0, 0
    with http.stream("POST", url, json={"megabytes": 100}, timeout=120) as answer:
        for chunk in answer.iter_raw():
            received += len(chunk)
            worst = max(worst, rss(api))
    assert received == 100 * MEGABYTE
    assert worst - before < 20 * MEGABYTE


def test_a_sync_body_above_the_cap_is_413(http: httpx.Client) -> None:
    for content in (b"0" * 100_000_001, (b"0" * MEGABYTE for _ in range(97))):
        answer = http.post("/models/echo/production/predict", content=content, timeout=60)
        assert (answer.status_code, answer.json()["error_code"]) == (413, "payload_too_large")


async def test_a_websocket_carries_both_ways_and_closes_with_the_model_s_code(live: Live) -> None:
    headers = {"Authorization": f"Api-Key {KEY}"}
    url = live.url + "/models/socket/production/websocket"
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.ws_connect(url, max_msg_size=0) as socket:
            await socket.send_str("héllo")
            assert await socket.receive_str() == "héllo"
            await socket.send_bytes(b"\x00" * MEGABYTE)
            assert len(await socket.receive_bytes()) == MEGABYTE
            await socket.send_str("close 4321")
            assert (await socket.receive()).data == 4321
        async with session.ws_connect(url) as socket:
            await socket.send_str("raise")
            assert (await socket.receive()).data == 1011


async def test_a_websocket_without_a_key_is_refused(live: Live) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(live.url + "/models/socket/production/websocket")
        assert refused.value.status == 401
