"""Sections of config.yaml that only Baseten's platform acts on: images, weights, volumes, checkpoints."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from deployments.config.fates import Wanted, refused
from deployments.config.types import Anything, Filled, Flag, Section

NO_FETCH = "is not downloaded by Kingpost; put the files into the package's data folder, or download them in load()."
ON_BASETEN = "is a service of Baseten's that Kingpost does not have; remove it."


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class AuthFields(Section):
    """Credentials for a registry or bucket. Kingpost keeps them and does not use them."""

    aws_oidc_role_arn: str | None = None
    aws_oidc_region: str | None = None
    gcp_oidc_service_account: str | None = None
    gcp_oidc_workload_id_provider: str | None = None
    aws_assume_role_arn: str | None = None
    aws_assume_role_region: str | None = None


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
        BeforeValidator(_upper),
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


class Repository(Section):
    """An entry of `model_cache`."""

    repo_id: Filled
    revision: str = ""
    allow_patterns: list[str] | None = None
    ignore_patterns: list[str] | None = None
    volume_folder: Filled | None = None
    use_volume: Flag = False
    kind: Literal["hf", "gcs", "s3", "azure"] = "hf"
    runtime_secret_name: str = "hf_access_token"


class WeightsAuth(AuthFields):
    """Credentials for a bucket."""

    auth_method: Annotated[
        Literal["CUSTOM_SECRET", "AWS_OIDC", "GCP_OIDC", "AWS_ASSUME_ROLE"], BeforeValidator(_upper)
    ]
    auth_secret_name: str | None = None


class Weights(Section):
    """An entry of `weights`."""

    source: Filled
    mount_location: Filled
    auth: WeightsAuth | None = None
    auth_secret_name: str | None = None
    allow_patterns: list[str] | None = None
    ignore_patterns: list[str] | None = None


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
