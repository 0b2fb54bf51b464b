"""A Truss package on disk. Its config.yaml is read once into frozen dataclasses with all defaults."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from deployments.config import schema
from deployments.config.check import checked, kept, refuse, unsupported
from deployments.config.fates import Finding
from deployments.config.types import PORT_PLACE, names_port
from deployments.packages.names import check_model_name
from deployments.packages.syntax import check_syntax
from deployments.packages.weights import Wish, wishes
from kingpost.packing.config_file import PackageError, read_yaml
from tasks.outside_text import whole_number

__all__ = [
    "Batching",
    "DockerServer",
    "HealthChecks",
    "Package",
    "PackageError",
    "Runtime",
    "Transport",
]

# The keys the model may look up in its `config`, as Truss's own server would hand them over.
DEFAULTS: Mapping[str, object] = {
    "model_name": None,
    "model_module_dir": "model",
    "model_class_filename": "model.py",
    "model_class_name": "Model",
    "data_dir": "data",
    "bundled_packages_dir": "packages",
    "external_package_dirs": [],
    "python_version": None,
    "requirements": [],
    "requirements_file": None,
    "environment_variables": {},
    "secrets": {},
    "system_packages": [],
    "resources": {},
    "model_metadata": {},
    "runtime": {},
}
RUNTIME_DEFAULTS: Mapping[str, object] = {
    "predict_concurrency": 1,
    "streaming_read_timeout": 60,
    "enable_debug_logs": False,
    "enable_tracing_data": False,
    "transport": {"kind": "http"},
    "health_checks": {},
}
ASYNC_GRACE = 2.0  # s until async code that was told to stop is cancelled
OnCancel = Literal["end_host", "finish_and_discard"]
TransportKind = Literal["http", "websocket", "grpc"]


@dataclass(frozen=True)
class Transport:
    """How clients talk to the model. Pings are in seconds; None means the server's default."""

    kind: TransportKind = "http"
    ping_interval_seconds: float | None = None
    ping_timeout_seconds: float | None = None


@dataclass(frozen=True)
class HealthChecks:
    """Seconds before something is done about an unhealthy replica. None leaves it to the service."""

    startup_threshold_seconds: int | None = None
    stop_traffic_threshold_seconds: int | None = None
    restart_threshold_seconds: int | None = None
    restart_check_delay_seconds: int | None = None


@dataclass(frozen=True)
class Batching:
    """`runtime.batching`: a batch runs when it is full, or `max_wait_ms` after its first call came."""

    max_batch_size: int
    max_wait_ms: float


@dataclass(frozen=True)
class Runtime:
    """`runtime`: how the model host serves the model."""

    predict_concurrency: int = 1
    streaming_read_timeout: float = 60
    stop_grace_seconds: float | None = None
    on_cancel: OnCancel | None = None
    enable_debug_logs: bool = False
    enable_tracing_data: bool = False
    transport: Transport = field(default_factory=Transport)
    health_checks: HealthChecks = field(default_factory=HealthChecks)
    batching: Batching | None = None
    served_model_names: tuple[str, ...] = ()

    @property
    def cancels_after(self) -> float:
        """The seconds until async code that was told to stop is cancelled."""
        return ASYNC_GRACE if self.stop_grace_seconds is None else self.stop_grace_seconds


@dataclass(frozen=True)
class DockerServer:
    """`docker_server`: a program that serves HTTP itself, instead of a Model class."""

    start_command: str
    server_port: int
    predict_endpoint: str
    readiness_endpoint: str
    liveness_endpoint: str
    run_as_user_id: int | None = None

    @property
    def takes_any_port(self) -> bool:
        """Whether the command says where its port goes. Else it always listens on `server_port`."""
        return names_port(self.start_command)

    def command_at(self, port: int) -> str:
        """The command with that port in the place of {port}."""
        return PORT_PLACE.sub(str(port), self.start_command)


