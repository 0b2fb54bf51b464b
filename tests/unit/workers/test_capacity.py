"""The places of a machine: GPUs of different sizes, and a driver that says odd things or nothing."""

import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from deployments.registry.records import Deployment
from tasks.errors import SettingsError
from tasks.settings import Settings
from workers.node import capacity as module
from workers.node.capacity import Capacity, Device

SMALL_AND_LARGE = "0=24Gi,1=80Gi"


def deployment(gpus: int = 1, memory: int = 0) -> Deployment:
    return Deployment("d", "m", "name", "model", 1, "", "h", 0, gpus, memory << 30)


def capacity(gpus: str) -> Capacity:
    return Capacity.of(Settings(node_gpus=gpus, node_slots=1))


def test_a_model_gets_a_gpu_that_is_large_enough_and_only_its_share() -> None:
    here = capacity(SMALL_AND_LARGE)
    place = here.place(deployment(memory=40))
    assert place and (place.devices, place.shares) == (("1",), (0.5,))
    second = here.place(deployment(memory=40))
    assert second and second.devices == ("1",)
    assert here.place(deployment(memory=40)) is None
    assert (
        here.lacks(deployment(memory=40))
        == "it needs a GPU with 40 GiB of it, and that is free on 0 of 2"
    )
    here.give_back(place)
    assert [device.free for device in here.devices] == [1, 0.5]


def test_a_model_on_two_gpus_of_different_sizes_gives_back_what_it_took_of_each() -> None:
    here = capacity(SMALL_AND_LARGE)
    place = here.place(deployment(2, memory=20))
    assert place and sorted(zip(place.devices, place.shares, strict=True)) == [
        ("0", 20 / 24),
        ("1", 0.25),
    ]
    here.give_back(place)
    assert [device.free for device in here.devices] == [1, 1]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (deployment(3), "it needs 3 GPUs, and the machine has 2"),
        (deployment(1, 100), "it needs 1 GPU with 100 GiB, and the machine has 0"),
        (deployment(2, 40), "it needs 2 GPUs with 40 GiB, and the machine has 1"),
    ],
)
def test_no_replica_is_stopped_for_a_model_that_can_never_fit(wanted: Deployment, why: str) -> None:
    here = capacity(SMALL_AND_LARGE)
    taken = here.place(deployment())
    assert taken
    assert here.place(wanted) is None
    assert here.lacks(wanted) == why
    assert not here.could_use(wanted, taken)


def test_a_replica_is_stopped_only_where_the_other_model_could_run() -> None:
    here = capacity(SMALL_AND_LARGE)
    places = [here.place(deployment()) for _ in range(2)]
    assert [place and place.devices for place in places] == [("0",), ("1",)]
    assert [here.could_use(deployment(memory=40), place) for place in places if place] == [
        False,
        True,
    ]


def test_cuda_numbers_the_gpus_as_the_driver_does() -> None:
    place = capacity("3=80Gi").place(deployment())
    assert place and place.variables == {
        "CUDA_VISIBLE_DEVICES": "3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


@pytest.mark.parametrize("gpus", ["0,0", "0=80Gi,0=80Gi", "=80Gi", "0=much"])
def test_wrong_gpus_are_refused_with_an_example(gpus: str) -> None:
    with pytest.raises(SettingsError, match="KINGPOST_NODE_GPUS is like 0=80Gi,1=80Gi"):
        capacity(gpus)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of nvidia-smi; a test writes what it does."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_the_driver_tells_of_gpus_and_one_may_not_tell_its_memory(driver: Path) -> None:
    driver.write_text("#!/bin/sh\nprintf '0, 81920, GPU-ab\\n1, [N/A], GPU-cd\\n'")
    devices = [Device("0", 80 << 30, uuid="GPU-ab"), Device("1", 0, uuid="GPU-cd")]
    assert capacity("auto").devices == devices


@pytest.mark.parametrize(
    ("visible", "indexes"),
    [
        ("", []),
        ("-1", []),
        ("1", ["1"]),
        ("2,0", ["2", "0"]),
        ("0,7,1", ["0"]),
        ("GPU-cd", ["1"]),
        ("GPU-c", ["1"]),
        ("GPU-", []),
        ("0,0", ["0"]),
        ("MIG-1-2,2", ["MIG-1-2", "2"]),
    ],
)
def test_the_node_uses_no_gpu_that_it_was_not_given(
    driver: Path, monkeypatch: pytest.MonkeyPatch, visible: str, indexes: list[str]
) -> None:
    rows = "0, 24, GPU-ab\\n1, 24, GPU-cd\\n2, 24, GPU-ef\\n"
    driver.write_text(f"#!/bin/sh\nprintf '{rows}'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device.index for device in capacity("auto").devices] == indexes
    assert [device.index for device in capacity("5").devices] == ["5"]  # said by somebody


def test_a_driver_that_fails_is_no_gpu_and_is_logged(driver: Path) -> None:
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9")
    with capture_logs() as logged:
        assert capacity("auto").devices == []
    assert [(line["event"], line["error"]) for line in logged] == [
        ("gpus.not_found", "NVIDIA-SMI has failed")
    ]


def test_a_driver_that_hangs_is_said_and_not_taken_for_a_machine_without_gpus(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write_text("#!/bin/sh\nexec sleep 60")
    monkeypatch.setattr(module, "ASK_SECONDS", 0.2)
    with pytest.raises(SettingsError, match=r"did not answer within .* set KINGPOST_NODE_GPUS"):
        capacity("auto")
