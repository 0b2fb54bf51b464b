"""Our schema of config.yaml against Truss's own: the same keys, and what Truss refuses is refused here."""

import copy
import itertools
import logging
import types
import warnings
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic
import pytest

from deployments.config.check import checked, refuse, unsupported
from deployments.config.fates import rows
from deployments.config.schema import OURS
from kingpost.packing.config_file import PackageError, plain

truss_config = pytest.importorskip("truss.base.truss_config")

LEGACY = {
    "hf_cache",
    "resources.use_gpu",
    "runtime.num_workers",
}  # Truss reads them, too, outside of its fields
OPAQUE = {
    "trt_llm",
    "bis_llm.additional_autoscaling_config",
}  # refused as a whole: nothing below is looked at

# What Truss refuses and we take, with the reason.
WE_TAKE = {
    "runtime: {'num_workers': 1}": "Truss's reader takes it, its push does not; it says nothing that is not so",
    "runtime: {'streaming_read_timeout': 0.5}": "a fraction of a second may be given",
    "requirements: None": "a null counts as not given",
}

SERVER = {"start_command": "x", "server_port": 9000, "predict_endpoint": "/p", "readiness_endpoint": "/r", "liveness_endpoint": "/l"}  # fmt: skip
WEIGHT = {"source": "hf://a/b", "mount_location": "/m"}
REPO = {"repo_id": "a/b", "use_volume": False}
VALUES: dict[str, list[Any]] = {
    "model_name": ["x", 5, ["x"], True],
    "description": ["x", 5, {}],
    "model_metadata": [{"a": 1}, [1], "x"],
    "requirements": [["a"], "a", [5], {"a": 1}, [None], None],
    "requirements_file": ["r.txt", 5, ["r.txt"]],
    "system_packages": [["a"], "a", [5]],
    "build_commands": [["a"], "a", [{}]],
    "python_version": ["py39", "py310", "py311", "py312", "py313", "py314", "py38", "py999", "3.11", 3.11, "python3"],
    "environment_variables": [{"a": 1}, {"a": True}, {"PORT": "1"}],
    "secrets": [{"a": None}, {"a": "x"}, {"a": 5}, ["a"], {"a": ["x"]}],
    "external_package_dirs": [["a"], "a", [1]],
    "data_dir": ["d", 5, ["d"]],
    "model_module_dir": ["m", 5],
    "model_class_name": ["M", 5, []],
    "apply_library_patches": [True, False, "yes", "x", []],
    "live_reload": [True, "maybe"],
    "base_image": [{"image": "x"}, "x", {"image": 5}, {"image": "x", "python_executable_path": "bin/python"},
                   {"docker_auth": {"auth_method": "AWS_IAM"}}, {"docker_auth": {"auth_method": "NOBODY"}}, {"docker_auth": "x"}],
    "build": [{"arguments": {"a": 1}}, {"no_cache": True}, {"model_server": "TrussServer"}, {"model_server": "X"},
              {"secret_to_path_mapping": {"a": "/x"}}, {"secret_to_path_mapping": {"a b!": "/x"}}, {"secret_to_path_mapping": ["a"]}],
    "resources": [{"cpu": "1"}, {"cpu": "500m"}, {"cpu": 1}, {"cpu": "x"}, {"cpu": "1 core"}, {"memory": "2Gi"}, {"memory": "2"},
                  {"memory": "2Zi"}, {"memory": "x"}, {"memory": 5}, {"memory": "2 Gi"}, {"accelerator": "A10G"}, {"accelerator": "A10G:2"},
                  {"accelerator": "A1000G"}, {"accelerator": "A10G:0"}, {"accelerator": "A10G:x"}, {"accelerator": "A10G:-1"},
                  {"accelerator": ""}, {"accelerator": "a10g"}, {"accelerator": 5}, {"node_count": 1}, {"node_count": 0},
                  {"node_count": "1"}, {"node_count": 2}, {"instance_type": 5}, {"fabric": {"use_rdma": "perhaps"}}, "big", [1],
                  {"cpu": "1..5"}, {"memory": "1..5Gi"}, {"use_gpu": True}],
    "runtime": [{"predict_concurrency": 4}, {"predict_concurrency": "4"}, {"predict_concurrency": "x"}, {"predict_concurrency": 1.5},
                {"predict_concurrency": []}, {"streaming_read_timeout": 0.5}, {"streaming_read_timeout": 5}, {"streaming_read_timeout": "x"}, {"enable_debug_logs": True},
                {"enable_debug_logs": "on"}, {"enable_debug_logs": "x"}, {"enable_tracing_data": {}}, {"transport": {"kind": "http"}},
                {"transport": {"kind": "websocket", "ping_interval_seconds": 3}}, {"transport": {"kind": "ftp"}}, {"transport": {"ping_interval_seconds": 3}},
                {"transport": "http"}, {"transport": {}}, {"transport": {"kind": "websocket", "ping_timeout_seconds": "soon"}},
                {"is_websocket_endpoint": True}, {"is_websocket_endpoint": "x"}, {"num_workers": 1}, {"num_workers": 2},
                {"health_checks": {"restart_threshold_seconds": 60}}, {"health_checks": {"restart_threshold_seconds": "x"}}, {"health_checks": 5},
                {"egress_restrictions": {"ip_allow_list": ["1.2.3.4"]}}, {"egress_restrictions": {"ip_allow_list": ["x"]}},
                {"egress_restrictions": {"fqdn_allow_list": [""]}}, {"oidc": {"enabled": True}}, {"oidc": 5}, {"remote_ssh": {"enabled": "x"}},
                {"truss_server_version_override": "0.9.0"}, {"truss_server_version_override": "latest"}, {"truss_server_version_override": 1}, 5],
    "docker_server": [SERVER, *({**SERVER, key: value} for key, value in (("server_port", "x"), ("server_port", "9000"), ("run_as_user_id", 0),
                      ("run_as_user_id", 60000), ("run_as_user_id", 5), ("predict_endpoint", 5), ("no_build", True), ("start_command", 5))),
                      *({k: v for k, v in SERVER.items() if k != gone} for gone in SERVER), "x", []],
    "weights": [[WEIGHT], [{"source": "x", "mount_location": "/m"}], [{"source": "hf://a/b"}], [WEIGHT, WEIGHT], "x", [5]],
    "model_cache": [[REPO], [{"repo_id": ""}], [{"use_volume": False}], [{**REPO, "revision": "x"}], "x"],
    "external_data": [[{"url": "u", "local_data_path": "p"}], [{"url": "u"}], {"url": "u"}],
    "bdn": [{"mounts": [{"source": "bdn:a/b", "path": "/m"}]}, {"mounts": [{"source": "x", "path": "/m"}]}, {"hotload": {"enabled": True}}, {"access": [{"namespace": "a", "grants": []}]}],
    "training_checkpoints": [{"download_folder": "/x"}, {"artifact_references": [{}]}, 5],
    "trt_llm": [{}, {"build": {}}, {"inference_stack": "v3"}, 5],
    "bis_llm": [{}, {"config": 5}, {"version": 5}],
    "input_type": ["x", 5],
    "model_framework": ["x", []],
    "model_type": ["x", 5],
    "spec_version": ["2.0", 2.0],
    "examples_filename": ["x", 5],
    "use_local_src": [True, "x"],
    "requirments": [["a"]],
    "mine": [1],
}  # fmt: skip


