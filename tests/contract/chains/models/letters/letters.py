"""A streaming entrypoint on top of a streaming chainlet; it fails to tell the middle from the end."""

from collections.abc import AsyncIterator

import truss_chains as chains


class Spell(chains.ChainletBase):
    async def run_remote(self, word: str) -> AsyncIterator[str]:
        for letter in word:
            yield letter


@chains.mark_entrypoint
class Letters(chains.ChainletBase):
    def __init__(self, spell: Spell = chains.depends(Spell)) -> None:
        self._spell = spell

    async def run_remote(self, word: str) -> AsyncIterator[str]:
        yield "["
        async for letters in self._spell.run_remote(word):
            yield letters
        yield "]"
