"""What `truss watch` calls: how the draft looks, and patches of it. Each patch makes another draft, which takes over once it is warm."""

import asyncio
import binascii
import json
from base64 import b64decode
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from api.routes.truss.call import Call
from api.routes.truss.models import draft_of, signature_of
from api.routes.truss.pushing import deployed
from api.routes.truss.query import QueryError
from deployments.packages.deploying import Wish
from deployments.packages.patching import config_of, text_of
from deployments.packages.uploads import PackageRefused
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from kingpost.packing.config_file import CONFIG_NAME, PackageError
from tasks.errors import NotFound

# Operations of a patch that change config.yaml. They are ignored, because the patch has the whole new file.
IN_CONFIG = ("config", "environment_variable", "external_data", "python_requirement")
FOLDERS = {
    "model_code": ("model_module_dir", "model"),
    "package": ("bundled_packages_dir", "packages"),
}


class FileChange(BaseModel):
    """A file of the model or of its packages."""

    action: Literal["ADD", "UPDATE", "REMOVE"]
    path: str
    content: str | None = None
    content_bytes: str | None = None  # base64, of a file that is not UTF-8

    def new_content(self) -> bytes | None:
        """What the file holds from now on, None if it is removed."""
        if self.action == "REMOVE":
            return None
        if self.content_bytes is not None:
            return b64decode(self.content_bytes, validate=True)
        return (self.content or "").encode()


class Operation(BaseModel):
    """One step of a patch."""

    type: str
    body: dict[str, Any]


class NextSignature(BaseModel):
    """How the folder looks after the patch."""

    config: str


class Patch(BaseModel):
    """A patch of `truss watch`."""

    prev_hash: str
    next_signature: NextSignature
    patch_ops: list[Operation]


class NotPatchable(Exception):
    """The change needs a whole push."""


async def watch_state(call: Call) -> dict[str, Any]:
    """The draft as it is now, after all patches."""
    draft = await _draft(call)
    state = {
        "current_hash": draft.content_hash,
        "current_signature": await signature_of(call, draft),
    }
    known = state if state["current_signature"] else None
    return {
        "is_container_built_from_push": True,
        "django_patch_state": known,
        "container_patch_state": known,
    }


async def stage_patch(call: Call) -> dict[str, Any]:
    """Makes the next draft of the draft and a patch."""
    draft, patch = await _draft(call), _patch(call.text("patch"))
    if patch.prev_hash != draft.content_hash:
        return _result(draft, "Somebody else changed the draft meanwhile; it is compared again")
    try:
        changes = await asyncio.to_thread(_changes, patch)
        found = await call.gateway.patching.apply(call.key.id, draft.content_hash, changes)
    except NotPatchable as error:
        return {**_result(draft, str(error)), "needs_full_deploy": True}
    except (PackageError, PackageRefused) as error:
        return _result(draft, str(error))
    try:
        made = await deployed(call, Wish(found, draft.model_name, draft=True))
    except PackageRefused as error:
        return _result(draft, str(error))
    return {**_result(draft), "version_id": made["id"]}


async def sync(call: Call) -> dict[str, Any]:
    """Nothing is left to do after a patch was staged."""
    return _result(await _draft(call))


async def _draft(call: Call) -> Deployment:
    model = await call.gateway.store.run(registry.model(call.text("id")))
    if not (draft := draft_of(model)):
        raise NotFound(f"{model.name} has no development deployment; run `truss push --watch`.")
    return await call.gateway.store.run(registry.deployment(draft))


def _result(draft: Deployment, error: str = "") -> dict[str, Any]:
    return {
        "id": draft.model_id,
        "name": draft.model_name,
        "version_id": draft.id,
        "succeeded": not error,
        "needs_full_deploy": False,
        "error": error or None,
    }


def _patch(encoded: str) -> Patch:
    try:
        return Patch.model_validate(json.loads(b64decode(encoded, validate=True)))
    except (binascii.Error, ValueError, RecursionError):
        raise QueryError("The patch cannot be read.") from None


def _changes(patch: Patch) -> dict[str, bytes | None]:
    """The files that a patch changes. Raises NotPatchable and PackageError."""
    text = patch.next_signature.config
    config = config_of(text)
    changes: dict[str, bytes | None] = {CONFIG_NAME: text.encode()}
    for operation in patch.patch_ops:
        if operation.type in FOLDERS:
            folder = text_of(config, *FOLDERS[operation.type])
            try:
                change = FileChange.model_validate(operation.body)
                changes[f"{folder}/{change.path}"] = change.new_content()
            except (ValidationError, binascii.Error):
                raise PackageError("The patch has a file that cannot be read.") from None
        elif operation.type not in IN_CONFIG:
            raise NotPatchable(f"A change of {operation.type[:40]} is not part of a patch")
        elif operation.type == "python_requirement" and config.get("requirements_file"):
            raise NotPatchable("A patch does not bring the requirements file")
    return changes
