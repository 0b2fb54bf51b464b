"""A proxy that hangs up on the first connections through it: before the answers to POSTs, or after so many bytes of the client."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

REQUESTS = (b"POST ", b"GET ")


@dataclass
class Cutting:
    """The proxy. `after` is the number of bytes; without it, answers to POSTs do not come."""

    target: tuple[str, int]
    cuts: int
    after: int | None = None
    passed: list[bytes] = field(default_factory=list[bytes])  # how the requests began
    gone: bool = False
    ends: list[socket.socket] = field(default_factory=list[socket.socket])

    def serve(self, listening: socket.socket) -> None:
        """Takes connections until the socket is shut down."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                if self.gone:
                    client.close()
                    continue
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server:
            self.ends += (client, server)
            asking = threading.Thread(target=self._ask, args=(client, server), daemon=True)
            asking.start()
            with contextlib.suppress(OSError):
                while (answer := server.recv(1 << 20)) and not self._cut_answer():
                    client.sendall(answer)
            _hang_up(client, server)
            asking.join()

    def leave(self) -> None:
        """Ends every connection, those to come as well, as a server that stops."""
        self.gone = True
        _hang_up(*self.ends)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        count = 0
        with contextlib.suppress(OSError):
            while asked := client.recv(1 << 16):
                if asked.startswith(REQUESTS):
                    self.passed.append(asked)
                server.sendall(asked)
                count += len(asked)
                if self.after is not None and count > self.after and self._cut():
                    break
        _hang_up(client, server)

    def _cut_answer(self) -> bool:
        return self.after is None and self.passed[-1].startswith(b"POST") and self._cut()

    def _cut(self) -> bool:
        if not self.cuts:
            return False
        self.cuts -= 1
        return True


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):  # the other thread was quicker
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutting(url: str, cuts: int, after: int | None = None) -> Iterator[tuple[Cutting, str]]:
    """Such a proxy before the server at that address, and its own address."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Cutting((host, int(port)), cuts, after)
        threading.Thread(target=proxy.serve, args=(listening,), daemon=True).start()
        yield proxy, f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
