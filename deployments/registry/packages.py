"""The verbs that keep and delete stored packages."""

from collections.abc import Callable
from typing import Literal, TypeVar, cast

from deployments.registry.verbs import SCRIPTS
from tasks.store.records import Reply, text
from tasks.store.verbs import Argument, ScriptCall

T = TypeVar("T")
DELETE_MS = 60_000  # for which a package counts as being deleted


def _call(script: str, arguments: list[Argument], read: Callable[[Reply], T]) -> ScriptCall[T]:
    return ScriptCall(script, arguments, read, SCRIPTS)


def keep_package(content_hash: str) -> ScriptCall[bool]:
    """Keeps a stored package, because it is needed now. False while it is being deleted."""
    return _call("keep_package", [content_hash], _says("kept"))


def drop_package(
    content_hash: str, milliseconds: int
) -> ScriptCall[Literal["used", "waits", "going"]]:
    """Whether a stored package may be deleted now, because nothing has used it for that long."""
    return _call(
        "drop_package",
        [content_hash, milliseconds, DELETE_MS],
        lambda reply: cast('Literal["used", "waits", "going"]', text(reply)),
    )


def dropped_package(content_hash: str) -> ScriptCall[str]:
    """Records that the package was deleted, so that it may be stored again."""
    return _call("dropped_package", [content_hash], text)


def _says(word: str) -> Callable[[Reply], bool]:
    return lambda reply: text(reply) == word
