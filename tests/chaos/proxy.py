"""A TCP proxy before Valkey that loses replies after the command ran, or cuts the line."""

import contextlib
import random
import socket
import threading
from dataclasses import dataclass, field

from cli.stack.ports import free_port

CHUNK = 65536


@dataclass
class LossyProxy:
    """Drops the connection instead of a reply, with probability `loss`; `cut` severs everything for a while."""

    target_port: int
    loss: float = 0.0
    seed: int = 1
    port: int = field(default_factory=free_port)
    lost: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._open = threading.Event()
        self._open.set()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """What KINGPOST_REDIS_URL takes."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """From now on nothing passes and nobody connects."""
        self._open.clear()
        for pair in list(self._pairs):
            self._close(pair)

    def heal(self) -> None:
        """The line is back."""
        self._open.set()

    def stop(self) -> None:
        """Ends the proxy."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._open.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            pair = (client, server)
            self._pairs.add(pair)
            for source, sink, lossy in ((client, server, False), (server, client, True)):
                args = (pair, source, sink, lossy)
                threading.Thread(target=self._pump, args=args, daemon=True).start()

    def _pump(
        self,
        pair: tuple[socket.socket, socket.socket],
        source: socket.socket,
        sink: socket.socket,
        lossy: bool,
    ) -> None:
        try:
            while data := source.recv(CHUNK):
                if lossy and self._rng.random() < self.loss:
                    self.lost += 1
                    break
                sink.sendall(data)
        except OSError:
            pass  # either end is gone: so is the other
        self._close(pair)

    def _close(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):  # closed already
                end.shutdown(socket.SHUT_RDWR)
            end.close()
