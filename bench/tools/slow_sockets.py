"""Clients that never finish what they say, a byte a second each: `python -m bench.tools.slow_sockets PORT COUNT`.

Prints a line when all are connected; runs until it is ended, 60 s at the most.
"""

import asyncio
import sys

HEAD = b"POST /production/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
SECONDS = 60.0


async def slow_client(port: int, connected: asyncio.Semaphore) -> None:
    """One client; when it is cut off it comes again, as an attacker would."""
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        connected.release()
        while not writer.is_closing():
            await asyncio.sleep(1)
            writer.write(b"x")


async def main(port: int, count: int) -> None:
    """Starts them evenly over a second, so that they do not speak in chorus."""
    connected = asyncio.Semaphore(0)
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(slow_client(port, connected))
            await asyncio.sleep(1 / count)
        for _ in range(count):
            await connected.acquire()
        print("connected", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
