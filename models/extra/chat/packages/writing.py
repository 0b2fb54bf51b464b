"""Turns tokens into text as they come. Text is held back only while it may be the beginning of a stop sequence, or half a character."""

from typing import Any

UNFINISHED = "\ufffd"  # what a tokenizer writes for the first bytes of a character


class Writing:
    """The text of one answer."""

    def __init__(self, tokenizer: Any, stops: tuple[str, ...]) -> None:
        self.stopped = False  # a stop sequence has come; it is not part of the text
        self._tokenizer, self._stops = tokenizer, stops
        self._tokens: list[int] = []
        # As in text-generation-inference: only a few tokens are decoded each time, those before give the spaces.
        self._begin, self._read = 0, 0
        self._held = ""

    def add(self, token: int) -> str:
        """The text that is sure after this token, '' if there is none."""
        self._tokens.append(token)
        before = self._decoded(self._begin, self._read)
        text = self._decoded(self._begin, len(self._tokens))
        if text.endswith(UNFINISHED) or len(text) <= len(before):
            return ""
        self._begin, self._read = self._read, len(self._tokens)
        return self._sure(self._held + text[len(before) :])

    def rest(self) -> str:
        """The text that was held back, at the end."""
        before = self._decoded(self._begin, self._read)
        text = self._held + self._decoded(self._begin, len(self._tokens))[len(before) :]
        found = self._first_stop(text)
        return text if found < 0 else text[:found]

    def _sure(self, text: str) -> str:
        found = self._first_stop(text)
        if found >= 0:
            self.stopped = True
            return text[:found]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def _first_stop(self, text: str) -> int:
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        return min(places, default=-1)

    def _decoded(self, begin: int, end: int) -> str:
        return self._tokenizer.decode(self._tokens[begin:end], skip_special_tokens=True)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop sequence."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
