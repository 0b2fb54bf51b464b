"""Every key of config.yaml that Truss 0.18 knows, and ours (see OURS), each with what Kingpost does with it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from deployments.config.fates import Fate, Wanted, limited, refused
from deployments.config.platform import (
    NO_FETCH,
    ON_BASETEN,
    BaseImage,
    Bdn,
    BisLlm,
    Checkpoints,
    Download,
)
from deployments.config.types import (
    Anything,
    AtLeastOne,
    Delay,
    Endpoint,
    Filled,
    Flag,
    Integer,
    NotNegative,
    Positive,
    Seconds,
    Section,
    gpu_name,
    names_port,
    of_key,
    sized,
)
from deployments.config.weights import Repository, Weights, check_places

OURS = (  # the keys that Truss does not know
    "runtime.batching",
    "runtime.served_model_names",
    "runtime.on_cancel",
    "runtime.stop_grace_seconds",
    "resources.gpu_memory",
)
NO_IMAGE = "is not used: Kingpost builds no image"
NO_EFFECT = limited("has no effect in Kingpost.")
DATA_ONLY = Fate("honoured", "the model finds it in its config; nothing else reads it")
SecretName = Annotated[
    str, Field(pattern=r"^([-._a-zA-Z0-9]{1,253}|DOCKER_REGISTRY_.*)$"), Wanted("a secret's name")
]
Texts = dict[SecretName, str]


ServedName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$"), Wanted("a name without spaces")
]


class Batching(Section):
    """A section of Kingpost's own: calls of a model that takes lists are gathered into batches. `max_wait_ms` counts from the first."""

    max_batch_size: AtLeastOne
    max_wait_ms: NotNegative = 5.0


