"""A Truss package on disk: its config.yaml, read once into frozen dataclasses with every default filled."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from deployments.config_values import PackageError, Section, read_yaml

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
RESERVED_VARIABLES = frozenset({"PORT", "HOSTNAME"})  # a host or container sets these itself

TransportKind = Literal["http", "websocket", "grpc"]


@dataclass(frozen=True)
class Transport:
    """How clients talk to the model; pings are in seconds, None keeps the server's own default."""

    kind: TransportKind = "http"
    ping_interval_seconds: float | None = None
    ping_timeout_seconds: float | None = None


@dataclass(frozen=True)
class HealthChecks:
    """Seconds before an unhealthy replica is acted upon; None leaves it to the service."""

    startup_threshold_seconds: int | None = None
    stop_traffic_threshold_seconds: int | None = None
    restart_threshold_seconds: int | None = None
    restart_check_delay_seconds: int | None = None


@dataclass(frozen=True)
class Batching:
    """`runtime.batching`: flush when full, or `max_wait_ms` after the first call came."""

    max_batch_size: int
    max_wait_ms: float


@dataclass(frozen=True)
class Runtime:
    """`runtime`: what the model host obeys while it serves."""

    predict_concurrency: int = 1
    streaming_read_timeout: float = 60
    enable_debug_logs: bool = False
    enable_tracing_data: bool = False
    transport: Transport = field(default_factory=Transport)
    health_checks: HealthChecks = field(default_factory=HealthChecks)
    batching: Batching | None = None


@dataclass(frozen=True)
class DockerServer:
    """`docker_server`: a program that serves HTTP by itself; it takes the place of a Model class."""

    start_command: str
    server_port: int
    predict_endpoint: str
    readiness_endpoint: str
    liveness_endpoint: str
    run_as_user_id: int | None = None


@dataclass(frozen=True)
class Package:
    """One package; `config` is the whole file with its defaults filled, as the model gets it."""

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
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: Path | str) -> "Package":
        """Reads `folder`/config.yaml. Raises PackageError, one sentence that names the wrong key."""
        root = Path(folder).resolve()
        raw, warnings = read_yaml(root)
        top = Section(raw)
        package = cls(
            root=root,
            model_name=top.text("model_name") or root.name,
            config=_expanded(raw),
            python_version=top.text("python_version"),
            model_module_dir=top.text("model_module_dir") or "model",
            model_class_filename=top.text("model_class_filename") or "model.py",
            model_class_name=top.text("model_class_name") or "Model",
            data_dir=top.text("data_dir") or "data",
            bundled_packages_dir=top.text("bundled_packages_dir") or "packages",
            external_package_dirs=tuple(root / d for d in top.texts("external_package_dirs")),
            requirements=top.texts("requirements"),
            requirements_file=top.text("requirements_file"),
            environment_variables=_variables(top),
            secrets=_secrets(top),
            runtime=_runtime(top.section("runtime")),
            docker_server=_docker_server(top),
            model_metadata=top.section("model_metadata").values,
            resources=top.section("resources").values,
            warnings=tuple(warnings),
        )
        package._check_files()
        return package

    @property
    def model_file(self) -> Path:
        """The file that holds the Model class; absent only beside a `docker_server`."""
        return self.root / self.model_module_dir / self.model_class_filename

    @property
    def package_dirs(self) -> tuple[Path, ...]:
        """Folders whose content the model may import by name, in search order."""
        return (self.root / self.bundled_packages_dir, *self.external_package_dirs)

    @property
    def slots(self) -> int:
        """How many calls a replica admits at once; a batching model needs the next batch waiting."""
        batching = self.runtime.batching
        ahead = 2 * batching.max_batch_size if batching else 1
        return max(self.runtime.predict_concurrency, ahead)

    @property
    def gpus(self) -> int:
        """Devices that a replica needs, from `resources.accelerator` ("A10G", "H100:2")."""
        accelerator = str(self.resources.get("accelerator") or "")
        if not accelerator:
            return 0
        _, _, count = accelerator.partition(":")
        return int(count) if count.isdigit() else 1

    @property
    def gpu_memory(self) -> int:
        """Bytes of a device, from `resources.gpu_memory` ("10Gi", ours): such a model may share it; 0 = all of it."""
        said = self.resources.get("gpu_memory")
        return memory_bytes(str(said), "resources.gpu_memory") if said else 0

    def _check_files(self) -> None:
        if self.requirements and self.requirements_file:
            raise PackageError("Set either requirements or requirements_file, not both.")
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
    """Bytes of a size as Kubernetes writes it ("10Gi", "500M"). Raises PackageError that names the key."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", said.strip())
    if match is None:
        raise PackageError(f"{key} must be a size such as 10Gi, not {said!r}.")
    unit = match[2] or ""
    step = 1024 if unit.endswith("i") else 1000
    return int(float(match[1]) * step ** " KMGT".index(unit[:1] or " "))


def _expanded(raw: Mapping[str, object]) -> dict[str, object]:
    """The file's own keys, unknown ones included, over the defaults."""
    config = {
        **DEFAULTS,
        **{key: value for key, value in raw.items() if value is not None},
    }
    runtime = config["runtime"]
    if isinstance(runtime, Mapping):  # anything else is refused with its key a moment later
        config["runtime"] = {**RUNTIME_DEFAULTS, **cast("Mapping[str, object]", runtime)}
    return config


