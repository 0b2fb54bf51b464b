"""The content of an object that an S3 client uploads, checked against the digests in its headers and trailers."""

import hashlib
import re
import zlib
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator
from typing import NoReturn

from starlette.requests import Request

from tasks.errors import KingpostError

SIGNED = re.compile(r"[0-9a-f]{64}")
PLAIN = "UNSIGNED-PAYLOAD"  # over TLS
# Over TLS: the object in `aws-chunked` form, with a checksum after the last chunk.
FRAMED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
LONGEST_LINE = 256  # bytes, of a chunk's size and of a trailer
MOST_TRAILERS = 8
CHECKSUM = "x-amz-checksum-crc32"


class ContentRefused(KingpostError):
    """The content is not what the request says."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


async def content(request: Request, most: int) -> AsyncGenerator[bytes]:
    """The chunks of the object. Raises ContentRefused for one that is too large, or differs from its digests."""
    declared = request.headers.get("x-amz-content-sha256", "")
    framed = declared == FRAMED
    if not framed and declared != PLAIN and not SIGNED.fullmatch(declared):
        refuse("NotImplemented", f"x-amz-content-sha256 {declared[:60]!r} is not supported.", 501)
    trailers = {CHECKSUM: request.headers.get(CHECKSUM, "")}
    source = _unframed(request.stream(), trailers) if framed else request.stream()
    sha256, crc32, size = hashlib.sha256(), 0, 0
    async for chunk in source:
        size += len(chunk)
        if size > most:
            refuse("EntityTooLarge", f"A part may have {most} bytes at most.", 413)
        sha256.update(chunk)
        crc32 = zlib.crc32(chunk, crc32)
        yield chunk
    if SIGNED.fullmatch(declared) and sha256.hexdigest() != declared:
        refuse("XAmzContentSHA256Mismatch", "The content is not the one that was signed.")
    if trailers[CHECKSUM] and _number(trailers[CHECKSUM]) != crc32:
        refuse("BadDigest", "The content does not have the CRC32 that was sent.")


def _number(checksum: str) -> int:
    try:
        return int.from_bytes(b64decode(checksum, validate=True))
    except ValueError:
        return -1


async def _unframed(
    chunks: AsyncIterator[bytes], trailers: dict[str, str]
) -> AsyncGenerator[bytes]:
    """The data of `aws-chunked`: a line with the size of each chunk, its bytes and CRLF; after a size of 0, the trailers."""
    source = _Lines(chunks)
    while size := _size(await source.line()):
        async for piece in source.bytes(size):
            yield piece
        if await source.line():
            refuse("InvalidRequest", "A chunk is longer than it says.")
    for _ in range(MOST_TRAILERS):
        name, _, value = (await source.line()).partition(":")
        if not name:
            return
        if name.lower() in trailers:
            trailers[name.lower()] = value.strip()
    refuse("InvalidRequest", f"There are more than {MOST_TRAILERS} trailers.")


def _size(line: str) -> int:
    digits = line.partition(";")[0]
    if not re.fullmatch(r"[0-9a-fA-F]{1,10}", digits):
        refuse("InvalidRequest", "The size of a chunk is no number.")
    return int(digits, 16)


class _Lines:
    """Takes lines and bytes from chunks."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks, self._held = chunks, b""

    async def line(self) -> str:
        """The next line without its end; '' at the end of everything."""
        while (end := self._held.find(b"\r\n", 0, LONGEST_LINE)) < 0:
            if len(self._held) >= LONGEST_LINE:
                refuse("InvalidRequest", "A line between chunks is too long.")
            if not await self._more():
                return ""
        line, self._held = self._held[:end], self._held[end + 2 :]
        return line.decode("latin-1")

    async def bytes(self, count: int) -> AsyncGenerator[bytes]:
        """The next bytes, in pieces."""
        while count:
            if not self._held and not await self._more():
                refuse("IncompleteBody", "The content ends too early.")
            piece, self._held = self._held[:count], self._held[count:]
            count -= len(piece)
            yield piece

    async def _more(self) -> bool:
        async for chunk in self._chunks:
            if chunk:
                self._held += chunk
                return True
        return False


def refuse(code: str, message: str, status: int = 400) -> NoReturn:
    """Raises ContentRefused."""
    raise ContentRefused(code, message, status)
