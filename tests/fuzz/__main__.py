"""`python -m tests.fuzz CASES [FIRST]`: so many mutated answers, each from the number of its case."""

import asyncio
import random
import sys
import time

from tests.fuzz.answers import check


async def main(cases: int, first: int) -> None:
    """Ends with the first case that is wrong; its number makes it again."""
    began = time.monotonic()
    for number in range(first, first + cases):
        try:
            await check(random.Random(number))
        except BaseException:
            print(f"case {number} is wrong", flush=True)
            raise
        if (number + 1 - first) % 100_000 == 0:
            print(f"{number + 1 - first} cases, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    count, *rest = map(int, sys.argv[1:])
    asyncio.run(main(count, rest[0] if rest else 0))
