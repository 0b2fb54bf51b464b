"""Writes what somebody changes over the API into the audit log. Every route that changes something makes its change within `audited`."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from api.gateway import authenticate, gateway_of
from api.problems import Problem, of_error, of_validation
from tasks.access.audit import DONE, Change
from tasks.api_keys import ApiKey, Need
from tasks.errors import KingpostError


@contextlib.asynccontextmanager
async def audited(
    connection: HTTPConnection, key: ApiKey, action: str, target: str = ""
) -> AsyncGenerator[Change]:
    """Makes an entry when the change has been made or refused. Until then the caller may set the change's `target`.

    `action` is a kind of thing and what happens to it, such as `deployment.promote`. Raises StoreUnavailable.
    """
    change, result = Change(key.id, key.name, action, target), DONE
    try:
        yield change
    except BaseException as error:
        result = _refusal(error)
        raise
    finally:
        if change.changes:
            await gateway_of(connection).store.run(change.entry(result))


@contextlib.asynccontextmanager
async def steered(
    connection: HTTPConnection, key: ApiKey, action: str, target: str = ""
) -> AsyncGenerator[Change]:
    """The same for changes of requests, which make an entry only for an admin. Other keys change nothing but their own requests."""
    if key.may("admin"):
        async with audited(connection, key, action, target) as change:
            yield change
    else:
        yield Change(key.id, key.name, action, target)


def audits(action: str, need: Need) -> Any:
    """The same as a dependency of a route: checks the key, and takes the parameters of the path as the target."""

    async def change(request: Request) -> AsyncGenerator[Change]:
        key = await authenticate(request, need)
        target = "/".join(map(str, request.path_params.values()))
        async with audited(request, key, action, target) as change:
            yield change

    return Depends(change, scope="function")  # the entry is there before the answer


def _refusal(error: BaseException) -> str:
    match error:
        case Problem():
            return f"{error.status}: {error.message}"
        case KingpostError():
            return _refusal(of_error(error))
        case RequestValidationError():
            return _refusal(of_validation(error))
        case HTTPException():
            return f"{error.status_code}: {error.detail}"
        case _:
            return f"500: {type(error).__name__}"