@dataclass(frozen=True)
class Package:
    """One package. `config` is the whole config.yaml with its defaults, as the model gets it."""

    root: Path
    model_name: str
    config: Mapping[str, object]
    python_version: str | None
    model_module_dir: str
    model_class_filename: str
    model_class_name: str
    data_dir: str
    bundled_packages_dir: str
    external_package_dirs: tuple[Path, ...]
    requirements: tuple[str, ...]
    requirements_file: str | None
    environment_variables: Mapping[str, str]
    secrets: Mapping[str, str | None]
    runtime: Runtime
    docker_server: DockerServer | None
    model_metadata: Mapping[str, object]
    resources: Mapping[str, object]
    weights: tuple[Wish, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: Path | str) -> "Package":
        """Reads `folder`/config.yaml. Raises PackageError, one sentence that names the wrong key.

        Unsupported keys are accepted here, because `accept` checked them when the package was pushed.
        """
        root = Path(folder).resolve()
        raw, warnings = read_yaml(root)
        return cls._of(root, raw, tuple(warnings))

    @classmethod
    def accept(
        cls,
        folder: Path | str,
        allowed: Collection[str] = (),
        here: "Callable[[Package], list[Finding]] | None" = None,
    ) -> "Package":
        """Loads a new package. Unlike `load`, it refuses keys that Kingpost does not know or support.

        `allowed` are unsupported keys that are accepted all the same. `warnings` lists them and every other limit.
        `here` finds what the package needs and this machine does not have. Raises PackageError.
        """
        root = Path(folder).resolve()
        raw, warnings = read_yaml(root)
        found = unsupported(raw)
        refuse(found, allowed)  # first: a package for TensorRT-LLM rightly has no model.py
        package = cls._of(root, raw, tuple(warnings))
        check_model_name("" if raw.get("model_name") == "" else package.model_name)
        if package.docker_server is None:
            check_syntax(package.model_file, root, package.python_version)
        missing = here(package) if here else []
        refuse(missing, allowed)
        return replace(package, warnings=(*package.warnings, *kept([*found, *missing])))

    @classmethod
    def _of(cls, root: Path, raw: Mapping[str, object], warnings: tuple[str, ...]) -> "Package":
        config = checked(raw)
        package = cls(
            root=root,
            model_name=config.model_name or root.name,
            config=_expanded(raw),
            python_version=config.python_version,
            model_module_dir=config.model_module_dir or "model",
            model_class_filename=config.model_class_filename or "model.py",
            model_class_name=config.model_class_name or "Model",
            data_dir=config.data_dir or "data",
            bundled_packages_dir=config.bundled_packages_dir or "packages",
            external_package_dirs=tuple(root / d for d in config.external_package_dirs),
            requirements=tuple(config.requirements),
            requirements_file=config.requirements_file,
            environment_variables=_stringified(config.environment_variables),
            secrets=config.secrets,
            runtime=_runtime(config.runtime),
            docker_server=_docker_server(config.docker_server),
            model_metadata=config.model_metadata,
            resources=config.resources.model_dump(exclude_unset=True),
            weights=wishes(config),
            warnings=warnings,
        )
        package._check_files()
        return package

    @property
    def model_file(self) -> Path:
        """The file of the Model class. Only a package with `docker_server` may lack it."""
        return self.root / self.model_module_dir / self.model_class_filename

    @property
    def package_dirs(self) -> tuple[Path, ...]:
        """The folders from which the model may import, in search order."""
        return (self.root / self.bundled_packages_dir, *self.external_package_dirs)

    @property
    def slots(self) -> int:
        """How many calls a replica accepts at once. A batching model also accepts the calls of the next batch."""
        batching = self.runtime.batching
        ahead = 2 * batching.max_batch_size if batching else 1
        return max(self.runtime.predict_concurrency, ahead)

    @property
    def fixed_port(self) -> int:
        """The port of a custom server whose command names it. 0 if any will do, or if there is no such server."""
        server = self.docker_server
        return 0 if server is None or server.takes_any_port else server.server_port

    @property
    def gpus(self) -> int:
        """The number of GPUs that a replica needs, from `resources.accelerator` ("A10G", "H100:2")."""
        accelerator = str(self.resources.get("accelerator") or "")
        if not accelerator:
            return 0
        _, _, count = accelerator.partition(":")
        known = whole_number(count)
        return 1 if known is None else known

    @property
    def gpu_memory(self) -> int:
        """The bytes of GPU memory from `resources.gpu_memory` ("10Gi"). Such a model may share the GPU; 0 means the whole GPU."""
        said = self.resources.get("gpu_memory")
        return memory_bytes(str(said), "resources.gpu_memory") if said else 0

    @property
    def memory_limit(self) -> int:
        """The bytes that the host may use, from `resources.memory`; 0 means no limit.

        Truss's default value counts as no limit, because Truss's templates write it into every config.yaml.
        """
        said = str(self.resources.get("memory") or schema.DEFAULT_MEMORY)
        return 0 if said == schema.DEFAULT_MEMORY else memory_bytes(said, "resources.memory")

    def _check_files(self) -> None:
        if self.requirements_file and not (self.root / self.requirements_file).is_file():
            raise PackageError(
                f"requirements_file: {self.requirements_file} is not in the package."
            )
        for folder in self.external_package_dirs:
            if not folder.is_dir():
                raise PackageError(f"external_package_dirs: {folder} is not a folder.")
        if self.docker_server is None and not self.model_file.is_file():
            name = self.model_file.relative_to(self.root)
            raise PackageError(f"There is no {name} in {self.root}, the file with the Model class.")


