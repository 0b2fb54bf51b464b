"""The files of `/v1/files`: inputs and results of batches. Each is also a file as tasks/files/files.py knows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import NotFound
from tasks.files.verbs import FILES, MOST_FILES, File, full
from tasks.outside_text import utf8
from tasks.settings import Settings
from tasks.store.records import Reply, items, number, text
from tasks.store.verbs import ScriptCall

LONGEST_NAME = 255  # characters of a file's name that are kept


@dataclass(frozen=True)
class ListedFile:
    """A file with a name and a purpose. Times are Unix milliseconds."""

    id: str
    ref: str  # its payload
    size: int
    name: str
    purpose: str
    created: int
    expires: int


def keep_listed(
    file: File, api_key: str, name: str, purpose: str, settings: Settings
) -> ScriptCall[ListedFile]:
    """Makes the record of a file whose payload was written. The file is that key's. Reading the reply raises FilesFull."""

    def read(reply: Reply) -> ListedFile:
        word, *rest = items(reply)
        if text(word) == "full":
            raise full("files", settings)
        return listed(rest[0])

    arguments = [file.id, api_key, file.ref, file.size, file.ending, file.content_type]
    arguments += [file.left_ms, utf8(name)[:LONGEST_NAME], purpose]
    arguments += [settings.max_file_bytes_per_key, MOST_FILES]
    return ScriptCall("keep_listed", arguments, read, FILES)


def find_listed(api_key: str, file_id: str) -> ScriptCall[ListedFile]:
    """A file of that key. Reading the reply raises NotFound."""

    def read(reply: Reply) -> ListedFile:
        found = items(reply)
        if not found:
            raise NotFound(f"There is no file file-{file_id}.")
        return listed(found[0])

    return ScriptCall("find_listed", [api_key, file_id], read, FILES)


def list_files(
    api_key: str, after: str, most: int, purpose: str, oldest_first: bool
) -> ScriptCall[Sequence[ListedFile]]:
    """Files of that key, after that one; `most + 1` of them if there are more."""
    arguments = [api_key, after, most, purpose, int(oldest_first)]
    return ScriptCall(
        "list_files", arguments, lambda reply: [listed(row) for row in items(reply)], FILES
    )


def listed(row: Reply) -> ListedFile:
    """The file of a row that the scripts answer."""
    file_id, ref, size, name, purpose, created, expires = items(row)
    return ListedFile(
        text(file_id),
        text(ref),
        number(size),
        text(name),
        text(purpose),
        number(created),
        number(expires),
    )
