"""A streaming entrypoint on top of a streaming chainlet; it fails to tell the middle from the end."""

from collections.abc import AsyncIterator
from pathlib import Path

import truss_chains as chains

OPTIONS = chains.ChainletOptions()


class Spell(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS)

    def __init__(self) -> None:
        if (Path(__file__).parent / "broken").exists():
            raise ValueError("no letters here")
        print("Spell is made")

    async def run_remote(self, word: str) -> AsyncIterator[str]:
        for letter in word:
            yield letter
        print(f"spelt {word}")


@chains.mark_entrypoint
class Letters(chains.ChainletBase):
    remote_config = chains.RemoteConfig(options=OPTIONS)

    def __init__(self, spell: Spell = chains.depends(Spell)) -> None:
        self._spell = spell

    async def run_remote(self, word: str) -> AsyncIterator[str]:
        yield "["
        async for letters in self._spell.run_remote(word):
            yield letters
        yield "]"
