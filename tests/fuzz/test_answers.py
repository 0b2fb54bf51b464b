"""A few hundred mutated answers; `python -m tests.fuzz 1000000` makes many."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.answers import METHODS, SEEDS, at_the_gateway, at_the_worker, check


async def test_seeds_are_read_and_none_is_a_surprise() -> None:
    for seed in SEEDS:
        at_the_worker([seed])
        for method in METHODS:
            await at_the_gateway([bytes([byte]) for byte in seed], method)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_mutated_answers_are_understood_alike_or_broken(chance: random.Random) -> None:
    asyncio.run(check(chance))
