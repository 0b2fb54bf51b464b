"""The variables of a host: a model without an accelerator sees no GPU, and what models compile survives restarts."""

from pathlib import Path

import pytest

from deployments.packages.package import Package
from tasks.settings import Settings
from workers.hosting.surroundings import surroundings


def package(folder: Path, config: str) -> Package:
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    (folder / "model" / "model.py").touch()
    return Package.load(folder)


@pytest.mark.parametrize(
    ("resources", "everybody", "blind"),
    [
        ("{}", False, True),
        ("{use_gpu: false}", False, True),
        ("{use_gpu: true}", False, False),
        ("{accelerator: A10G}", False, False),
        ("{}", True, False),
    ],
)
def test_only_a_model_that_asks_for_one_sees_a_gpu(
    tmp_path: Path, resources: str, everybody: bool, blind: bool
) -> None:
    settings = Settings(state_dir=tmp_path, cpu_models_see_gpus=everybody)
    model = package(tmp_path / "one", f"resources: {resources}")
    found = surroundings(settings, [model], {"CUDA_VISIBLE_DEVICES": "3"})
    assert found.get("CUDA_VISIBLE_DEVICES") == ("" if blind else None)


def test_a_process_sees_what_one_of_its_models_needs(tmp_path: Path) -> None:
    models = [package(tmp_path / "a", ""), package(tmp_path / "b", "resources: {accelerator: T4}")]
    assert "CUDA_VISIBLE_DEVICES" not in surroundings(Settings(state_dir=tmp_path), models, {})


def test_versions_of_a_model_share_what_they_compile_and_others_do_not(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    first, second, other = (
        surroundings(settings, [package(tmp_path / n, f"model_name: {name}")], {})
        for n, name in enumerate_names("org/m", "org/m", "../m")
    )
    assert first == second
    assert first["TRITON_CACHE_DIR"] != other["TRITON_CACHE_DIR"]
    for variables in (first, other):
        for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
            assert Path(variables[name]).resolve().is_relative_to(tmp_path / "state" / "caches")


def test_a_cache_of_the_nodes_own_is_kept(tmp_path: Path) -> None:
    given = {"TRITON_CACHE_DIR": "/fast/triton"}
    found = surroundings(Settings(state_dir=tmp_path), [package(tmp_path / "m", "")], given)
    assert "TRITON_CACHE_DIR" not in found
    assert "TORCHINDUCTOR_CACHE_DIR" in found


def enumerate_names(*names: str) -> list[tuple[str, str]]:
    """Each name with a number for its folder."""
    return [(str(number), name) for number, name in enumerate(names)]