def memory_bytes(said: str, key: str) -> int:
    """The bytes of a size as Kubernetes writes it ("10Gi", "500M"). Raises a PackageError that names the key."""
    match = re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*([kKMGTPE]i?)?B?", said.strip())
    if match is None:
        raise PackageError(f"{key} must be a size such as 10Gi, not {said!r}.")
    unit = match[2] or ""
    step = 1024 if unit.endswith("i") else 1000
    return int(float(match[1]) * step ** " KMGTPE".index(unit[:1].upper() or " "))


def _expanded(raw: Mapping[str, object]) -> dict[str, object]:
    """The keys of the file, unknown ones included, with defaults added."""
    config = {
        **DEFAULTS,
        **{key: value for key, value in raw.items() if value is not None},
    }
    runtime = config["runtime"]
    if isinstance(runtime, Mapping):  # anything else is refused with its key a moment later
        config["runtime"] = {**RUNTIME_DEFAULTS, **cast("Mapping[str, object]", runtime)}
    return config


def _stringified(values: Mapping[str, object]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
    }


def _runtime(said: schema.Runtime) -> Runtime:
    transport, checks, batching = said.transport, said.health_checks, said.batching
    legacy = said.is_websocket_endpoint and "kind" not in transport.model_fields_set
    return Runtime(
        predict_concurrency=said.predict_concurrency,
        streaming_read_timeout=said.streaming_read_timeout,
        stop_grace_seconds=said.stop_grace_seconds,
        on_cancel=said.on_cancel,
        enable_debug_logs=said.enable_debug_logs,
        enable_tracing_data=said.enable_tracing_data,
        transport=Transport(
            "websocket" if legacy else transport.kind,
            transport.ping_interval_seconds,
            transport.ping_timeout_seconds,
        ),
        health_checks=HealthChecks(**checks.model_dump(include=set(checks.__class__.model_fields))),
        batching=Batching(batching.max_batch_size, batching.max_wait_ms) if batching else None,
        served_model_names=tuple(said.served_model_names),
    )


def _docker_server(said: schema.DockerServer | None) -> DockerServer | None:
    if said is None:
        return None
    return DockerServer(
        start_command=said.start_command or "",
        server_port=said.server_port,
        predict_endpoint=said.predict_endpoint,
        readiness_endpoint=said.readiness_endpoint,
        liveness_endpoint=said.liveness_endpoint,
        run_as_user_id=said.run_as_user_id,
    )
