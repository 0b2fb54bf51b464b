"""`kingpost.Client` and `AsyncClient` on a real stack: what the page does not show."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from kingpost import AsyncClient, Client, NotFinished, Unauthorized, Unreachable
from tests.conditions import wait_until
from tests.contract.client.conftest import Stack


@dataclass
class Cutting:
    """A proxy that passes requests on and cuts the connection before the first `cuts` answers to a POST."""

    target: tuple[str, int]
    cuts: int
    passed: list[bytes] = field(default_factory=list[bytes])

    def serve(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server, contextlib.suppress(OSError):
            asking = threading.Thread(target=self._ask, args=(client, server), daemon=True)
            asking.start()
            while answer := server.recv(1 << 20):
                if self.passed[-1].startswith(b"POST") and self.cuts:
                    self.cuts -= 1
                    break
                client.sendall(answer)
            for end in (client, server):  # or the thread that reads would keep them open
                end.shutdown(socket.SHUT_RDWR)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while request := client.recv(1 << 20):
                if request.startswith((b"POST ", b"GET ")):
                    self.passed.append(request)
                server.sendall(request)


@contextlib.contextmanager
def cutting(stack: Stack, cuts: int) -> Iterator[tuple[Cutting, str]]:
    host, port = stack.url.removeprefix("http://").split(":")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Cutting((host, int(port)), cuts)
        threading.Thread(target=proxy.serve, args=(listening,), daemon=True).start()
        yield proxy, f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def test_a_submission_whose_answers_are_lost_is_queued_once(stack: Stack) -> None:
    with Client(stack.url, stack.key) as direct, cutting(stack, 2) as (proxy, url):
        before = {row.request_id for row in direct.jobs.every()}
        job = Client(url, stack.key).submit("hello", {"name": "Once"})
        assert sum(request.startswith(b"POST") for request in proxy.passed) == 3
        assert job.result() == {"text": "Hello, Once!"}
        assert {row.request_id for row in direct.jobs.every()} - before == {job.id}


async def test_the_same_with_asyncio(stack: Stack) -> None:
    with cutting(stack, 1) as (proxy, url):
        async with AsyncClient(url, stack.key) as client:
            job = await client.submit("hello", {"name": "Once"})
            assert sum(request.startswith(b"POST") for request in proxy.passed) == 2
            assert await job.result() == {"text": "Hello, Once!"}
            assert [event.kind async for event in job.events()][-1] == "done"
            rows = [row async for row in client.jobs.every()]
            assert rows[0].request_id == job.id


def test_a_model_whose_answer_is_lost_is_not_called_again(stack: Stack) -> None:
    with cutting(stack, 1) as (proxy, url), pytest.raises(Unreachable, match="broke off"):
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
