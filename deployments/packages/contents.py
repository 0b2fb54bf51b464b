"""What a package holds, to be shown: its files with their hashes, the texts among them, and what config.yaml says of its use.

A stored package never changes, so its contents are cached. The folder that a deployment follows is read each time.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from deployments.packages.archive import Limits, entries
from deployments.packages.store import package_ref
from deployments.registry.records import Deployment
from kingpost.packing.config_file import CONFIG_NAME, PackageError, yaml_of
from kingpost.packing.files import files_of
from tasks.errors import NotFound
from tasks.payloads import Payloads
from tasks.settings import Settings

MOST_READ = 256 << 20  # bytes of an archive; files after them are not shown
MOST_FOLDER = 32 << 20  # bytes of a folder that is read each time
MOST_FILES = 5000
LONGEST_TEXT = 128 << 10  # bytes
MOST_TEXT = 1 << 20  # bytes of all texts of a package
KEPT = 32  # packages in the cache
MOST_CHATTING = 500  # deployments of which it is known whether they chat
PIECE = 1 << 20  # bytes that are read at once
TEXTS = (".yaml", ".yml", ".py", ".txt", ".toml", ".json", ".md", ".cfg", ".ini", ".sh", ".jinja")
CHATS, RESPONDS = (
    re.compile(rf"^\s+(async\s+)?def {name}\(", re.MULTILINE)
    for name in ("chat_completions", "responses")
)
NAMED = re.compile(r"\b(chat_completions|responses|setattr|__getattr\w*)\b")


@dataclass(frozen=True)
class PackageFile:
    """A file. `sha256` is hex; `text` is None for a long file and for one that is no text."""

    name: str
    size: int
    sha256: str
    text: str | None


@dataclass(frozen=True)
class Contents:
    """The files of a package, by name. `complete` is false if it is too large to be read to its end, or cannot be read."""

    files: tuple[PackageFile, ...] = ()
    complete: bool = True

    def text_of(self, name: str) -> str:
        """The text of a file, '' if it is not there or no text."""
        return next((file.text or "" for file in self.files if file.name == name), "")

    @cached_property
    def config(self) -> dict[str, object]:
        """config.yaml as a mapping, {} if it cannot be read."""
        try:
            return yaml_of(self.text_of(CONFIG_NAME))[0]
        except PackageError:
            return {}

    @cached_property
    def example(self) -> object:
        """The input that config.yaml shows as an example, None if there is none."""
        return self._metadata.get("example_model_input")

    @cached_property
    def chats(self) -> bool:
        """Whether its files say that it answers `/v1/chat/completions`."""
        tags, server = self._metadata.get("tags"), self.config.get("docker_server")
        if isinstance(tags, list) and "openai-compatible" in tags:
            return True
        if isinstance(server, dict):
            endpoint = cast("dict[str, Any]", server).get("predict_endpoint")
            return str(endpoint).endswith("/chat/completions")
        return bool(CHATS.search(self._code))

    @cached_property
    def only_chats(self) -> bool:
        """Whether its model.py has `chat_completions` and no `responses`."""
        return bool(CHATS.search(self._code)) and not RESPONDS.search(self._code)

    @cached_property
    def answers_nothing(self) -> bool:
        """Whether it is sure that it has neither method: its class has no base class, and no Python file of the package names one."""
        if not self.complete or isinstance(self.config.get("docker_server"), dict):
            return False
        name = re.escape(str(self.config.get("model_class_name") or "Model"))
        alone = re.search(rf"^class {name}\s*(\(\s*(object)?\s*\))?\s*:", self._code, re.MULTILINE)
        codes = [file.text for file in self.files if file.name.endswith(".py")]
        return bool(alone) and all(code is not None and not NAMED.search(code) for code in codes)

    @property
    def _code(self) -> str:
        folder = self.config.get("model_module_dir") or "model"
        name = self.config.get("model_class_filename") or "model.py"
        return self.text_of(f"{folder}/{name}")

    @property
    def _metadata(self) -> dict[str, Any]:
        said = self.config.get("model_metadata")
        return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


@dataclass(frozen=True)
class Chatting:
    """What a package says of chats and responses; see the properties of Contents."""

    chats: bool
    only_chats: bool
    answers_nothing: bool


class PackageReader:
    """Reads packages for the API, one at a time, in a thread. Raises PayloadUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._payloads = Payloads(settings)
        self._limits = Limits.of(settings)
        self._kept: OrderedDict[str, Contents] = OrderedDict()
        self._chatting: OrderedDict[tuple[str, str], Chatting] = OrderedDict()
        self._reading = asyncio.Lock()

    async def of(self, deployment: Deployment) -> Contents:
        """What the deployment's package holds. A folder on another machine, or a package that is gone, has no files."""
        async with self._reading:
            if deployment.package:
                return await asyncio.to_thread(of_folder, Path(deployment.package))
            known = self._kept.get(deployment.content_hash)
            if known is None:
                known = await asyncio.to_thread(self._stored, deployment.content_hash)
                if not known.files:  # it is gone, and may come back
                    return known
                self._kept[deployment.content_hash] = known
            self._kept.move_to_end(deployment.content_hash)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return known

    async def chats(self, deployment: Deployment) -> bool:
        """Whether it answers chat completions, as its package says. What was read is kept, so that a page may ask often. Raises PayloadUnavailable."""
        return (await self.chatting(deployment)).chats

    async def chatting(self, deployment: Deployment) -> Chatting:
        """What its package says of the chats that it answers; kept as well. Raises PayloadUnavailable."""
        which = (deployment.id, deployment.content_hash)
        if which not in self._chatting:
            found = await self.of(deployment)
            self._chatting[which] = Chatting(found.chats, found.only_chats, found.answers_nothing)
            while len(self._chatting) > MOST_CHATTING:
                self._chatting.popitem(last=False)
        return self._chatting[which]

    def _stored(self, content_hash: str) -> Contents:
        try:
            pieces = self._payloads.read(package_ref(content_hash))
        except NotFound:
            return Contents(complete=False)
        return of_archive(pieces, self._limits)


