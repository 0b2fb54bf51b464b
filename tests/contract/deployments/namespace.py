"""A command in a network namespace of its own that reaches Valkey over its own loopback, which can be cut.

`unshare -n python -m tests.contract.deployments.namespace SOCKET PORT COMMAND...`: brings the loopback up, forwards
127.0.0.1:PORT to Valkey's Unix socket, and runs the command. SIGUSR1 takes the loopback down, SIGUSR2 up again.
"""

import asyncio
import signal
import subprocess
import sys


def loopback(state: str) -> None:
    """`up` or `down`."""
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies one way until the end."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(socket: str, port: int, command: list[str]) -> int:
    """The command's exit code."""
    loop = asyncio.get_running_loop()
    loopback("up")
    loop.add_signal_handler(signal.SIGUSR1, loopback, "down")
    loop.add_signal_handler(signal.SIGUSR2, loopback, "up")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_unix_connection(socket)
        await asyncio.gather(forward(reader, store_writer), forward(store_reader, writer))

    await asyncio.start_server(connected, "127.0.0.1", port)
    process = await asyncio.create_subprocess_exec(*command)
    loop.add_signal_handler(signal.SIGTERM, process.terminate)
    return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
