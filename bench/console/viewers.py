"""People who look at a page: `python -m bench.console.viewers` reads one order as JSON from stdin.

Each logs in with a key of its own, opens the page and its stream of changes, and asks for the live part whenever that says so, with
the same headers as console.js. Prints a line when all look, and what they saw as JSON when a second line comes.
"""

import asyncio
import json
import re
import sys
from dataclasses import asdict, dataclass, field
from time import monotonic

import aiohttp
import uvloop


@dataclass(frozen=True)
class Order:
    """Who looks at what."""

    target: str  # host:port
    page: str
    keys: list[str]


@dataclass
class Seen:
    """What came of it: milliseconds of each answer and of the rendering behind it, and how many of the answers held a page."""

    took: list[float] = field(default_factory=list[float])
    rendered: list[float] = field(default_factory=list[float])
    changed: int = 0
    bytes: int = 0


async def look(order: Order, key: str, seen: Seen, ready: asyncio.Semaphore) -> None:
    """A browser with the page open, until it is cancelled."""
    jar, base = aiohttp.CookieJar(unsafe=True), f"http://{order.target}"
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with aiohttp.ClientSession(base, cookie_jar=jar, timeout=timeout) as session:
        async with session.post("/ui/login", data={"key": key, "next": order.page}) as answer:
            await answer.read()
            assert answer.status == 200, answer.status
        known = ""
        async with session.get("/ui/pulse") as pulse:
            ready.release()
            while line := await pulse.content.readline():
                if not (found := re.fullmatch(rb"data: (\d+)\s*", line)):
                    continue
                headers = {"hx-request": "true", "x-kingpost-pulse": found[1].decode()}
                began = monotonic()
                async with session.get(order.page, headers=headers | ({"x-kingpost-seen": known} if known else {})) as part:  # fmt: skip
                    body = await part.read()
                    assert part.status in (200, 204), part.status
                    known = part.headers.get("x-kingpost-seen", known)
                    timing = part.headers["server-timing"]
                seen.took.append((monotonic() - began) * 1000)
                seen.rendered.append(float(timing.removeprefix("render;dur=")))
                seen.changed += part.status == 200
                seen.bytes += len(body)


async def main() -> None:
    """All of them, until a line comes."""
    order, seen, ready = Order(**json.loads(sys.stdin.readline())), Seen(), asyncio.Semaphore(0)
    looking = [asyncio.create_task(look(order, key, seen, ready)) for key in order.keys]
    waited = asyncio.gather(*[ready.acquire() for _ in order.keys])
    await asyncio.wait([waited, *looking], return_when=asyncio.FIRST_COMPLETED)
    if not waited.done():
        waited.cancel()
        await asyncio.gather(*looking)  # raises what went wrong
    print("looking", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for task in looking:
        if task.done():
            task.result()
        task.cancel()
    print(json.dumps(asdict(seen)), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