def of_archive(pieces: Iterable[bytes], limits: Limits) -> Contents:
    """What an archive holds."""
    taking = _Taking()
    try:
        for entry in entries(_bounded(pieces), limits):
            if not entry.is_folder and not taking.take(entry.name, entry.size, entry.content):
                return taking.contents(False)
    except PackageError:  # `_bounded` has cut it, or it is damaged
        return taking.contents(False)
    return taking.contents(True)


def of_folder(root: Path) -> Contents:
    """What a push of that folder would take."""
    taking, read = _Taking(), 0
    try:
        for path in files_of(root) if root.is_dir() else ():
            size = path.stat().st_size
            read += size
            with path.open("rb") as file:
                content = iter(lambda file=file: file.read(PIECE), b"")
                name = path.relative_to(root).as_posix()
                if read > MOST_FOLDER or not taking.take(name, size, content):
                    return taking.contents(False)
    except (PackageError, OSError):
        return taking.contents(False)
    return taking.contents(root.is_dir())


class _Taking:
    def __init__(self) -> None:
        self._files: list[PackageFile] = []
        self._text = 0

    def take(self, name: str, size: int, content: Iterable[bytes]) -> bool:
        """Adds a file. False if there are too many."""
        if len(self._files) == MOST_FILES:
            return False
        wanted = name.endswith(TEXTS) and size <= min(LONGEST_TEXT, MOST_TEXT - self._text)
        digest, held = hashlib.sha256(), b""
        for piece in content:
            digest.update(piece)
            held += piece if wanted else b""
        text = _text(held) if wanted else None
        self._text += size if text is not None else 0
        self._files.append(PackageFile(name, size, digest.hexdigest(), text))
        return True

    def contents(self, complete: bool) -> Contents:
        """All that were taken, by name."""
        return Contents(tuple(sorted(self._files, key=lambda file: file.name)), complete)


def _text(data: bytes) -> str | None:
    try:
        return None if b"\0" in data else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _bounded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    read = 0
    for piece in pieces:
        read += len(piece)
        if read > MOST_READ:
            return
        yield piece
