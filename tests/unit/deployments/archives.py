"""Tar archives for tests: a good one, and a hostile one of each kind with the sentence that refuses it."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from hashlib import sha256

from kingpost.packing.files import hash_of

FILES = {"config.yaml": b"model_name: sent\n", "model/model.py": b"class Model: ...\n"}
BLOCK = 512
END = bytes(2 * BLOCK)


def content_hash(files: Mapping[str, bytes] = FILES) -> str:
    """The content hash of these files."""
    return hash_of({name: sha256(content).digest() for name, content in files.items()})


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **more: object) -> bytes:
    """The block before a file's content, whatever it says."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for field, value in more.items():
        setattr(info, field, value)
    fits = 0 <= size < 8**11
    return info.tobuf(tarfile.USTAR_FORMAT if fits else tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    """The content up to the next block."""
    return content + bytes(-len(content) % BLOCK)


def file(name: str, content: bytes = b"") -> bytes:
    """One file."""
    return header(name, len(content)) + padded(content)


def pax(**records: str) -> bytes:
    """An extended header with these records."""
    lines = b""
    for key, value in records.items():
        record = f" {key}={value}\n".encode()
        length = len(record)
        while length != len(record) + len(str(length)):
            length = len(record) + len(str(length))
        lines += str(length).encode() + record
    return header("pax", len(lines), tarfile.XHDTYPE) + padded(lines)


def good(files: Mapping[str, bytes] = FILES) -> bytes:
    """The archive as a push writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def of(*parts: bytes) -> bytes:
    """An archive of these parts, after config.yaml and model.py."""
    return b"".join(file(name, content) for name, content in FILES.items()) + b"".join(parts) + END


HOSTILE: dict[str, tuple[bytes, str]] = {
    "traversal": (of(file("../x")), "../x leads out of the package."),
    "traversal inside": (of(file("a/../../x")), "a/../../x leads out of the package."),
    "traversal by pax": (of(pax(path="../x"), file("x")), "../x leads out of the package."),
    "absolute": (of(file("/etc/passwd")), "/etc/passwd is an absolute name"),
    "absolute folder": (of(header("/etc", kind=tarfile.DIRTYPE)), "is an absolute name"),
    "no name": (of(file("a//b")), "is not a valid name"),
    "dot": (of(file("./x")), "./x is not a valid name"),
    "nul": (of(pax(path="a\0b"), file("x")), "is not a valid name"),
    "long part": (of(pax(path="a" * 256), file("x")), "is too long a name"),
    "long name": (of(pax(path="/".join(["a" * 100] * 11)), file("x")), "is too long a name"),
    "deep": (of(pax(path="a/" * 64 + "x"), file("x")), "is too long a name"),
    "not UTF-8": (of(file("x").replace(b"x", b"\xff", 1)), "damaged"),
    "link": (of(header("l", kind=tarfile.SYMTYPE, linkname="/etc/passwd")), "l is a link"),
    "hard link": (
        of(header("l", kind=tarfile.LNKTYPE, linkname="config.yaml")),
        "l is a hard link",
    ),
    "device": (of(header("d", kind=tarfile.CHRTYPE)), "d is a device"),
    "block device": (of(header("d", kind=tarfile.BLKTYPE)), "d is a device"),
    "pipe": (of(header("p", kind=tarfile.FIFOTYPE)), "p is a pipe"),
    "other kind": (of(header("k", kind=b"7")), "k is neither a file nor a folder"),
    "sparse": (of(header("s", kind=tarfile.GNUTYPE_SPARSE)), "s is a sparse file"),
    "sparse by pax": (
        of(pax(**{"GNU.sparse.realsize": "1000000000000"}), file("s")),
        "extended header GNU.sparse.realsize, which is not supported",
    ),
    "link by pax": (of(pax(linkpath="/etc"), file("s")), "extended header linkpath"),
    "global header": (of(header("g", 5, tarfile.XGLTYPE) + padded(b"11 a=b\n")), "neither a file"),
    "huge header": (of(header("x", 1 << 40, tarfile.XHDTYPE)), "the limit is 65536"),
    "broken header": (of(header("x", 6, tarfile.XHDTYPE) + padded(b"99 a=b")), "is damaged"),
    "twice": (
        of(file("config.yaml", b"model_name: other\n")),
        "config.yaml is in the archive twice",
    ),
    "file as folder": (of(file("config.yaml/x")), "is a file and a folder"),
    "folder as file": (of(file("model")), "is a file and a folder"),
    "size too large": (of(header("big", 1 << 20)), "The archive ends too early"),
    "size by pax": (of(pax(size="99999"), file("x")), "ends too early"),
    "negative size": (of(header("n", -1)), "has no valid size"),
    "size no number": (of(pax(size="-5"), file("x")), "has no valid size"),
    "folder with content": (of(header("f", 512, tarfile.DIRTYPE), bytes(512)), "has no valid size"),
    "cut": (good()[: BLOCK + 5], "ends too early"),
    "goes on": (of() + file("hidden", b"x"), "The archive goes on after its end."),
    "no tar": (b"PK\x03\x04" + bytes(range(256)) * 4, "This is not a tar archive"),
    "compressed": (gzip.compress(good()), "an uncompressed tar"),
    "nothing": (END, "The archive holds no files."),
    "other files": (good({**FILES, "more": b"x"}), "The files have the content hash"),
    "other content": (good({**FILES, "config.yaml": b"model_name: sand\n"}), "content hash"),
}


def many(count: int, name: str = "f%06d") -> Iterable[bytes]:
    """So many empty files."""
    width = len(name % 0)
    block = bytearray(header(name % 0))
    block[148:156] = b" " * 8  # what the checksum counts in its own place
    rest, end = sum(block[width:148]), bytes(block[156:])
    kept = bytes(block[width:148])
    plain = sum(block[148:])
    for number in range(count):
        named = (name % number).encode()
        yield b"%b%b%06o\0 %b" % (named, kept, sum(named) + rest + plain, end)
    yield END
