"""Every key of config.yaml is honoured, honoured with a limit that is said, or refused with what to do instead."""

import sys
from pathlib import Path

import pytest

from cli.accepting import check_named
from deployments.config.check import kept, was_allowed
from deployments.config.fates import Finding, rows
from deployments.packages.package import Package, PackageError
from tasks.errors import SettingsError
from tasks.settings import Settings
from workers.node.findings import machine_findings

SERVER = (
    "docker_server: {start_command: x, server_port: 8080, predict_endpoint: /p, "
    "readiness_endpoint: /r, liveness_endpoint: /l}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.py").write_text("class Model: pass\n")
    return tmp_path


def accept(folder: Path, config: str, *allowed: str) -> Package:
    (folder / "config.yaml").write_text(config)
    return Package.accept(folder, allowed)


def refusal(folder: Path, config: str, *allowed: str) -> str:
    with pytest.raises(PackageError) as refused:
        accept(folder, config, *allowed)
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("config", "near"),
    [
        ("requirments: [numpy]", "requirements"),
        ("runtime: {predict_concurency: 4}", "runtime.predict_concurrency"),
        ("runtime: {batching: {max_batch_sise: 4, max_batch_size: 2}}", "runtime.batching.max_batch_size"),
        ("docker_server: {startcommand: x}", "docker_server.start_command"),
        ("runtime: {health_checks: {restart_treshold_seconds: 60}}", "runtime.health_checks.restart_threshold_seconds"),
        ("base_image: {imagee: x}", "base_image.image"),
        ("weights: [{sourc: x}]", "weights[0].source"),
        ("accelerator: A10G", "resources.accelerator"),
        ("predict_concurrency: 4", "runtime.predict_concurrency"),
        ("resources: {accelarator: A10G}", "resources.accelerator"),
        ("predict_concurency: 4", "runtime.predict_concurrency"),
        ("acelerator: A10G", "resources.accelerator"),
        ("transport: grpc", "runtime.transport"),
        ("egress_restrictions: {}", "runtime.egress_restrictions"),
        ("gpu_memory: 5Zi", "resources.gpu_memory"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(
    folder: Path, config: str, near: str
) -> None:
    assert f"did you mean {near}?" in refusal(folder, config)


def test_a_key_like_no_other_is_sent_to_the_metadata(folder: Path) -> None:
    assert "put it under model_metadata" in refusal(folder, "mine: {a: [1]}")
    package = accept(folder, "mine: {a: [1]}\nmodel_metadata: {mine: 1}", "mine")
    assert package.config["mine"] == {"a": [1]}
    assert package.warnings[0].endswith("(allowed by --allow-unsupported)")


def test_an_allowed_key_that_means_nothing_is_refused(tmp_path: Path) -> None:
    for name, config in (("one", "mine: {a: [1]}"), ("other", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(config)
    folders = [tmp_path / "one", tmp_path / "other", tmp_path / "gone"]
    good = ["mine", "weights", "weights.source", "runtime", "resources.accelerator"]
    assert check_named(good, folders) == good
    assert check_named(None, folders) == []
    with pytest.raises(
        SettingsError, match=r"--allow-unsupported wieghts names no key .*; did you mean weights\?"
    ):
        check_named(["wieghts"], folders)
    with pytest.raises(
        SettingsError, match=r"names no key of config.yaml; docs/config.md lists all keys\."
    ):
        check_named(["mine"], folders[1:])


REFUSED = [
    ("trt_llm: {build: {}}", "trt_llm", "engine builder"),
    ("bis_llm: {}", "bis_llm", "Baseten"),
    ("runtime: {transport: {kind: grpc}}", "runtime.transport.kind", "http or websocket"),
    ("runtime: {egress_restrictions: {}}", "runtime.egress_restrictions", "not enforced"),
    ("runtime: {oidc: {enabled: true}}", "runtime.oidc.enabled", "token"),
    (
        "weights: [{source: 's3://a', mount_location: /m, auth: {auth_method: AWS_OIDC, aws_oidc_role_arn: x, aws_oidc_region: y}}]",
        "weights[0].auth.auth_method",
        "auth_secret_name",
    ),
    ("external_data: [{url: 'https://x', local_data_path: y}]", "external_data", "load()"),
    ("cache_internal: [{repo_id: a/b}]", "cache_internal", "load()"),
    ("training_checkpoints: {download_folder: /x}", "training_checkpoints", "load()"),
    ("bdn: {mounts: [{source: 'bdn:a/b', path: /m}]}", "bdn.mounts", "load()"),
    ("bdn: {hotload: {enabled: true}}", "bdn.hotload.enabled", "Baseten"),
    ("resources: {instance_type: 'L4:4x16'}", "resources.instance_type", "accelerator"),
    ("resources: {node_count: 2}", "resources.node_count", "one machine"),
    ("resources: {fabric: {use_rdma: true}}", "resources.fabric", "remove it"),
    ("build: {model_server: TRT_LLM}", "build.model_server", "Model class"),
]


@pytest.mark.parametrize(("config", "key", "instead"), REFUSED)
def test_what_would_break_a_promise_is_refused_unless_it_is_allowed(
    folder: Path, config: str, key: str, instead: str
) -> None:
    said = refusal(folder, config)
    assert said.startswith(f"{key} ")
    assert instead in said
    assert f"--allow-unsupported {key}" in said
    package = accept(folder, config, key)
    assert [
        warning
        for warning in package.warnings
        if warning.startswith(f"{key} ") and "allowed" in warning
    ]


def test_no_build_needs_docker(folder: Path) -> None:
    config = SERVER.replace("8080", "9000").replace("}", ", no_build: true}")
    assert refusal(folder, config).startswith("docker_server.no_build needs Docker")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("system_packages: [ffmpeg]", "system_packages are not installed"),
        ("base_image: {image: 'nvcr.io/x'}", "base_image is not used"),
        ("build_commands: [make]", "build_commands are not run"),
        ("build: {arguments: {a: 1}}", "build.arguments is not used"),
        ("resources: {cpu: '4'}", "resources.cpu is not enforced"),
        (
            "runtime: {enable_tracing_data: true}",
            "runtime.enable_tracing_data has no effect: the variables of OpenTelemetry turn traces on",
        ),
        (
            "runtime: {remote_ssh: {enabled: true}}",
            "runtime.remote_ssh.enabled has no effect: Kingpost opens no SSH",
        ),
        (
            "runtime: {truss_server_version_override: 0.9.0}",
            "runtime.truss_server_version_override",
        ),
        ("live_reload: true", "live_reload has no effect: use"),
        ("environment_variables: {PORT: 1}", "environment_variables has PORT or HOSTNAME"),
    ],
)
def test_what_only_prepares_a_machine_is_a_warning(folder: Path, config: str, said: str) -> None:
    (warning,) = accept(folder, config).warnings
    assert warning.startswith(said)


def test_defaults_and_nulls_ask_for_nothing(folder: Path) -> None:
    config = (
        "system_packages: []\nbase_image: null\ntrt_llm: null\nexternal_data: null\nweights: []\n"
        "runtime: {egress_restrictions: null, transport: {kind: http}, remote_ssh: {enabled: false}}\n"
        "resources: {accelerator: null, cpu: '1', memory: 2Gi, use_gpu: false}\n"
    )
    assert accept(folder, config).warnings == ()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("resources: {accelerator: A1000G}", "resources.accelerator must name a GPU such as A10G"),
        ("resources: {accelerator: 'H100:x'}", "resources.accelerator must have a count of GPUs"),
        ("resources: {accelerator: 'H100:²'}", "resources.accelerator must have a count of GPUs"),
        ("resources: {gpu_memory: 5Zi}", "resources.gpu_memory must be a size such as 10Gi"),
        ("resources: {memory: 5Zi}", "resources.memory must be a size such as 2Gi"),
        ("resources: {cpu: 4}", "resources.cpu must be a string, not 4."),
        ("python_version: py999", "python_version must be py39, py310, py311, py312, py313 or py314"),
        ("python_version: '3.11'", "python_version must be py39"),
        ("secrets: {a: 5}", "secrets.a must be a string, not 5."),
        ("requirements: [numpy, 5]", "requirements[1] must be a string, not 5."),
        ("runtime: {transport: {ping_interval_seconds: 3}}", "runtime.transport.kind is required"),
        ("build: {no_cache: true}", "build.no_cache cannot be set"),
        ("model_metadata: [1]", "model_metadata must be a mapping of names to values"),
        ("runtime: {predict_concurrency: true}", "runtime.predict_concurrency must be an integer"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_is_wanted(folder: Path, config: str, said: str) -> None:
    assert refusal(folder, config).startswith(said)


def test_a_refusal_speaks_of_its_own_reason(folder: Path) -> None:
    """Not of a missing model.py, nor of a port that the other way would not have."""
    (folder / "model" / "model.py").unlink()
    assert refusal(folder, "trt_llm: {build: {}}").startswith("trt_llm needs")
    said = refusal(folder, SERVER + "runtime: {transport: {kind: grpc}}")
    assert said.startswith("runtime.transport.kind grpc is not supported")


def test_every_refused_key_is_named(folder: Path) -> None:
    said = refusal(folder, "trt_llm: {}\nrequirments: []\nruntime: {oidc: {enabled: true}}")
    assert "Refused as well: requirments, runtime.oidc.enabled." in said


def test_a_python_that_is_not_there_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "none"))
    for more in ("", "\nrequirements: [numpy]"):
        (found,) = _findings(folder, f"python_version: py314{more}")
        assert found.key == "python_version"
        assert (
            "no Python 3.14 on this machine; install it (uv python install 3.14)" in found.sentence
        )
        (old,) = _findings(folder, f"python_version: py39{more}")
        assert "py39, but the model host needs Python 3.11 or later" in old.sentence
    assert _findings(folder, f"python_version: py3{sys.version_info.minor}") == []
    assert (
        _findings(folder, SERVER.replace("8080", "8081") + "python_version: py39") == []
    )  # it brings its own
    kept_of_it = kept([found])
    assert was_allowed("python_version", kept_of_it) and not was_allowed("python", kept_of_it)
    assert not was_allowed("python_version", [found.sentence])


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ("", 0),
        ("resources: {memory: 2Gi}", 0),  # Truss's default
        ("resources: {memory: 300Mi}", 300 << 20),
        ("resources: {memory: 16Gi}", 16 << 30),
        ("resources: {memory: 500k}", 500_000),
        ("resources: {memory: '.5G'}", 500_000_000),
        ("resources: {memory: '1024'}", 1024),
    ],
)
def test_the_memory_of_a_host_is_what_the_file_says(folder: Path, config: str, most: int) -> None:
    package = accept(folder, config)
    assert (package.memory_limit, package.warnings) == (most, ())


def test_gpus_that_are_not_there_are_refused(folder: Path) -> None:
    config = "resources: {accelerator: 'A10G:2'}"
    (missing,) = _findings(folder, config, gpus="0=8Gi")
    assert "asks for 2 GPUs, and this machine has 1" in missing.sentence
    assert _findings(folder, config, gpus="0=8Gi,1=8Gi") == []


def _findings(folder: Path, config: str, gpus: str = "") -> list[Finding]:
    (folder / "config.yaml").write_text(config)
    return machine_findings(Settings(node_gpus=gpus), Package.load(folder))


def test_every_key_has_a_fate_and_a_type() -> None:
    known = rows()
    assert len(known) > 120
    assert all(row.wanted for row in known)
    assert all(row.fate.said.endswith((".", "it")) for row in known if row.fate.kind != "honoured")
