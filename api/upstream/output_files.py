"""Output files of sync calls: stored before the answer goes on to the caller, who gets their URLs."""

import asyncio
import secrets
import time

from starlette.requests import Request

from api.gateway import Gateway
from api.problems import Problem
from deployments.http_client.connection import Connection
from deployments.output_files import ASKED, OUTPUT, Link, is_asked, read
from tasks.files.outputs import OutputWriter
from tasks.files.verbs import file_secret, keep_file
from tasks.payloads import INPUT_MS
from tasks.store.verbs import spill


async def link_for(gateway: Gateway, request: Request) -> Link | None:
    """The link for the files of this call, None if its caller asks for none."""
    if not is_asked(request.headers.get(ASKED, "")):
        return None
    secret = await gateway.store.run(file_secret())
    expires = int(time.time() + gateway.settings.file_url_seconds)
    return Link.signed(secret, secrets.token_hex(15), expires)


class AnswerFiles:
    """The files of one answer, which belong to the caller's key."""

    def __init__(self, gateway: Gateway, key_id: str, link: Link, sizes: list[int]) -> None:
        lifetime_ms = int(gateway.settings.file_url_seconds * 1000)
        self.size = sum(sizes)
        self.ended = False  # whether the answer was read to its end
        self._gateway, self._key_id = gateway, key_id
        self._writer = OutputWriter(gateway.payloads, sizes, link.id_of, lifetime_ms)

    @classmethod
    def of(
        cls, gateway: Gateway, key_id: str, link: Link | None, answer: Connection
    ) -> "AnswerFiles | None":
        """The files of this answer, None if it has none. Raises Problem 502 for sizes that are invalid or too large."""
        said = dict(answer.headers).get(OUTPUT.encode())
        if link is None or said is None:
            return None
        try:
            sizes = read(said.decode("latin-1"), gateway.settings.max_file_bytes)
        except ValueError as error:
            raise Problem(502, "model_unavailable", str(error)) from None
        return cls(gateway, key_id, link, sizes)

    async def store(self, answer: Connection) -> bytes:
        """Stores the files, and returns the bytes of the output that were read with them.

        Raises Problem 502 if the answer lacks files, OSError if it breaks off, and PayloadUnavailable.
        """
        store, writer = self._gateway.store, self._writer
        await store.run(spill(writer.refs, INPUT_MS))
        rest = await asyncio.to_thread(writer.take, b"")
        while not (writer.is_complete or self.ended):
            chunk = await answer.read()
            self.ended = answer.complete
            rest = await asyncio.to_thread(writer.take, chunk)
        if not writer.is_complete:
            raise Problem(502, "model_unavailable", "The model's answer lacks files of its output.")
        for file in writer.files:
            await store.run(keep_file(file, self._key_id))
        return rest
