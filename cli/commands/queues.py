"""`kingpost pause` and `kingpost resume`: hold back a model's jobs, and let them run again."""

from typing import Annotated

import typer

from cli.client.operator import operator

ModelArgument = Annotated[str, typer.Argument(help="A model's name or id.")]


def pause(model: ModelArgument) -> None:
    """Holds back a model's queued requests. Running ones finish; new ones are accepted."""
    waiting = operator().pause(model)
    print(
        f"{model} is paused. Requests that wait: {waiting}. `kingpost resume {model}` lets them run."
    )


def resume(model: ModelArgument) -> None:
    """Lets the queued requests of a paused model run again."""
    waiting = operator().resume(model)
    print(f"{model} runs again. Requests that wait: {waiting}.")
