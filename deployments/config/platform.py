"""Sections of config.yaml that only Baseten's platform acts on: images, volumes, checkpoints."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from deployments.config.fates import Wanted, refused
from deployments.config.types import Anything, Filled, Flag, Section
from deployments.config.weights import AuthFields, upper

NO_FETCH = "is not downloaded by Kingpost; put the files into the package's data folder, or download them in load()."
ON_BASETEN = "is a service of Baseten's that Kingpost does not have; remove it."


class DockerAuth(AuthFields):
    """Login to a registry."""

    auth_method: Annotated[
        Literal[
            "GCP_SERVICE_ACCOUNT_JSON",
            "AWS_IAM",
            "AWS_OIDC",
            "GCP_OIDC",
            "REGISTRY_SECRET",
            "AWS_ASSUME_ROLE",
        ],
        BeforeValidator(upper),
    ]
    registry: str | None = ""
    secret_name: str | None = None
    aws_access_key_id_secret_name: str = "aws_access_key_id"
    aws_secret_access_key_secret_name: str = "aws_secret_access_key"


class BaseImage(Section):
    """The image that a model's container starts from."""

    image: str = ""
    python_executable_path: Annotated[
        str, Field(pattern=r"^(/.*)?$"), Wanted("a path that begins with /")
    ] = ""
    docker_auth: DockerAuth | None = None


class Mount(Section):
    """An entry of `bdn.mounts`."""

    source: Filled
    path: Filled
    include: list[str] = []
    exclude: list[str] = []


class Access(Section):
    """An entry of `bdn.access`."""

    namespace: Filled
    grants: list[Literal["pull", "push", "tag", "inspect", "delete"]]


class Hotload(Section):
    """Whether volumes may be loaded later."""

    enabled: Annotated[Flag, refused(ON_BASETEN, bool)] = False


class Bdn(Section):
    """Volumes of Baseten's delivery network."""

    mounts: Annotated[list[Mount], refused(NO_FETCH)] = []
    access: Annotated[list[Access], refused(ON_BASETEN)] = []
    hotload: Hotload = Hotload()


class Download(Section):
    """An entry of `external_data`."""

    url: Filled
    local_data_path: Filled
    backend: str = "http_public"
    name: str | None = None


class Artifact(Section):
    """An entry of `training_checkpoints.artifact_references`."""

    training_job_id: str
    paths: list[str] = []


class Checkpoints(Section):
    """What a training job left."""

    download_folder: str = "/tmp/training_checkpoints"
    artifact_references: list[Artifact] = []
    loops_checkpoint_ids: list[str] = []


class BisLlm(Section):
    """Baseten's own LLM stack."""

    config: dict[str, Anything] | None = None
    version: str = ""
    additional_autoscaling_config: dict[str, Anything] | None = None
