"""The `config` that a model gets: its config.yaml with the defaults that Truss adds."""

from collections.abc import Mapping
from typing import cast

from deployments.packages.package import Package

Values = Mapping[str, object]

PLATFORM_DEFAULTS: Values = {  # the host reads none of them, but a model may
    "apply_library_patches": True,
    "base_image": None,
    "bdn": {"access": [], "hotload": {"enabled": False}, "mounts": []},
    "bis_llm": None,
    "build": {
        "arguments": {},
        "model_server": "TrussServer",
        "no_cache": False,
        "secret_to_path_mapping": {},
    },
    "build_commands": [],
    "cache_internal": [],
    "description": None,
    "docker_server": None,
    "examples_filename": "examples.yaml",
    "external_data": None,
    "input_type": "Any",
    "live_reload": False,
    "model_cache": [],
    "model_framework": "custom",
    "model_type": "Model",
    "python_version": "py313",
    "resources": {"accelerator": None, "cpu": "1", "memory": "2Gi", "use_gpu": False},
    "runtime": {
        "egress_restrictions": None,
        "health_checks": {
            "restart_check_delay_seconds": None,
            "restart_threshold_seconds": None,
            "startup_threshold_seconds": None,
            "stop_traffic_threshold_seconds": None,
        },
        "is_websocket_endpoint": False,
        "oidc": {"enabled": None},
        "remote_ssh": {"enabled": False},
        "truss_server_version_override": None,
    },
    "spec_version": "2.0",
    "training_checkpoints": None,
    "trt_llm": None,
    "use_local_src": False,
    "weights": [],
}
WEBSOCKET_DEFAULTS: Values = {
    "transport": {"ping_interval_seconds": None, "ping_timeout_seconds": None}
}


def full_config(package: Package) -> dict[str, object]:
    """The config as a new dict. Keys that Truss does not know are kept."""
    config = _with_defaults(PLATFORM_DEFAULTS, package.config)
    config["environment_variables"] = dict(package.environment_variables)
    resources = cast("dict[str, object]", config["resources"])
    resources["use_gpu"] = resources["accelerator"] is not None
    if package.runtime.transport.kind == "websocket":
        runtime = _with_defaults(WEBSOCKET_DEFAULTS, cast("Values", config["runtime"]))
        cast("dict[str, object]", runtime["transport"])["kind"] = "websocket"
        config["runtime"] = runtime | {"is_websocket_endpoint": True}
    return config


def _with_defaults(defaults: Values, given: Values) -> dict[str, object]:
    """Adds `defaults` to `given`, section by section. A null counts as not given."""
    merged = dict(defaults)
    for key, value in given.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping | None):
            merged[key] = _with_defaults(cast("Values", default or {}), cast("Values", value))
        elif value is not None or default is None:
            merged[key] = value
    return merged
