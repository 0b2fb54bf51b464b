"""A chain of three: the entrypoint orders, one chainlet works, one below it counts what it is asked."""

import asyncio
import contextlib
from typing import Optional

import pydantic
import truss_chains as chains
from fastapi import HTTPException
from wording import shout

OPTIONS = chains.ChainletOptions()


class Item(pydantic.BaseModel):
    name: str
    times: int = 1


class Done(pydantic.BaseModel):
    words: list[str]
    seen_ids: list[Optional[str]] = []


class Count(pydantic.BaseModel):
    calls: int
    most_at_once: int


class Counter(chains.ChainletBase):
    """Counts calls by name; fails the first `failures` of each, and notes how many run at once."""

    remote_config = chains.RemoteConfig(
        compute=chains.Compute(predict_concurrency=16), options=OPTIONS
    )

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}
        self._now = self._most = 0

    async def run_remote(self, name: str, failures: int, seconds: float) -> Count:
        self._calls[name] = self._calls.get(name, 0) + 1
        self._now += 1
        self._most = max(self._most, self._now)
        try:
            if self._calls[name] <= failures:
                raise ConnectionError(f"failure {self._calls[name]} of {name}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), seconds)
            return Count(calls=self._calls[name], most_at_once=self._most)
        finally:
            self._now -= 1


class Worker(chains.ChainletBase):
    remote_config = chains.RemoteConfig(
        name="worker-1", compute=chains.Compute(predict_concurrency=4), options=OPTIONS
    )

    async def run_remote(self, item: Item, problem: str) -> Done:
        if problem == "value":
            raise ValueError(f"{item.name} is no good")
        if problem == "teapot":
            raise HTTPException(status_code=422, detail=f"{item.name} is unprocessable")
        from truss_chains.remote_chainlet.utils import get_chain_request_id

        return Done(words=[shout(item.name)] * item.times, seen_ids=[get_chain_request_id()])


@chains.mark_entrypoint("orders")
class Orders(chains.ChainletBase):
    remote_config = chains.RemoteConfig(
        compute=chains.Compute(predict_concurrency=8), options=OPTIONS
    )

    def __init__(
        self,
        worker: Worker = chains.depends(Worker, use_binary=True),
        counter: Counter = chains.depends(Counter, retries=3, timeout_sec=1.5, concurrency_limit=2),
        context: chains.DeploymentContext = chains.depends_context(),
    ) -> None:
        self._worker, self._counter, self._context = worker, counter, context

    async def run_remote(
        self,
        item: Item,
        problem: str = "",
        failures: int = 0,
        seconds: float = 0.0,
        parallel: int = 0,
        note: str = "default",
    ) -> tuple[Done, str, list[Count]]:
        counted: list[Count] = []
        if problem == "caught":
            try:
                await self._worker.run_remote(item, "value")
            except ValueError as error:
                return Done(words=[type(error).__name__]), str(error), counted
        calls = [self._counter.run_remote(item.name, failures, seconds) for _ in range(parallel)]
        counted = list(await asyncio.gather(*calls))
        done = await self._worker.run_remote(item, problem)
        return done, str(note), counted
