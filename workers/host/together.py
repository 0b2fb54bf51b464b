"""Runs several chainlets in one model host, each with a thread and an event loop of its own.

A single loop would deadlock. An async chainlet may call one whose `run_remote` is sync. Truss's stub then blocks the loop of the
caller until the other chainlet answers.
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
    """Serves until SIGTERM or SIGINT. It runs in the main thread, because only that one gets signals."""

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
        # it could not start, and the other chainlets cannot work without it
        if not server.should_exit:
            event("server.ended", "error")
            sys.stdout.flush()
            os._exit(1)