def configs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each value alone, each known key as null, and pairs of some."""
    for key, values in VALUES.items():
        for value in values:
            yield f"{key}: {value}", {key: value}
    for first, other in itertools.combinations(("requirements", "requirements_file", "weights", "model_cache"), 2):  # fmt: skip
        yield f"{first} and {other}", {first: VALUES[first][0], other: VALUES[other][0]}


CONFIGS = dict(configs())


def refused_by_truss(config: dict[str, Any]) -> str:
    """What `truss push` says, '' when it takes it."""
    given = copy.deepcopy(config)
    if given.get("build") == {"no_cache": True}:
        return "no_cache cannot be specified in config.yaml"  # said by its reader of files
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            truss_config.TrussConfig.from_dict(given).validate_forbid_extra()
        except (pydantic.ValidationError, ValueError, TypeError, AttributeError, KeyError) as error:
            return str(error) or repr(error)
    return ""


def refused_by_us(config: dict[str, Any]) -> str:
    """What a push says, '' when it takes it."""
    try:
        raw = plain(config)
        assert isinstance(raw, dict)
        refuse(unsupported(raw), ())
        checked(raw)
    except PackageError as error:
        return str(error)
    return ""


def test_what_truss_refuses_is_refused_here_in_one_sentence() -> None:
    logging.disable(logging.WARNING)
    only_theirs: dict[str, str] = {}
    for said, config in CONFIGS.items():
        theirs, ours = refused_by_truss(config), refused_by_us(config)
        assert "\n" not in ours, ours
        if theirs and not ours:
            only_theirs[said] = theirs.splitlines()[-2 if theirs.count("\n") > 1 else -1]
    logging.disable(logging.NOTSET)
    assert only_theirs.keys() == WE_TAKE.keys()
    assert len(CONFIGS) >= 200


def test_the_keys_are_those_of_truss_and_ours() -> None:
    ours = {row.key for row in rows()}
    theirs = set(_keys(truss_config.TrussConfig, ""))
    below_ours = {key for key in ours if any(key == o or key.startswith(f"{o}.") for o in OURS)}
    assert ours - theirs - below_ours - {k for k in ours if k.partition("[")[0] in LEGACY} == set()
    assert theirs - ours == set()


def _keys(model: Any, path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{path}{name}"
        yield key
        if key in OPAQUE or key == "resources.accelerator":
            continue
        for inner, many in _models(field.annotation, False):
            yield from _keys(inner, f"{key}{'[]' if many else ''}.")


def _models(annotation: Any, many: bool) -> Iterator[tuple[Any, bool]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _models(get_args(annotation)[0], many)
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _models(part, many)
    elif origin is list:
        yield from _models(get_args(annotation)[0], True)
    elif isinstance(annotation, type) and issubclass(annotation, pydantic.RootModel):
        yield from _models(annotation.model_fields["root"].annotation, many)
    elif isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation, many
