"""Two chainlets that say how many of their calls ran at once."""

import asyncio
import threading

import truss_chains as chains

OPTIONS = chains.ChainletOptions()


class Narrow(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS)

    def __init__(self) -> None:
        self._now = self._most = 0

    async def run_remote(self, seconds: float) -> int:
        """Less than 0: blocks its event loop for so long."""
        threading.Event().wait(max(-seconds, 0))
        self._now += 1
        self._most = max(self._most, self._now)
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=max(seconds, 0))
        self._now -= 1
        return self._most


class Wide(chains.ChainletBase):
    """Sync: its calls run in threads."""

    remote_config = chains.RemoteConfig(
        compute=chains.Compute(predict_concurrency=3), options=OPTIONS
    )

    def __init__(self) -> None:
        self._now = self._most = 0
        self._lock = threading.Lock()

    def run_remote(self, seconds: float) -> int:
        with self._lock:
            self._now += 1
            self._most = max(self._most, self._now)
        threading.Event().wait(seconds)
        with self._lock:
            self._now -= 1
        return self._most


@chains.mark_entrypoint("limits")
class Limits(chains.ChainletBase):
    remote_config = chains.RemoteConfig(
        compute=chains.Compute(predict_concurrency=8), options=OPTIONS
    )

    def __init__(
        self, narrow: Narrow = chains.depends(Narrow), wide: Wide = chains.depends(Wide)
    ) -> None:
        self._narrow, self._wide = narrow, wide

    async def run_remote(self, which: str, calls: int) -> list[int]:
        if which == "narrow":
            return list(
                await asyncio.gather(*(self._narrow.run_remote(0.05) for _ in range(calls)))
            )
        if which == "one by one":
            return [await self._narrow.run_remote(0.05) for _ in range(calls)]
        loop = asyncio.get_running_loop()
        asked = [loop.run_in_executor(None, self._wide.run_remote, 0.1) for _ in range(calls)]
        return list(await asyncio.gather(*asked))
