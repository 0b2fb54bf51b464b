"""The verbs of stored packages: uploads that are on their way, and packages that nobody needs any more."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from deployments.registry.verbs import SCRIPTS
from tasks.errors import AdmissionError, KingpostError, NotFound
from tasks.settings import Settings
from tasks.store.records import Reply, items, text
from tasks.store.verbs import Argument, ScriptCall

T = TypeVar("T")
MOST_OF_KEY, MOST_OF_ALL = 8, 64  # unfinished uploads
CLAIM_MS = 30_000  # that a sender keeps an upload without a sign of life
DELETE_MS = 60_000  # in which a package is deleted


@dataclass(frozen=True)
class Upload:
    """A package on its way. `active` while somebody sends it."""

    id: str
    content_hash: str
    size: int
    offset: int
    active: bool = False


class UploadsFull(AdmissionError):
    """There are too many unfinished uploads."""


class UploadTaken(KingpostError):
    """Another connection continues this upload now."""


class WrongOffset(KingpostError):
    """The upload goes on at another offset."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"The upload goes on at offset {offset}; send from there.")
        self.offset = offset


def _call(script: str, arguments: list[Argument], read: Callable[[Reply], T]) -> ScriptCall[T]:
    return ScriptCall(script, arguments, read, SCRIPTS)


def open_upload(
    api_key: str, content_hash: str, size: int, settings: Settings
) -> ScriptCall[Upload]:
    """The unfinished upload of a key for this package, or a new one. Reading the reply raises UploadsFull."""

    def read(reply: Reply) -> Upload:
        word, *rest = items(reply)
        if text(word) == "full":
            raise UploadsFull(full_sentence(text(rest[0]), settings))
        upload_id, offset, active = rest
        return Upload(text(upload_id), content_hash, size, int(text(offset)), text(active) == "1")

    limits = (settings.max_upload_bytes_per_key, settings.max_upload_bytes)
    arguments: list[Argument] = [secrets.token_hex(16), api_key, content_hash, size]
    arguments += [int(settings.upload_seconds * 1000), MOST_OF_KEY, MOST_OF_ALL, *limits]
    return _call("open_upload", arguments, read)


def full_sentence(whose: str, settings: Settings) -> str:
    """What to tell somebody for whose upload there is no room: of the `key`, or of `all`."""
    if whose == "key":
        limit = f"{MOST_OF_KEY} with {settings.max_upload_bytes_per_key} bytes"
        return f"This key has too many unfinished uploads (at most {limit}); finish them, or wait until they are dropped."
    limit = f"{MOST_OF_ALL} with {settings.max_upload_bytes} bytes"
    return f"There are too many unfinished uploads (at most {limit}); try again later."


def claim_upload(upload_id: str, api_key: str, sender: str, offset: int) -> ScriptCall[Upload]:
    """Lets a sender append from that offset. Reading the reply raises NotFound, WrongOffset and UploadTaken."""
    return _call(
        "claim_upload",
        [upload_id, api_key, sender, offset, CLAIM_MS],
        lambda reply: _read_upload(upload_id, reply, "claimed"),
    )


def upload(upload_id: str, api_key: str) -> ScriptCall[Upload]:
    """An upload of that key. Reading the reply raises NotFound."""
    return _call(
        "claim_upload",
        [upload_id, api_key, "", 0, 0],
        lambda reply: _read_upload(upload_id, reply, "elsewhere"),
    )


def _read_upload(upload_id: str, reply: Reply, expected: str) -> Upload:
    word, *rest = (text(part) for part in items(reply))
    if word == "missing":
        raise NotFound("There is no such upload; begin again with POST /v1/packages.")
    if word == "checked":
        raise UploadTaken("The upload is complete and is being checked; ask again later.")
    content_hash, size, offset = rest
    if word != expected:
        raise WrongOffset(int(offset))
    return Upload(upload_id, content_hash, int(size), int(offset))


def advance_upload(upload_id: str, sender: str, size: int = 0, ref: str = "") -> ScriptCall[bool]:
    """Appends a piece, or only shows that the sender is there. False if another sender has taken the upload."""
    return _call("advance_upload", [upload_id, sender, size, ref, CLAIM_MS], _says("held"))


def leave_upload(upload_id: str, sender: str) -> ScriptCall[bool]:
    """The sender has left; another one may go on at once."""
    return _call("advance_upload", [upload_id, sender, 0, "", 0], _says("held"))


def upload_pieces(upload_id: str) -> ScriptCall[list[str]]:
    """The payloads of an upload, in their order."""
    return _call("upload_pieces", [upload_id], lambda reply: [text(ref) for ref in items(reply)])


def close_upload(upload_id: str) -> ScriptCall[str]:
    """Forgets an upload."""
    return _call("close_upload", [upload_id], text)


def keep_package(content_hash: str) -> ScriptCall[bool]:
    """Somebody needs the stored package now. False while it is being deleted."""
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
    """The package was deleted."""
    return _call("dropped_package", [content_hash], text)


def _says(word: str) -> Callable[[Reply], bool]:
    return lambda reply: text(reply) == word
