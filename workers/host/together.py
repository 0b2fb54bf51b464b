"""Several chainlets in one model host: a thread and an event loop for each.

One loop for all would deadlock: an async chainlet may call one whose `run_remote` is sync, and Truss's stub then
blocks the caller's loop until the answer comes from the other.
"""

import os
import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType

import uvicorn

from workers.host.logs import chainlet, event


def serve_together(servers: Mapping[str, uvicorn.Server]) -> None:
    """Serves until SIGTERM or SIGINT; called in the main thread, which alone hears of signals."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        for server in servers.values():
            server.handle_exit(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    threads = [
        threading.Thread(target=_serve, args=(name, server), name=name, daemon=True)
        for name, server in servers.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _serve(name: str, server: uvicorn.Server) -> None:
    chainlet.set(name)
    try:
        server.run()
    finally:
        if not server.should_exit:  # it could not start: half a process helps nobody
            event("server.ended", "error")
            sys.stdout.flush()
            os._exit(1)
