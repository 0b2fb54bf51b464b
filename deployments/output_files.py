"""Output files: how the files of a model's output come with the answer of a host, and their links.

The service sends a *link* with a call whose caller wants files by reference: the beginning of all their ids, when their URLs expire,
and a signature of both. So the host can write the URLs and knows no secret. The answer's header OUTPUT has the sizes. Its body has
first the files, in this order, and then the output.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

ASKED = "x-kingpost-output-files"  # of a caller: any value but `false` and `0`; of the service, to the host: a link
OUTPUT = "x-kingpost-output-sizes"
MOST = 100  # files of one output
BASE, SIGNED = 30, 32  # characters
LINK = re.compile(r"([0-9a-f]{30}) (\d{1,12}) ([0-9a-f]{32})")
TOKEN = re.compile(r"([0-9a-f]{32})\.(\d{1,12})\.([0-9a-f]{32})")


@dataclass(frozen=True)
class Link:
    """What makes the ids and URLs of the files of one answer. `expires` is a Unix time in seconds."""

    base: str
    expires: int
    signature: str

    def __str__(self) -> str:
        return f"{self.base} {self.expires} {self.signature}"

    @classmethod
    def signed(cls, secret: bytes, base: str, expires: int) -> "Link":
        """A link with this secret."""
        said = f"{base}.{expires}".encode()
        return cls(base, expires, hmac.new(secret, said, hashlib.sha256).hexdigest()[:SIGNED])

    @classmethod
    def read(cls, text: str) -> "Link":
        """The link of a header ASKED. Raises ValueError."""
        match = LINK.fullmatch(text)
        if match is None:
            raise ValueError("This is no link.")
        return cls(match[1], int(match[2]), match[3])

    def id_of(self, number: int) -> str:
        """The id of the file with that number."""
        return f"{self.base}{number:02x}"

    def url_of(self, number: int) -> str:
        """Its path at the gateway."""
        return f"/v1/files/{self.id_of(number)}.{self.expires}.{self.signature}"


@dataclass(frozen=True)
class Token:
    """The last segment of a file's URL."""

    file_id: str
    expires: int
    signature: str

    @classmethod
    def read(cls, text: str) -> "Token | None":
        """The token of a text, None for any other text."""
        match = TOKEN.fullmatch(text)
        return cls(match[1], int(match[2]), match[3]) if match else None

    def is_genuine(self, secret: bytes) -> bool:
        """Whether it was signed with this secret."""
        wanted = Link.signed(secret, self.file_id[:BASE], self.expires).signature
        return hmac.compare_digest(wanted, self.signature)


def is_asked(value: str) -> bool:
    """Whether that header of a caller asks for files."""
    return value.strip().lower() not in ("", "0", "false")


def written(sizes: Sequence[int]) -> str:
    """The value of the header OUTPUT."""
    return " ".join(map(str, sizes))


def read(header: str, largest: int) -> list[int]:
    """The sizes of a header OUTPUT. Raises ValueError for any other text, and for a file above `largest` bytes."""
    sizes = [int(word) for word in header.split() if re.fullmatch(r"\d{1,18}", word)]
    if len(sizes) != len(header.split()) or not 0 < len(sizes) <= MOST:
        raise ValueError(f"These are no sizes of files: {header[:100]!r}.")
    if max(sizes) > largest:
        raise ValueError(f"A file of the output has {max(sizes)} bytes; a file may have {largest}.")
    return sizes
