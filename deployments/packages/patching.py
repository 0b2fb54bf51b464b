"""Packages with a few files changed, as `truss watch` sends them: the rest is taken from the package that is stored."""

import asyncio
import json
import tarfile
import tempfile
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from deployments.packages.archive import BLOCK, Entry, Limits, entries
from deployments.packages.store import package_ref
from deployments.packages.transfers import PIECE, Transfers
from deployments.packages.uploads import PackageRefused
from kingpost.packing.config_file import CONFIG_NAME, PackageError, read_yaml
from tasks.payloads import Payloads
from tasks.settings import Settings

MOST_KNOWN = 8  # signatures; each has a line for each file
LARGEST_KEPT = 1 << 20  # bytes of config.yaml and of a requirements file
Changes = Mapping[str, bytes | None]  # name in the package -> its new content, None = removed


@dataclass(frozen=True)
class Signature:
    """What a client compares its folder with: BLAKE3 of each file, None for a folder, and the text of config.yaml."""

    hashes: Mapping[str, str | None]
    config: str
    requirements: tuple[str, ...]  # lines of the requirements file

    def __str__(self) -> str:
        return json.dumps(
            {
                "content_hashes_by_path": dict(self.hashes),
                "config": self.config,
                "requirements_file_requirements": self.requirements,
            }
        )


class Patching:
    """Methods raise NotFound for a package that is not stored, StoreUnavailable and PayloadUnavailable."""

    def __init__(self, transfers: Transfers, settings: Settings) -> None:
        self._transfers = transfers
        self._payloads = Payloads(settings)
        self._limits = Limits.of(settings)
        self._known: OrderedDict[str, Signature] = OrderedDict()

    async def signature(self, content_hash: str) -> Signature:
        """The signature of a stored package."""
        if content_hash not in self._known:
            self._known[content_hash] = await asyncio.to_thread(self._signed, content_hash)
        self._known.move_to_end(content_hash)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return self._known[content_hash]

    async def apply(self, api_key: str, content_hash: str, changes: Changes) -> str:
        """Stores the package with these changes and returns its content hash. Raises PackageRefused and UploadsFull."""
        transfer = await self._transfers.open(api_key, "package")
        try:
            source = _in_threads(patched(self._stored(content_hash), changes))
            await self._transfers.add(transfer, 1, source)
        except PackageError as error:
            raise PackageRefused(str(error)) from None
        return (await self._transfers.complete(transfer.id)).content_hash

    def _stored(self, content_hash: str) -> Iterator[Entry]:
        return entries(self._payloads.read(package_ref(content_hash)), self._limits)

    def _signed(self, content_hash: str) -> Signature:
        hashes: dict[str, str | None] = {}
        texts: dict[str, bytes] = {}
        for entry in self._stored(content_hash):
            parts = entry.name.split("/")
            hashes |= {"/".join(parts[:end]): None for end in range(1, len(parts))}
            if entry.is_folder:
                hashes[entry.name] = None
                continue
            digest, keeps = blake3(), len(parts) <= 2 and entry.size <= LARGEST_KEPT
            for piece in entry.content:
                digest.update(piece)
                if keeps and entry.name.endswith((CONFIG_NAME, ".txt")):
                    texts[entry.name] = texts.get(entry.name, b"") + piece
            hashes[entry.name] = digest.hexdigest()
        config = texts.get(CONFIG_NAME, b"").decode(errors="replace")
        listed = texts.get(str(config_of(config).get("requirements_file")), b"")
        lines = tuple(listed.decode(errors="replace").splitlines())
        return Signature(hashes, config, lines)


def config_of(text: str) -> Mapping[str, object]:
    """The text of a config.yaml as a mapping. Raises PackageError."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG_NAME).write_text(text, errors="surrogateescape")
        return read_yaml(Path(folder))[0]


def patched(stored: Iterator[Entry], changes: Changes) -> Iterator[bytes]:
    """The tar of a package with these changes. The names are checked by whoever reads it."""
    executable: set[str] = set()
    for entry in stored:
        if entry.is_executable:
            executable.add(entry.name)
        if not entry.is_folder and entry.name not in changes:
            yield from _file(entry.name, entry.size, entry.content, entry.is_executable)
    for name, content in changes.items():
        if content is not None:
            yield from _file(name, len(content), iter([content]), name in executable)
    yield bytes(2 * BLOCK)


def _file(name: str, size: int, content: Iterator[bytes], is_executable: bool) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o755 if is_executable else 0o644
    yield info.tobuf(tarfile.PAX_FORMAT)
    yield from content
    yield bytes(-size % BLOCK)


async def _in_threads(source: Iterator[bytes]) -> AsyncGenerator[bytes]:
    """The pieces of a blocking source, gathered into larger ones and read in a thread."""
    while piece := await asyncio.to_thread(_next, source):
        yield piece


def _next(source: Iterator[bytes]) -> bytes:
    held = bytearray()
    for piece in source:
        held += piece
        if len(held) >= PIECE:
            break
    return bytes(held)


def text_of(mapping: Mapping[str, object], name: str, default: str) -> str:
    """A value of config.yaml that is text, else the default."""
    value = mapping.get(name)
    return value if isinstance(value, str) and value else default