def _variables(top: Section) -> dict[str, str]:
    given = top.section("environment_variables")
    for name in RESERVED_VARIABLES & given.values.keys():
        raise PackageError(f"environment_variables.{name} is reserved; choose another name.")
    return {name: _stringified(value) for name, value in given.values.items()}


def _stringified(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _secrets(top: Section) -> dict[str, str | None]:
    given = top.section("secrets").values
    return {name: None if value is None else str(value) for name, value in given.items()}


def _runtime(runtime: Section) -> Runtime:
    if runtime.values.get("num_workers", 1) != 1:
        raise PackageError(
            "runtime.num_workers must be 1; use predict_concurrency or more replicas."
        )
    return Runtime(
        predict_concurrency=runtime.integer("predict_concurrency", at_least=1) or 1,
        streaming_read_timeout=runtime.number("streaming_read_timeout", above=0) or 60,
        enable_debug_logs=runtime.flag("enable_debug_logs"),
        enable_tracing_data=runtime.flag("enable_tracing_data"),
        transport=_transport(runtime),
        health_checks=_health_checks(runtime.section("health_checks")),
        batching=_batching(runtime),
    )


def _transport(runtime: Section) -> Transport:
    transport = runtime.section("transport")
    legacy = "websocket" if runtime.flag("is_websocket_endpoint") else "http"
    kind = transport.text("kind") or legacy
    if kind not in ("http", "websocket", "grpc"):
        raise PackageError(f"runtime.transport.kind must be http, websocket or grpc, not {kind!r}.")
    return Transport(
        kind,
        transport.number("ping_interval_seconds", above=0),
        transport.number("ping_timeout_seconds", above=0),
    )


def _health_checks(checks: Section) -> HealthChecks:
    return HealthChecks(
        startup_threshold_seconds=checks.integer("startup_threshold_seconds", at_least=10),
        stop_traffic_threshold_seconds=checks.integer(
            "stop_traffic_threshold_seconds", at_least=10
        ),
        restart_threshold_seconds=checks.integer("restart_threshold_seconds", at_least=10),
        restart_check_delay_seconds=checks.integer("restart_check_delay_seconds", at_least=0),
    )


def _batching(runtime: Section) -> Batching | None:
    if runtime.values.get("batching") is None:
        return None
    batching = runtime.section("batching")
    size = batching.integer("max_batch_size", at_least=1)
    if size is None:
        raise PackageError("runtime.batching.max_batch_size is required: the largest batch.")
    wait = batching.number("max_wait_ms", at_least=0)
    return Batching(size, 5.0 if wait is None else wait)


def _docker_server(top: Section) -> DockerServer | None:
    if top.values.get("docker_server") is None:
        return None
    server = top.section("docker_server")
    if server.flag("no_build"):
        raise PackageError("docker_server.no_build needs Docker; give a start_command instead.")
    port = server.integer("server_port", at_least=1)
    if port is None or port == 8080 or port > 65535:
        raise PackageError(
            "docker_server.server_port must be 1..65535 and not 8080, which is reserved."
        )
    return DockerServer(
        start_command=server.required_text("start_command"),
        server_port=port,
        predict_endpoint=server.required_text("predict_endpoint"),
        readiness_endpoint=server.required_text("readiness_endpoint"),
        liveness_endpoint=server.required_text("liveness_endpoint"),
        run_as_user_id=server.integer("run_as_user_id", at_least=0),
    )
