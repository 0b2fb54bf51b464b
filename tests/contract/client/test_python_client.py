"""`kingpost.Client` and `AsyncClient` on a real stack: what the page does not show."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from kingpost import AsyncClient, Client, NotFinished, StreamFailed, Unauthorized, Unreachable
from tests.conditions import wait_until
from tests.contract.client.conftest import Shell, Stack
from tests.cutting import cutting

pytestmark = pytest.mark.stack


def test_a_submission_whose_answers_are_lost_is_queued_once(stack: Stack) -> None:
    with Client(stack.url, stack.key) as direct, cutting(stack.url, 2) as (proxy, url):
        before = {row.request_id for row in direct.jobs.every()}
        job = Client(url, stack.key).submit("hello", {"name": "Once"})
        assert sum(request.startswith(b"POST") for request in proxy.passed) == 3
        assert job.result() == {"text": "Hello, Once!"}
        assert {row.request_id for row in direct.jobs.every()} - before == {job.id}


async def test_the_same_with_asyncio(stack: Stack) -> None:
    with cutting(stack.url, 1) as (proxy, url):
        async with AsyncClient(url, stack.key) as client:
            job = await client.submit("hello", {"name": "Once"})
            assert sum(request.startswith(b"POST") for request in proxy.passed) == 2
            assert await job.result() == {"text": "Hello, Once!"}
            assert [event.kind async for event in job.events()][-1] == "done"
            rows = [row async for row in client.jobs.every()]
            assert rows[0].request_id == job.id


def test_a_model_whose_answer_is_lost_is_not_called_again(stack: Stack) -> None:
    with cutting(stack.url, 1) as (proxy, url), pytest.raises(Unreachable, match="broke off"):
        Client(url, stack.key).run("hello", {"name": "Twice"})
    assert len(proxy.passed) == 1


def test_models_deployments_and_environments(stack: Stack) -> None:
    with Client(stack.url, stack.key) as client:
        (deployment,) = client.deployments.list("counter")
        assert deployment == client.deployments.get("counter", deployment.id)
        assert deployment.is_production and deployment.autoscaling_settings["max_replica"] == 1
        assert client.deployments.promote("counter", deployment.id).id == deployment.id
        assert client.models.get("counter").production_deployment_id == deployment.id
        (environment,) = client.models.environments("counter")
        assert environment.current_deployment == client.deployments.get("counter")
        assert client.models.environment("counter", "production").name == "production"
        assert client.deployments.activate("counter", deployment.id) is False
        by_id = client.run("counter", {"upto": 1}, deployment=deployment.id)
        assert by_id in ("1.\n", b"1.\n")


async def test_streams_can_be_left_early_and_a_client_is_shared(stack: Stack) -> None:
    with Client(stack.url, stack.key) as client:
        chunks = client.stream("counter", {"upto": 1000})
        assert next(chunks).startswith("1")
        outputs = [client.run("hello", {"name": str(number)}) for number in range(3)]
        assert len(outputs) == 3
    async with AsyncClient(stack.url, stack.key) as client:
        async for text in client.stream("counter", {"upto": 1000}):
            assert text.startswith("1")
            break
        both = await asyncio.gather(*(client.run("hello", {"name": name}) for name in "ab"))
        assert [said["text"] for said in both] == ["Hello, a!", "Hello, b!"]


def test_a_wrong_key_and_a_wait_that_is_too_short(stack: Stack) -> None:
    with pytest.raises(Unauthorized, match=f"{stack.url} refuses this key"):
        Client(stack.url, "kp_wrong").models.list()
    with Client(stack.url, stack.key) as client:
        client.deployments.deactivate("counter", "production")
        counter = partial(client.deployments.get, "counter")
        wait_until(lambda: counter().status == "INACTIVE", 60, "its replica stays")
        job = client.submit("counter", {"upto": 1})
        assert job.warnings
        with pytest.raises(NotFinished, match="is QUEUED after 0 s"):
            job.wait(timeout=0)
        assert job.set_priority(2).priority == 2
        assert job.cancel().canceled
        client.deployments.activate("counter", "production")


async def test_a_file_is_uploaded_with_asyncio_and_belongs_into_an_input(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" * 10)
    seen: list[tuple[int, int]] = []
    async with AsyncClient(stack.url, stack.key) as client:
        ref = await client.upload(file, progress=lambda done, total: seen.append((done, total)))
        assert (ref.size, ref.content_type) == (80, "image/png")
        assert seen == [(0, 80), (80, 80)]
        assert await client.run("weigher", {"file": ref}) == {"bytes": 80}
        job = await client.submit("weigher", {"file": ref})
        assert await job.result() == {"bytes": 80}
        with pytest.raises(TypeError, match=r"client.upload\(path\)"):
            await client.run("weigher", {"file": file})


def test_a_stream_that_fails_in_the_middle_says_why(stack: Stack, logged_in: Shell) -> None:
    order = {"upto": 5, "fail_at": 3}
    why = "The model failed in the middle of its output: ValueError: lost count"
    with Client(stack.url, stack.key) as client:
        assert _until_it_fails(client.stream("counter", order)) == ("1, 2, ", why)
        with pytest.raises(StreamFailed, match="lost count"):
            client.run("counter", order)
        assert client.run("counter", {"upto": 2}) == b"1, 2.\n"
        chunks = client.stream_bytes("counter", {"upto": 2})
        assert b"".join(chunk.data for chunk in chunks) == b"1, 2.\n"
    plain = stack.shell.type("kingpost keys create --scope inference").strip()
    with Client(stack.url, plain) as client, pytest.raises(StreamFailed, match="may not read why"):
        client.run("counter", order)
    told = logged_in.run("kingpost predict counter -i upto=5 -i fail_at=3")
    assert (told.returncode, told.stdout) == (1, "1, 2, ")
    assert told.stderr == f"{why}; `kingpost logs counter` shows why.\n"


def _until_it_fails(texts: Iterator[str]) -> tuple[str, str]:
    """What came, and why no more did."""
    seen = ""
    try:
        for text in texts:
            seen += text
    except StreamFailed as error:
        return seen, str(error)
    return seen, ""


async def test_an_async_stream_fails_as_well(stack: Stack) -> None:
    async with AsyncClient(stack.url, stack.key) as client:
        texts = client.stream("counter", {"upto": 5, "fail_at": 3})
        with pytest.raises(StreamFailed, match="lost count"):
            [text async for text in texts]


def test_who_does_not_ask_for_frames_gets_a_stream_as_on_baseten(stack: Stack) -> None:
    headers = {"authorization": f"Api-Key {stack.key}"}
    url = f"{stack.url}/models/counter/production/predict"
    answer = httpx.post(url, json={"upto": 5, "fail_at": 3}, headers=headers)
    assert (answer.status_code, answer.text) == (200, "1, 2, ")
    assert not [name for name in answer.headers if "kingpost" in name]
