"""What is remembered is read once for all who ask at the same moment, and again when it is too old."""

import asyncio
import contextlib
import gc

from tasks.process.remembered import Remembered


class Source:
    """Counts how often it is read; answers when it is let go."""

    def __init__(self) -> None:
        self.reads = 0
        self.let_go = asyncio.Event()
        self.error: Exception | None = None
        self.now = 100.0

    async def read(self, key: str) -> str:
        self.reads += 1
        await self.let_go.wait()
        if self.error:
            raise self.error
        return f"{key}{self.reads}"

    def remembered(self, most: int = 10) -> Remembered[str, str]:
        return Remembered(self.read, 1.0, most, lambda: self.now)


async def test_many_who_ask_at_once_cost_one_read() -> None:
    source = Source()
    remembered = source.remembered()
    asking = [asyncio.create_task(remembered.get("a")) for _ in range(20)]
    await asyncio.wait(asking, timeout=0)
    source.let_go.set()
    assert await asyncio.gather(*asking) == ["a1"] * 20
    assert await remembered.get("a") == "a1"
    source.now += 1.1
    assert await remembered.get("a") == "a2"


async def test_a_caller_who_leaves_does_not_end_the_read_of_the_others() -> None:
    source = Source()
    remembered = source.remembered()
    leaver, stayer = (asyncio.create_task(remembered.get("a")) for _ in range(2))
    await asyncio.wait([leaver, stayer], timeout=0)
    leaver.cancel()
    await asyncio.wait([leaver])
    source.let_go.set()
    assert leaver.cancelled()
    assert await stayer == "a1"


async def test_an_error_goes_to_all_and_is_not_remembered() -> None:
    source = Source()
    source.error = ValueError("no")
    source.let_go.set()
    remembered = source.remembered()
    said = await asyncio.gather(remembered.get("a"), remembered.get("a"), return_exceptions=True)
    assert [str(error) for error in said] == ["no", "no"]
    source.error = None
    assert await remembered.get("a") == "a2"


async def test_the_memory_is_bounded() -> None:
    source = Source()
    source.let_go.set()
    remembered = source.remembered(most=3)
    for key in ("a", "b", "c", "d", "e", "a"):
        await remembered.get(key)
    assert source.reads == 6, "the first ones were dropped"


async def test_an_error_that_nobody_waits_for_any_more_is_no_noise() -> None:
    source = Source()
    source.error = ValueError("no")
    remembered = source.remembered()
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    leaver = asyncio.create_task(remembered.get("a"))
    await asyncio.wait([leaver], timeout=0)
    leaver.cancel()
    await asyncio.wait([leaver])
    source.let_go.set()
    with contextlib.suppress(ValueError):  # waits for the read that is still on its way
        await remembered.get("a")
    gc.collect()
    assert (source.reads, said) == (1, [])


async def test_what_is_full_forgets_what_was_read_the_longest_time_ago() -> None:
    source = Source()
    source.let_go.set()
    remembered = source.remembered(most=3)
    for key in "abc":
        await remembered.get(key)
    source.now += 1.1
    assert await remembered.get("a") == "a4"  # read again, so it is the newest
    source.now -= 1.0
    await remembered.get("d")
    assert [await remembered.get(key) for key in "acd"] == ["a4", "c3", "d5"]
    assert await remembered.get("b") == "b6"


async def test_reading_again_what_is_known_forgets_nothing_else() -> None:
    source = Source()
    source.let_go.set()
    remembered = source.remembered(most=3)
    for key in "abc":
        await remembered.get(key)
    source.now += 1.1
    assert await remembered.get("b") == "b4"
    source.now -= 1.0
    assert await remembered.get("a") == "a1"
