"""The smallest possible Truss: it answers with its input.

Three optional keys make it misbehave on purpose, each only when the input is an object. They are
obeyed in this order and may be combined:

- `delay`: wait so many seconds first, without blocking other requests; a cancel ends the wait.
- `fail`: a text raises `RuntimeError(text)`, as a bug in a model would; an int from 400 to 599
  raises `fastapi.HTTPException` with that status.
- `size`: answer with a string of so many bytes instead of the input.

A value that makes no sense (a negative delay, say) is HTTP 400. The model keeps no state, so it
cannot fail a number of times and then succeed.
"""

import asyncio
from typing import Any, NoReturn

import fastapi


class Model:
    """Answers with its input, see the module's docstring for what else it can do."""

    async def predict(self, model_input: Any) -> Any:
        if not isinstance(model_input, dict):
            return model_input
        if "delay" in model_input:
            await asyncio.sleep(at_least_zero("delay", model_input["delay"], (int, float)))
        if "fail" in model_input:
            fail(model_input["fail"])
        if "size" in model_input:
            return "x" * at_least_zero("size", model_input["size"], (int,))
        return model_input


def at_least_zero(key: str, value: Any, types: tuple[type, ...]) -> Any:
    """The value, if it is a number of these types and not negative; else HTTPException(400)."""
    if type(value) not in types or not value >= 0:
        names = " or ".join(kind.__name__ for kind in types)
        raise fastapi.HTTPException(400, f'Set "{key}" to an {names} of at least 0.')
    return value


def fail(how: Any) -> NoReturn:
    """Fail as a model with a bug does (text), or as one that refuses the input (HTTP status)."""
    if type(how) is int and 400 <= how <= 599:
        raise fastapi.HTTPException(how, f"Failed with status {how}, as asked.")
    if not isinstance(how, str):
        raise fastapi.HTTPException(400, 'Set "fail" to a message or to a status from 400 to 599.')
    raise RuntimeError(how)
