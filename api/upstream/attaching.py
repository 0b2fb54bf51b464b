"""Finds the files that an input refers to, and checks that its key may use them."""

from collections.abc import Sequence
from typing import Any

from api.gateway import Gateway
from api.problems import Problem
from deployments.attached import MARK, Attached, BadReference, ids_in, read
from tasks.files.verbs import File
from tasks.job import Job


async def files_of(gateway: Gateway, key_id: str, inputs: Sequence[Any]) -> list[list[File]]:
    """The files of each input. Raises Problem 400 for a malformed reference, and FileMissing."""
    ids = [_ids_in(model_input) for model_input in inputs]
    wanted = list(dict.fromkeys(file_id for some in ids for file_id in some))
    found = await gateway.files.stored(key_id, wanted) if wanted else []
    known = {file.id: file for file in found}
    return [[known[file_id] for file_id in some] for some in ids]


async def files_again(gateway: Gateway, job: Job, model_input: Any) -> list[Attached]:
    """The files that a changed input of a job refers to. Files of the job may have expired; any others must belong to its key.

    Raises Problem 400 and FileMissing.
    """
    kept = {file.id: file for file in read(job.files)}
    ids = _ids_in(model_input)
    fresh = [file_id for file_id in ids if file_id not in kept]
    found = await gateway.files.stored(job.api_key, fresh) if fresh else []
    known = kept | {file.id: file for file in attached(found)}
    return [known[file_id] for file_id in ids]


def _ids_in(model_input: Any) -> list[str]:
    try:
        return ids_in(model_input)
    except BadReference as error:
        raise Problem(400, "client_error", str(error)) from None


def attached(files: Sequence[File]) -> list[Attached]:
    """The files as a call of a model host names them."""
    return [Attached(file.id, file.size, file.ending) for file in files]


def may_refer(encoded: bytes) -> bool:
    """Whether this JSON can refer to files at all; most cannot, and are not looked into."""
    return MARK in encoded
