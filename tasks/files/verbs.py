"""The verbs of uploads and files. Each builds the call of one script and reads its reply; none has side effects."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from tasks.errors import AdmissionError, FileMissing, KingpostError, NotFound
from tasks.job import Lease
from tasks.settings import Settings
from tasks.store.records import Reply, items, number, text
from tasks.store.scripting import JOBS, Library, of_jobs
from tasks.store.verbs import Argument, ScriptCall

T = TypeVar("T")
Kind = Literal["package", "file"]

FILES = Library(Path(__file__).parent / "scripts", of_jobs, below=(JOBS.folder,))
MOST_OF_KEY, MOST_OF_ALL = 8, 64  # unfinished uploads of each kind
MOST_FILES = 10_000  # of a key
FILES_IN_A_STEP = 200  # that a script looks at
CLAIM_MS = 30_000  # for which a sender keeps an upload without a sign of life
ROUTES: dict[Kind, str] = {"package": "POST /v1/packages", "file": "POST /v1/uploads"}


@dataclass(frozen=True)
class Upload:
    """An unfinished upload. `what` names its content, `size` and `offset` are bytes, and `active` says whether somebody sends it now."""

    id: str
    what: str
    size: int
    offset: int
    active: bool = False


@dataclass(frozen=True)
class File:
    """A stored file. `ending` is that of its name, such as `png`, or ''."""

    id: str
    ref: str  # its payload
    size: int
    ending: str
    content_type: str
    left_ms: int  # until it expires


class UploadsFull(AdmissionError):
    """There are too many unfinished uploads."""


class FilesFull(KingpostError):
    """The key has as many files as it may have."""


class UploadTaken(KingpostError):
    """Another connection continues this upload now."""


class WrongOffset(KingpostError):
    """The upload goes on at another offset."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"The upload goes on at offset {offset}; send from there.")
        self.offset = offset


def _call(script: str, arguments: Sequence[Argument], read: Callable[[Reply], T]) -> ScriptCall[T]:
    return ScriptCall(script, arguments, read, FILES)


def open_upload(
    api_key: str, kind: Kind, what: str, size: int, settings: Settings
) -> ScriptCall[Upload]:
    """The unfinished upload of a key for the same thing, or a new one. Reading the reply raises UploadsFull and FilesFull."""

    def read(reply: Reply) -> Upload:
        word, *rest = items(reply)
        if text(word) == "full":
            raise full(text(rest[0]), settings)
        upload_id, offset, active = rest
        return Upload(text(upload_id), what, size, int(text(offset)), text(active) == "1")

    of_key = settings.max_upload_bytes_per_key
    if kind == "file":
        of_key = settings.max_file_bytes_per_key
    arguments: list[Argument] = [secrets.token_hex(16), api_key, kind, what, size]
    arguments += [int(settings.upload_seconds * 1000), MOST_OF_KEY, MOST_OF_ALL, of_key]
    arguments += [settings.max_upload_bytes, MOST_FILES]
    return _call("open_upload", arguments, read)


def full(whose: str, settings: Settings) -> KingpostError:
    """The error for an upload without room. `whose` says which limit it would exceed: `key`, `all`, or `files` for those of the key."""
    match whose:
        case "files":
            limit = f"{MOST_FILES} with {settings.max_file_bytes_per_key} bytes"
            way = "delete some (DELETE /v1/uploads/ID), or wait until they expire"
            return FilesFull(f"This key has too many files (at most {limit}); {way}.")
        case "key":
            limit = f"{MOST_OF_KEY} with {settings.max_upload_bytes_per_key} bytes"
            way = "finish them, or wait until they are dropped"
            return UploadsFull(
                f"This key has too many unfinished uploads (at most {limit}); {way}."
            )
        case _:
            limit = f"{MOST_OF_ALL} with {settings.max_upload_bytes} bytes"
            return UploadsFull(
                f"There are too many unfinished uploads (at most {limit}); try again later."
            )


