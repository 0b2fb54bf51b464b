"""`kingpost pause` and `kingpost resume`: hold back a model's jobs, and let them run again."""

from typing import Annotated

import typer

from cli.client.operator import operator
from cli.options import AsJson, say

ModelArgument = Annotated[str, typer.Argument(help="A model's name or id.")]


def pause(model: ModelArgument, as_json: AsJson = False) -> None:
    """Holds back a model's queued requests. Running ones finish; new ones are accepted."""
    waiting = operator().pause(model)
    said = f"{model} is paused. Requests that wait: {waiting}. `kingpost resume {model}` lets them run."
    say(as_json, said, model=model, paused=True, waiting=waiting)


def resume(model: ModelArgument, as_json: AsJson = False) -> None:
    """Lets the queued requests of a paused model run again."""
    waiting = operator().resume(model)
    said = f"{model} runs again. Requests that wait: {waiting}."
    say(as_json, said, model=model, paused=False, waiting=waiting)
