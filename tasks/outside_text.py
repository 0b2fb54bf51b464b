"""Cleans text from clients, models and receivers, and reads numbers in it.

A Python string may hold half of a surrogate pair, which UTF-8 cannot encode. It comes from a file name that is not UTF-8, or from a
JSON escape. For example, `b"caf\\xe9.png"` is read as `"caf\\udce9.png"`, which no store, socket or file accepts.
"""

import re

PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
HALF = re.compile("[\ud800-\udfff]")
LARGEST = 2**63 - 1


def utf8(text: str) -> str:
    """The text in a form that UTF-8 can encode: a pair becomes its character, a half its escape, as in `caf\\udce9.png`."""
    if text.isascii():
        return text
    joined = PAIR.sub(_character, text)
    return joined.encode(errors="backslashreplace").decode()


def utf8_json(text: str) -> str:
    """Like `utf8`, for JSON text: its strings, once decoded, are as `utf8` would return them."""
    return HALF.sub(lambda half: rf"\\u{ord(half[0]):04x}", PAIR.sub(_character, text))


def text_of(data: bytes) -> str:
    """Bytes that should be text: those that are no UTF-8 become escapes, as in `caf\\udce9.png`."""
    return utf8(data.decode(errors="surrogateescape"))


def utf8_bytes(text: str) -> bytes:
    """UTF-8 for a stream of plain text, which has no escapes. Half of a pair becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        pairs = text.encode("utf-16-le", "surrogatepass")  # where two halves are one character
        return pairs.decode("utf-16-le", "replace").encode()


def printable(text: str) -> str:
    """The text without control characters except line ends, so that it cannot control the terminal that shows it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return "    " if character == "\t" else repr(character)[1:-1]


def _character(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def whole_number(text: str, most: int = LARGEST) -> int | None:
    """The number that ASCII digits spell, at most `most`. None for any other text ('²', '-1', '', ' 1')."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    return most if len(digits) > len(str(most)) else min(int(digits), most)