def claim_upload(
    upload_id: str, api_key: str, kind: Kind, sender: str, offset: int
) -> ScriptCall[Upload]:
    """Lets a sender append from that offset. Reading the reply raises NotFound, WrongOffset and UploadTaken."""
    return _call(
        "claim_upload",
        [upload_id, api_key, kind, sender, offset, CLAIM_MS],
        lambda reply: _read_upload(upload_id, kind, reply, "claimed"),
    )


def upload(upload_id: str, api_key: str, kind: Kind) -> ScriptCall[Upload]:
    """An upload of that key. Reading the reply raises NotFound."""
    return _call(
        "claim_upload",
        [upload_id, api_key, kind, "", 0, 0],
        lambda reply: _read_upload(upload_id, kind, reply, "elsewhere"),
    )


def _read_upload(upload_id: str, kind: Kind, reply: Reply, expected: str) -> Upload:
    word, *rest = (text(part) for part in items(reply))
    if word == "missing":
        raise NotFound(f"There is no such upload; begin again with {ROUTES[kind]}.")
    if word == "checked":
        raise UploadTaken("The upload is complete and is being checked; ask again later.")
    what, size, offset, active = rest
    if word != expected:
        raise WrongOffset(int(offset))
    return Upload(upload_id, what, int(size), int(offset), expected != "claimed" and active == "1")


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


def keep_file(file: File, api_key: str) -> ScriptCall[str]:
    """Makes the record of a file whose payload was written. The file is that key's."""
    arguments: list[Argument] = [file.id, api_key, file.ref, file.size, file.ending]
    return _call("keep_file", [*arguments, file.content_type, file.left_ms], text)


def keep_output(file: File, lease: Lease) -> ScriptCall[bool]:
    """The same for a file of a job's output, which goes with the job. False if the lease is lost."""
    arguments: list[Argument] = [lease.request_id, lease.fence, file.id, file.ref, file.size]
    arguments += [file.ending, file.content_type, file.left_ms]
    return _call("keep_output", arguments, _says("kept"))


@dataclass(frozen=True)
class EndedFiles:
    """A step of `end_files_of`. `cursor` is '0' at the end; only then the rest has ids of what is unfinished."""

    cursor: str
    ended: int
    uploads: Sequence[str]  # of files
    packages: Sequence[str]  # uploads of packages
    transfers: Sequence[str]


def end_files_of(api_key: str, cursor: str) -> ScriptCall[EndedFiles]:
    """Lets stored files of that key go, except those that a request uses: the next step, from that cursor ('0' at first)."""

    def read(reply: Reply) -> EndedFiles:
        following, ended, *unfinished = items(reply)
        return EndedFiles(
            text(following),
            number(ended),
            *([text(each) for each in items(ids)] for ids in unfinished),
        )

    return _call("end_files_of", [api_key, cursor, FILES_IN_A_STEP], read)


def file_secret() -> ScriptCall[bytes]:
    """The secret that signs the URLs of files. It is made at the first call."""
    return _call("file_secret", [secrets.token_hex(32)], lambda reply: text(reply).encode())


def find_files(api_key: str, ids: Sequence[str]) -> ScriptCall[list[File]]:
    """Files of that key ('' = of any), in the order of their ids. Reading the reply raises FileMissing for the first that is not there or has expired."""

    def read(reply: Reply) -> list[File]:
        word, *found = items(reply)
        if text(word) == "missing":
            raise FileMissing(text(found[0]))
        return [_file(items(row)) for row in found]

    return _call("find_files", [api_key, *ids], read)


def _file(row: list[Reply]) -> File:
    file_id, ref, size, ending, content_type, left = row
    return File(
        text(file_id), text(ref), number(size), text(ending), text(content_type), number(left)
    )


def expire_file(file_id: str, api_key: str) -> ScriptCall[bool]:
    """Lets a file go: at once, or with the last request that uses it. False if the key has no such file."""
    return _call("expire_file", [file_id, api_key], _says("expired"))


def _says(word: str) -> Callable[[Reply], bool]:
    return lambda reply: text(reply) == word
