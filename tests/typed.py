"""A command of ours, run in this process, because imports take longer than most commands."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from unittest import mock

import structlog
from click.testing import Result
from typer.testing import CliRunner

from cli.main import app


def typed(arguments: Sequence[str], **how: Any) -> Result:
    """Runs it as `CliRunner.invoke` does. What it chose for its process is forgotten afterwards.

    Its options are context variables. Loggers do not keep how it set logs up: a later test may capture what they say.
    """
    with _logs_as_before():
        return contextvars.copy_context().run(partial(CliRunner().invoke, app, arguments, **how))


@contextlib.contextmanager
def _logs_as_before() -> Iterator[None]:
    before, configure = structlog.get_config(), structlog.configure

    def without_cache(**how: Any) -> None:
        configure(**{**how, "cache_logger_on_first_use": False})

    with mock.patch.object(structlog, "configure", without_cache):
        try:
            yield
        finally:
            configure(**before)
