"""`python -m tests.contract.truss.cable SOCKET PORT`: a Unix socket that leads to a port of this machine, for a command in another network namespace."""

import asyncio
import sys

from tests.contract.deployments.namespace import forward


async def main(socket: str, port: int) -> None:
    """Serves for ever."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(forward(reader, far_writer), forward(far_reader, writer))

    server = await asyncio.start_unix_server(connected, socket)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
