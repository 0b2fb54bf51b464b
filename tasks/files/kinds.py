"""What a file is: its content type by its first bytes, and its ending. The content type that a client says is not used.

Only types in which a browser runs nothing are named. Everything else is `application/octet-stream`: HTML, SVG and scripts too.
"""

import re

UNKNOWN = "application/octet-stream"
HEAD_BYTES = 16  # of a file that `sniffed` looks at
# How files begin, the content type, and the ending of a file without one.
BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (b"\xff\xd8\xff", "image/jpeg", "jpg"),
    (b"GIF87a", "image/gif", "gif"),
    (b"GIF89a", "image/gif", "gif"),
    (b"BM", "image/bmp", "bmp"),
    (b"ID3", "audio/mpeg", "mp3"),
    (b"\xff\xfb", "audio/mpeg", "mp3"),
    (b"OggS", "audio/ogg", "ogg"),
    (b"fLaC", "audio/flac", "flac"),
    (b"\x1a\x45\xdf\xa3", "video/webm", "webm"),
    (b"%PDF-", "application/pdf", "pdf"),
    (b"PK\x03\x04", "application/zip", "zip"),
    (b"\x1f\x8b", "application/gzip", "gz"),
)
RIFF = {b"WEBP": ("image/webp", "webp"), b"WAVE": ("audio/wav", "wav")}
MP4 = ("video/mp4", "mp4")
SHOWN = ("image/", "audio/", "video/")  # by a browser; others are downloads
ENDING = re.compile(r"[a-z0-9]{1,8}")


def sniffed(head: bytes) -> tuple[str, str]:
    """The content type and the ending of a file that begins with these bytes. The ending of an unknown type is ''."""
    for begin, content_type, ending in BEGINNINGS:
        if head.startswith(begin):
            return content_type, ending
    if head[:4] == b"RIFF" and head[8:12] in RIFF:
        return RIFF[head[8:12]]
    return MP4 if head[4:8] == b"ftyp" else (UNKNOWN, "")


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case, `png` of `a/b.PNG`. '' for one that is long, or not of letters and digits."""
    _, dot, ending = name.lower().rpartition(".")
    return ending if dot and ENDING.fullmatch(ending) else ""
