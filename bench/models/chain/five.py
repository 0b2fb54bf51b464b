"""Five small chainlets: the entrypoint times its calls of the others."""

import asyncio
import time

import truss_chains as chains

OPTIONS = chains.ChainletOptions()
SLOTS = chains.Compute(predict_concurrency=8)


class One(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS, compute=SLOTS)

    async def run_remote(self, number: int) -> int:
        return number + 1


class Two(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS, compute=SLOTS)

    async def run_remote(self, number: int) -> int:
        return number + 2


class Three(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS, compute=SLOTS)

    async def run_remote(self, number: int) -> int:
        return number + 3


class Four(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS, compute=SLOTS)

    async def run_remote(self, number: int) -> int:
        return number + 4


@chains.mark_entrypoint("five")
class Five(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS, compute=SLOTS)

    def __init__(
        self,
        first: One = chains.depends(One),
        two: Two = chains.depends(Two),
        three: Three = chains.depends(Three),
        four: Four = chains.depends(Four),
    ) -> None:
        self._below = (first, two, three, four)

    async def run_remote(self, calls: int, at_once: bool) -> list[float]:
        """Milliseconds of each call, or of each round of one call to all four at once."""
        took: list[float] = []
        for number in range(calls):
            began = time.perf_counter()
            if at_once:
                await asyncio.gather(*(link.run_remote(number) for link in self._below))
            else:
                await self._below[number % 4].run_remote(number)
            took.append((time.perf_counter() - began) * 1000)
        return took
