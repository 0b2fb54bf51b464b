"""The verbs of transfers: packages that come as an object in parts, as clients of S3 send them.

A transfer has a secret, with which its client signs. It counts as an upload, so that the limits of uploads hold for both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast

from tasks.errors import NotFound
from tasks.files.verbs import FILES, MOST_OF_ALL, MOST_OF_KEY, full
from tasks.settings import Settings
from tasks.store.records import Reply, items, text
from tasks.store.verbs import Argument, ScriptCall

T = TypeVar("T")
Purpose = Literal["package", "source"]  # the source of a chain is checked and not kept
LASTS_MS = 3_600_000  # that a transfer is kept after its last part, and its result after its end
IDLE_MS = 60_000  # without a part, after which a transfer is idle


@dataclass(frozen=True)
class Part:
    """A part that has arrived: its bytes, their MD5 in hex, and the payloads that hold them, in their order."""

    size: int
    md5: str
    refs: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((str(self.size), self.md5, *self.refs))

    @classmethod
    def read(cls, said: str) -> "Part":
        """The part of such a text."""
        size, md5, *refs = said.split(" ")
        return cls(int(size), md5, tuple(refs))


@dataclass(frozen=True)
class Transfer:
    """A transfer. Complete, it has a content hash; refused, the reason. The parts are empty unless they were asked for."""

    id: str
    api_key: str
    secret: str = field(repr=False)
    purpose: Purpose
    content_hash: str = ""
    refused: str = ""
    parts: Mapping[int, Part] = field(default_factory=dict[int, Part])

    @property
    def ended(self) -> bool:
        """Whether it takes no parts any more."""
        return bool(self.content_hash or self.refused)


def _call(script: str, arguments: list[Argument], read: Callable[[Reply], T]) -> ScriptCall[T]:
    return ScriptCall(script, arguments, read, FILES)


def open_transfer(
    transfer_id: str, api_key: str, secret: str, purpose: Purpose, settings: Settings
) -> ScriptCall[list[Part]]:
    """Opens a transfer. The reply has the parts of an idle transfer that was dropped for it. Reading it raises UploadsFull."""

    def read(reply: Reply) -> list[Part]:
        word, *rest = (text(part) for part in items(reply))
        if word == "full":
            raise full(rest[0], settings)
        return [Part.read(said) for said in rest]

    arguments: list[Argument] = [transfer_id, api_key, secret, purpose, LASTS_MS]
    return _call("open_transfer", [*arguments, MOST_OF_KEY, MOST_OF_ALL, IDLE_MS], read)


def transfer(transfer_id: str, with_parts: bool = False) -> ScriptCall[Transfer]:
    """The transfer of that id. Reading the reply raises NotFound."""

    def read(reply: Reply) -> Transfer:
        if not items(reply):
            raise NotFound("There is no such transfer, or it has expired; push again.")
        *known, parts = items(reply)
        api_key, secret, purpose, content_hash, refused = map(text, known)
        flat = [text(word) for word in items(parts)]
        found = {int(n): Part.read(said) for n, said in zip(flat[::2], flat[1::2], strict=True)}
        return Transfer(
            transfer_id, api_key, secret, cast(Purpose, purpose), content_hash, refused, found
        )

    return _call("transfer", [transfer_id, int(with_parts)], read)


def reserve_part(transfer_id: str, size: int, settings: Settings) -> ScriptCall[None]:
    """Counts bytes of a part that are about to be written. A negative `size` gives bytes back. Reading the reply raises UploadsFull and NotFound."""
    limits = (settings.max_upload_bytes_per_key, settings.max_upload_bytes)

    def read(reply: Reply) -> None:
        _admitted(reply, settings)

    return _call("reserve_part", [transfer_id, size, *limits], read)


def add_part(
    transfer_id: str, number: int, part: Part, settings: Settings, reserved: int = 0
) -> ScriptCall[Part | None]:
    """Adds a part, of which `reserved` bytes count already. The reply is the part that it replaces. Reading it raises UploadsFull and NotFound."""

    def read(reply: Reply) -> Part | None:
        (replaced,) = _admitted(reply, settings)
        return Part.read(replaced) if replaced else None

    limits = (settings.max_upload_bytes_per_key, settings.max_upload_bytes)
    arguments: list[Argument] = [transfer_id, number, part.size, str(part), LASTS_MS, *limits]
    return _call("add_part", [*arguments, reserved], read)


def _admitted(reply: Reply, settings: Settings) -> list[str]:
    """The reply without its first word. Raises UploadsFull and NotFound."""
    word, *rest = (text(part) for part in items(reply))
    if word == "missing":
        raise NotFound("This transfer takes no parts any more; push again.")
    if word == "full":
        raise full(rest[0], settings)
    return rest


def end_transfer(transfer_id: str, content_hash: str = "", refused: str = "") -> ScriptCall[str]:
    """Ends a transfer: with a content hash it is complete, else refused."""
    return _call("end_transfer", [transfer_id, content_hash, refused, LASTS_MS], text)
