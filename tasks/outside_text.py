"""Text that comes from outside, from clients, models and receivers: the one rule for halves of pairs, the one for numbers.

Python's text may hold halves of a surrogate pair (a file name that is no UTF-8 has them, a JSON escape may make them),
and UTF-8 cannot: `b"caf\\xe9.png"` is read as `"caf\\udce9.png"`, which no store, socket or file takes.
"""

import re

PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
HALF = re.compile("[\ud800-\udfff]")
LARGEST = 2**63 - 1


def utf8(text: str) -> str:
    """The same text, fit for UTF-8: pairs become their character, a half becomes its escape, as in `caf\\udce9.png`."""
    if text.isascii():
        return text
    joined = PAIR.sub(_character, text)
    return joined.encode(errors="backslashreplace").decode()


def utf8_json(text: str) -> str:
    """The same for a text that is JSON: what its strings say then is what `utf8` makes of them."""
    return HALF.sub(lambda half: rf"\\u{ord(half[0]):04x}", PAIR.sub(_character, text))


def text_of(data: bytes) -> str:
    """Bytes that should be text: those that are no UTF-8 become escapes, as in `caf\udce9.png`."""
    return utf8(data.decode(errors="surrogateescape"))


def utf8_bytes(text: str) -> bytes:
    """UTF-8 for a stream of plain text, which knows no escape: a half becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        pairs = text.encode("utf-16-le", "surrogatepass")  # where two halves are one character
        return pairs.decode("utf-16-le", "replace").encode()


def printable(text: str) -> str:
    """Without control characters but line ends: what a model or a file says must not steer the terminal that shows it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return "    " if character == "\t" else repr(character)[1:-1]


def _character(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def whole_number(text: str, most: int = LARGEST) -> int | None:
    """The number that ASCII digits spell, `most` for a larger one; None for any other text ('²', '-1', '', ' 1')."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    return most if len(digits) > len(str(most)) else min(int(digits), most)
