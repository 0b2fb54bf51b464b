"""A command of ours, run in this process, because imports take longer than most commands."""

import contextvars
from collections.abc import Sequence
from functools import partial
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from cli.main import app


def typed(arguments: Sequence[str], **how: Any) -> Result:
    """Runs it as `CliRunner.invoke` does. What its options chose is forgotten afterwards: they are context variables."""
    return contextvars.copy_context().run(partial(CliRunner().invoke, app, arguments, **how))
