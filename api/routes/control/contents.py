"""What the package of a deployment holds: its files with their hashes, and its config.yaml."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.gateway import gateway_of
from api.routes.control.deployer import Deployer, Manage
from kingpost.packing.config_file import CONFIG_NAME


class FileInPackage(BaseModel):
    """A file of a package."""

    path: str
    size: int = Field(description="Bytes.")
    sha256: str


class PackageContents(BaseModel):
    """A package. `complete` is false if it is too large to be read to its end, or is not there."""

    content_hash: str
    complete: bool
    config: str = Field(description="config.yaml as text; empty if it is too long.")
    files: list[FileInPackage]


router = APIRouter(prefix="/v1", tags=["packages"])


@router.get("/models/{model}/deployments/{which}/package", response_model=PackageContents)
async def contents(
    request: Request, manage: Manage, _: Deployer, model: str, which: str
) -> PackageContents:
    """The files of a deployment's package, by name, and its config.yaml, so that two versions can be compared."""
    deployment = (await manage.deployment(model, which))[1]
    held = await gateway_of(request).packages.of(deployment)
    return PackageContents(
        content_hash=deployment.content_hash,
        complete=held.complete,
        config=held.text_of(CONFIG_NAME),
        files=[FileInPackage(path=f.name, size=f.size, sha256=f.sha256) for f in held.files],
    )
