"""Kingpost's Python client: `from kingpost import Client, AsyncClient`. It imports nothing of the server.

The package also holds the entry point of the `kingpost` command, because `kingpost` is the only top-level name of ours that
other projects do not use.
"""

# This file imports nothing when it runs. It runs before `kingpost.__main__` takes foreign folders off the import path, and one of them
# may hold a typing.py.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kingpost.client import AsyncClient, AsyncJob, Client, Job
    from kingpost.errors import (
        ApiError,
        BadSignature,
        Conflict,
        Error,
        Forbidden,
        JobFailed,
        NotConfigured,
        NotFinished,
        NotFound,
        OutOfMemory,
        RateLimited,
        StreamFailed,
        TimedOut,
        TooLarge,
        Unauthorized,
        Unavailable,
        Unreachable,
    )
    from kingpost.records import FileRef
    from kingpost.webhooks import verify_webhook

# Each name and its module. They are imported on first use, so that the command starts without httpx.
_MODULE_OF = {
    name: module
    for module, names in {
        "kingpost.client": "AsyncClient AsyncJob Client Job",
        "kingpost.errors": "ApiError BadSignature Conflict Error Forbidden JobFailed NotConfigured NotFinished NotFound"
        " OutOfMemory RateLimited StreamFailed TimedOut TooLarge Unauthorized Unavailable Unreachable",
        "kingpost.records": "FileRef",
        "kingpost.webhooks": "verify_webhook",
    }.items()
    for name in names.split()
}

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "BadSignature",
    "Client",
    "Conflict",
    "Error",
    "FileRef",
    "Forbidden",
    "Job",
    "JobFailed",
    "NotConfigured",
    "NotFinished",
    "NotFound",
    "OutOfMemory",
    "RateLimited",
    "StreamFailed",
    "TimedOut",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "verify_webhook",
]


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module 'kingpost' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