class Transport(Section):
    """How clients talk to the model."""

    kind: Annotated[
        Literal["http", "websocket", "grpc"],
        refused(
            "grpc is not supported; serve the model over http or websocket.",
            lambda value: value == "grpc",
        ),
    ] = "http"
    ping_interval_seconds: Positive | None = None
    ping_timeout_seconds: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _says_its_kind(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given and not given.get("kind"):
            raise of_key("kind is required: http or websocket.")
        return given


class HealthChecks(Section):
    """Seconds before an unhealthy replica is acted upon."""

    restart_check_delay_seconds: Delay | None = None
    restart_threshold_seconds: Seconds | None = None
    stop_traffic_threshold_seconds: Seconds | None = None
    startup_threshold_seconds: Seconds | None = None


class Oidc(Section):
    """A token of the platform."""

    enabled: Annotated[
        Flag | None,
        refused(
            "asks for a token of Baseten's platform, which Kingpost does not have; remove it.", bool
        ),
    ] = None


class RemoteSsh(Section):
    """A shell in the running container."""

    enabled: Annotated[
        Flag,
        limited(
            "has no effect: Kingpost opens no SSH; log in to the machine that runs the node.", bool
        ),
    ] = False


class EgressRestrictions(Section):
    """Where the model may connect to."""

    ip_allow_list: list[str] | None = None
    fqdn_allow_list: list[str] | None = None


class Runtime(Section):
    """How the model host serves the model."""

    predict_concurrency: AtLeastOne = 1
    streaming_read_timeout: Positive = 60
    stop_grace_seconds: Annotated[
        NotNegative | None,
        Fate(
            "honoured",
            "how long a call may go on after it was told to stop: 2 s for async code, which is then cancelled; KINGPOST_STOP_GRACE_SECONDS until `on_cancel` counts",
        ),
    ] = None
    on_cancel: Annotated[
        Literal["end_host", "finish_and_discard"] | None,
        Fate(
            "honoured",
            "what becomes of a call that does not stop; without it, the load time and other calls decide",
        ),
    ] = None
    enable_tracing_data: Annotated[
        Flag, limited("has no effect: the variables of OpenTelemetry turn traces on.", bool)
    ] = False
    enable_debug_logs: Flag = False
    transport: Transport = Transport()
    is_websocket_endpoint: Flag | None = None
    health_checks: HealthChecks = HealthChecks()
    oidc: Oidc = Oidc()
    remote_ssh: RemoteSsh = RemoteSsh()
    egress_restrictions: Annotated[
        EgressRestrictions | None,
        refused(
            "are not enforced: the model could connect anywhere; restrict the node's machine or container instead.",
            lambda value: value is not None,
        ),
    ] = None
    truss_server_version_override: Annotated[
        Annotated[
            str, Field(pattern=r"^v?\d+(\.\d+)*[-.+a-z0-9]*$"), Wanted("a version such as 0.9.0")
        ]
        | None,
        limited("is not used: Kingpost's own model host serves the model."),
    ] = None
    num_workers: Annotated[Integer, Wanted("1")] = 1
    batching: Batching | None = None
    served_model_names: Annotated[
        list[ServedName],
        Fate(
            "honoured",
            "further names for `model` on `/v1`; the model hears the first one when it is called by its own name",
        ),
    ] = []

    @model_validator(mode="after")
    def _one_worker(self) -> "Runtime":
        if self.num_workers != 1:
            message = "num_workers must be 1; use predict_concurrency or more replicas."
            raise of_key(message)
        return self


class Fabric(Section):
    """The network between nodes of one replica."""

    use_rdma: Flag | None = None
    preferences: list[str] | None = None


DEFAULT_MEMORY = "2Gi"
NOT_LIMITED = "is not enforced: the model may use all that the machine has."


class Resources(Section):
    """What a replica needs."""

    cpu: Annotated[str, sized(r"[+-]?(\d+\.?\d*|\.\d+)m?", "500m or 2"), limited(NOT_LIMITED)] = "1"
    memory: Annotated[
        str,
        sized(r"(\d+\.?\d*|\.\d+)([kMGTPE]|[KMGTPE]i)?", "2Gi"),
        Fate(
            "honoured",
            "a host that uses more is restarted; its requests run again, each alone, and one that still does it fails with MODEL_OUT_OF_MEMORY; 2Gi, Truss's default, means no limit",
        ),
    ] = DEFAULT_MEMORY
    use_gpu: Annotated[
        Anything,
        Fate(
            "honoured",
            "true without an `accelerator` lets the model see the node's GPUs, which are not counted for it; its `config` says what `accelerator` says, as in Truss",
        ),
    ] = None
    accelerator: Annotated[
        str | None,
        BeforeValidator(gpu_name),
        Wanted("a GPU such as A10G or H100:2"),
        limited(
            "counts GPUs only: their type is not compared with the node's. A push on a machine with fewer is refused."
        ),
    ] = None
    instance_type: Annotated[
        str | None,
        refused("is a machine size of Baseten's; set cpu, memory and accelerator instead."),
    ] = None
    node_count: Annotated[
        AtLeastOne | None,
        refused(
            "above 1 is not supported: a replica runs on one machine.", lambda value: value != 1
        ),
    ] = None
    fabric: Annotated[Fabric | None, refused("is not set up by Kingpost; remove it.")] = None
    gpu_memory: Annotated[str | None, sized(r"\d+(\.\d+)?\s*([KMGT]i?)?B?", "10Gi")] = None


class Build(Section):
    """How an image is built on Baseten."""

    model_server: Annotated[
        Literal["TrussServer", "TRT_LLM"],
        refused("TRT_LLM is not supported; write a Model class.", lambda value: value == "TRT_LLM"),
    ] = "TrussServer"
    arguments: Annotated[dict[str, Anything], limited(f"{NO_IMAGE}.")] = {}
    secret_to_path_mapping: Annotated[Texts, limited(f"{NO_IMAGE}.")] = {}
    no_cache: Annotated[Flag, Fate("honoured", "only false, as in Truss")] = False

    @model_validator(mode="after")
    def _cached(self) -> "Build":
        if self.no_cache:
            raise of_key("no_cache cannot be set in config.yaml, as in Truss.")
        return self


class DockerServer(Section):
    """A program that serves HTTP by itself; it takes the place of a Model class."""

    start_command: Annotated[
        Filled | None,
        limited(
            "names its port itself, so a machine has room for one replica, and a new version cannot start beside it; write {port} or $PORT there.",
            lambda value: not names_port(value),
        ),
    ] = None
    server_port: Annotated[
        Integer, Field(ge=1, le=65535), Wanted("1..65535 and not 8080, which is reserved")
    ]
    predict_endpoint: Endpoint
    readiness_endpoint: Endpoint
    liveness_endpoint: Endpoint
    run_as_user_id: Annotated[Delay | None, Wanted("a user's number")] = None
    no_build: Annotated[
        Flag | None, refused("needs Docker; set a start_command instead.", bool)
    ] = None

    @model_validator(mode="after")
    def _starts(self) -> "DockerServer":
        if self.start_command is None:
            raise of_key("start_command is required.")
        if self.server_port == 8080:
            message = "server_port must be 1..65535 and not 8080, which is reserved."
            raise of_key(message)
        if self.run_as_user_id in (0, 60000):
            message = f"run_as_user_id cannot be {self.run_as_user_id}; use another user."
            raise of_key(message)
        return self


class Config(Section):
    """The whole file."""

    model_name: str | None = None
    description: Annotated[str | None, DATA_ONLY] = None
    model_metadata: dict[str, Anything] = {}
    examples_filename: Annotated[str, DATA_ONLY] = "examples.yaml"
    model_module_dir: str = "model"
    model_class_filename: str = "model.py"
    model_class_name: str = "Model"
    data_dir: str = "data"
    bundled_packages_dir: str = "packages"
    external_package_dirs: list[str] = []
    python_version: Annotated[
        Literal["py39", "py310", "py311", "py312", "py313", "py314"] | None,
        Fate(
            "honoured",
            "a push is refused for py39 and py310, which the model host does not support, and if that Python is not installed",
        ),
    ] = None
    requirements: list[str] = []
    requirements_file: str | None = None
    environment_variables: Annotated[
        dict[str, Anything],
        limited(
            "has PORT or HOSTNAME, which Baseten overwrites; in Kingpost the model gets the values of the file, but a docker_server gets its own PORT.",
            lambda value: isinstance(value, Mapping) and bool({"PORT", "HOSTNAME"} & value.keys()),  # pyright: ignore
        ),
    ] = {}
    secrets: dict[str, str | None] = {}
    system_packages: Annotated[
        list[str], limited("are not installed; install them on the machines of the nodes.")
    ] = []
    base_image: Annotated[
        BaseImage | None,
        limited(f"{NO_IMAGE}; the model runs in a virtualenv on the node's machine."),
    ] = None
    build_commands: Annotated[
        list[str], limited("are not run; run them on the machines of the nodes.")
    ] = []
    build: Build = Build()
    resources: Resources = Resources()
    runtime: Runtime = Runtime()
    docker_server: DockerServer | None = None
    model_cache: Annotated[
        list[Repository],
        Fate(
            "honoured",
            "fetched once per machine before the model is loaded; `from_pretrained(repo_id)` finds it without the network, and a bucket or `volume_folder` is in /app/model_cache",
        ),
    ] = []
    hf_cache: Annotated[
        list[Repository] | None, Fate("honoured", "the old name of `model_cache`")
    ] = None
    weights: Annotated[
        list[Weights],
        Fate(
            "honoured",
            "fetched once per machine before the model is loaded, and shown at `mount_location`",
        ),
    ] = []
    external_data: Annotated[list[Download] | None, refused(NO_FETCH)] = None
    bdn: Bdn = Bdn()
    cache_internal: Annotated[list[Repository], refused(NO_FETCH)] = []
    training_checkpoints: Annotated[Checkpoints | None, refused(NO_FETCH)] = None
    trt_llm: Annotated[
        dict[str, Anything] | None,
        refused(
            "needs Baseten's engine builder; serve the engine with a docker_server or a Model class.",
            lambda value: value is not None,
        ),
    ] = None
    bis_llm: Annotated[BisLlm | None, refused(ON_BASETEN, lambda value: value is not None)] = None
    input_type: Annotated[str, DATA_ONLY] = "Any"
    model_framework: Annotated[str, DATA_ONLY] = "custom"
    model_type: Annotated[str, DATA_ONLY] = "Model"
    use_local_src: Annotated[Flag, NO_EFFECT] = False
    live_reload: Annotated[Flag, limited("has no effect: use `kingpost watch` instead.", bool)] = (
        False
    )
    apply_library_patches: Annotated[Flag, NO_EFFECT] = True
    spec_version: Annotated[str, DATA_ONLY] = "2.0"

    @model_validator(mode="after")
    def _one_list(self) -> "Config":
        if self.requirements and self.requirements_file:
            raise PydanticCustomError(
                "whole", "Set either requirements or requirements_file, not both."
            )
        if (self.model_cache or self.hf_cache) and self.weights:
            raise PydanticCustomError("whole", "Set either model_cache or weights, not both.")
        check_places(self.weights, [*self.model_cache, *(self.hf_cache or [])])
        return self
