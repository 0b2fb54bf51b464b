"""What a model may say, generated: all of Unicode with halves of pairs and controls, bytes, nesting, sizes."""

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

# With halves of surrogate pairs, which Hypothesis leaves out unless it is asked.
ANY = st.characters(exclude_categories=())
AWKWARD = st.sampled_from(
    [
        *("\r", "\n", "\r\n", "\0", "\ufeff", "\u2028", "\x85", "\x7f", "é", "😀", "data:"),
        *(chr(0xDCE9), chr(0xD83D), chr(0xDE00), "\\ud83d"),  # halves of pairs, and an escape
        *("\rid: 1\r\r", "\nevent: done\ndata: {}\n\n"),
    ]
)
TEXT = st.lists(st.text(ANY, max_size=12) | AWKWARD, max_size=8).map("".join)
LONG = st.builds(lambda text, times: text * times, TEXT, st.sampled_from([1, 1, 1, 1, 200, 3000]))
ENCODED = TEXT.map(lambda text: text.encode("utf-8", "replace"))
CUT = st.builds(lambda data, at: [data[:at], data[at:]], ENCODED, st.integers(0, 9))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=4)
)
NESTED = st.builds(lambda deep, leaf: nest(leaf, deep), st.integers(50, 400), SCALARS)
TYPES = ["application/json", "text/plain", "image/png", "application/octet-stream"]
BODIES = st.binary(max_size=60) | ENCODED | st.sampled_from([b"", b'{"a":1}\n{"a":2}', b"NaN", b"\xef\xbb\xbf1"])  # fmt: skip


def nest(leaf: Any, deep: int) -> Any:
    for _ in range(deep):
        leaf = [leaf]
    return leaf


@dataclass(frozen=True)
class Case:
    """One call: what the model reports, and how it answers."""

    progress: str | None
    kind: str
    said: Any


OUTCOMES = st.one_of(
    st.tuples(st.just("output"), JSON | NESTED | LONG),
    st.tuples(st.just("chunks"), st.lists(LONG, min_size=1, max_size=5) | CUT | st.lists(st.binary(max_size=9) | TEXT, min_size=1, max_size=6)),
    st.tuples(st.just("bytes"), st.tuples(st.sampled_from(TYPES), BODIES)),
    st.tuples(st.just("error"), LONG),
    st.tuples(st.just("refusal"), LONG),
)  # fmt: skip
CASES = st.builds(lambda progress, outcome: Case(progress, *outcome), LONG, OUTCOMES)


def generated(count: int) -> list[Case]:
    """The same cases in every run; each has two values, its progress and its outcome."""
    found: list[Case] = []

    @hypothesis_settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CASES)
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found[:count]
