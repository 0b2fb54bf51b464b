"""Text from outside: halves of surrogate pairs, and what looks like a number."""

import pytest

from tasks.outside_text import utf8, utf8_bytes, whole_number

PAIR = chr(0xD83D) + chr(0xDE00)  # ruff takes the literal for its own opposite
TEXTS = {
    "plain": ("plain", "plain"),
    "café ☃ 😀": ("café ☃ 😀", "café ☃ 😀"),
    "caf\udce9.png": ("caf\\udce9.png", "caf\ufffd.png"),
    PAIR: ("😀", "😀"),
    "\ude00\ud83d": ("\\ude00\\ud83d", "\ufffd\ufffd"),
    "\x00\r\n\u2028\ufeff": ("\x00\r\n\u2028\ufeff", "\x00\r\n\u2028\ufeff"),
}


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_halves_of_pairs_are_escaped_and_all_else_stays(text: str) -> None:
    escaped, streamed = TEXTS[text]
    assert (utf8(text), utf8_bytes(text).decode()) == (escaped, streamed)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("99", 50),
        ("9" * 5000, 50),
        ("0" * 5000 + "1", 1),
        *(
            (text, None)
            for text in ("", " 1", "-1", "+1", "1.0", "1_0", "²", "１", "٣", "0x1", "1\n")
        ),
    ],
)
def test_only_ascii_digits_are_a_number(text: str, number: int | None) -> None:
    assert whole_number(text, 50) == number
