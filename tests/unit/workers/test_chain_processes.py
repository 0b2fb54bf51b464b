"""Chainlets that share a process, as files and as entries of the registry; how they run is in tests/contract/chains."""

from dataclasses import replace
from pathlib import Path

import pytest

from cli.stack.chains import build_one
from deployments import chains
from deployments.packages.package import Package, PackageError
from deployments.registry import verbs as registry
from deployments.registry.autoscaler import Autoscaler
from deployments.registry.autoscaling import Autoscaling
from deployments.registry.management import Management
from deployments.registry.records import Deployment, Replica
from deployments.registry.verbs import NotOnItsOwn
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore, JobStore
from workers.chains.processes import process_name
from workers.hosting.extras import extras
from workers.replica.main import run_deployment, run_folder

pytestmark = pytest.mark.usefixtures("quick_builds")

SMALL = 'metadata={"kingpost": {"process": "small"}}'
CHAIN = """import truss_chains as chains


class Below(chains.ChainletBase):
    remote_config = chains.RemoteConfig(BELOW)

    async def run_remote(self, a: int) -> int:
        return a


class Middle(chains.ChainletBase):
    remote_config = chains.RemoteConfig(MIDDLE)

    def __init__(self, below: Below = chains.depends(Below)) -> None:
        self._below = below

    async def run_remote(self, a: int) -> int:
        return await self._below.run_remote(a)


@chains.mark_entrypoint("c")
class Top(chains.ChainletBase):
    remote_config = chains.RemoteConfig(TOP)

    def __init__(
        self, below: Below = chains.depends(Below), middle: Middle = chains.depends(Middle)
    ) -> None:
        self._below, self._middle = below, middle

    async def run_remote(self, a: int) -> int:
        return await self._below.run_remote(a) + await self._middle.run_remote(a)
"""


def options(inside: str = SMALL) -> str:
    return f"options=chains.ChainletOptions({inside})"


def chain(folder: Path, top: str = "", middle: str = "", below: str = "") -> Path:
    text = CHAIN.replace("TOP", top).replace("MIDDLE", middle).replace("BELOW", below)
    file = folder / "chain" / "chain.py"
    file.parent.mkdir()
    file.write_text(text)
    return file


def built(folder: Path, **configs: str) -> dict[str, Package]:
    packages = chains.build(chain(folder, **configs), folder / "out")
    return {package.root.name: package for package in packages}


# -- the setting


def test_a_process_is_led_by_the_entrypoint_and_has_callers_first(tmp_path: Path) -> None:
    packages = built(tmp_path, top=options(), middle=options(), below=options())
    shares = ("Top", "Middle", "Below")
    for package in packages.values():
        member = chains.member_of(package)
        assert member
        assert (member.process, member.shares) == ("small", shares)
        assert [member.root.name for member in chains.process_of(package)] == list(shares)
    together = chains.processes(list(packages.values()))
    assert [[member.root.name for member in process] for process in together] == [list(shares)]


def test_a_chainlet_that_names_none_or_is_the_only_one_is_alone(tmp_path: Path) -> None:
    packages = built(tmp_path, top=options('metadata={"team": "blue"}'), middle=options())
    for package in packages.values():
        assert chains.process_of(package)[0].root == package.root
    assert len(chains.processes(list(packages.values()))) == 3


def test_a_process_without_the_entrypoint_is_led_by_the_caller(tmp_path: Path) -> None:
    packages = built(tmp_path, middle=options(), below=options())
    together = chains.processes(list(packages.values()))
    names = sorted([member.root.name for member in process] for process in together)
    assert names == [["Middle", "Below"], ["Top"]]
    assert build_one(tmp_path / "chain", tmp_path / "again") == [
        tmp_path / "again" / "chain" / "Middle",
        tmp_path / "again" / "chain" / "Top",
    ]


def image(inside: str) -> str:
    return f"docker_image=chains.DockerImage({inside}), {options()}"


@pytest.mark.parametrize(
    ("below", "differ"),
    [
        (image("pip_requirements=['humanize']"), "pip requirements"),
        (image("base_image=chains.BasetenImage.PY310"), "base images"),
        (image("apt_requirements=['ffmpeg']"), "system packages"),
        ("compute=chains.Compute(gpu='A10G'), " + options(), "devices"),
        (options("env_variables={'A': '1'}, " + SMALL), "environment variables"),
    ],
)
def test_what_cannot_share_is_one_sentence_that_says_what_to_do(
    tmp_path: Path, below: str, differ: str
) -> None:
    with pytest.raises(PackageError) as error:
        built(tmp_path, top=options(), below=below)
    assert str(error.value) == (
        f"c and c.Below cannot share the process 'small', because their {differ} differ; make them "
        "the same, or give one of the two another process in its metadata."
    )


@pytest.mark.parametrize("ours", ["small", {"proces": "small"}, {"process": "a b"}, {"process": 1}])
def test_a_setting_that_is_misspelt_is_refused(ours: object) -> None:
    with pytest.raises(PackageError, match=r"Top: metadata\['kingpost'\] must be like"):
        process_name("Top", {"kingpost": ours})


WRAPPING = """import truss_chains as chains
from truss_chains.remote_chainlet.truss_chainlet import TrussHandle


class Wrapped(chains.TrussChainlet):
    truss_dir = "./wrapped"
    REMOTE_CONFIG


@chains.mark_entrypoint("w")
class Top(chains.ChainletBase):
    remote_config = chains.RemoteConfig(TOP)

    def __init__(self, wrapped: TrussHandle = chains.depends(Wrapped)) -> None:
        self._wrapped = wrapped

    async def run_remote(self, a: int) -> int:
        return a
"""


def wrapping(folder: Path, config: str) -> list[Package]:
    truss = folder / "chain" / "wrapped" / "model"
    truss.mkdir(parents=True)
    (truss / "model.py").write_text("class Model:\n    def predict(self, a):\n        return a\n")
    (truss.parent / "config.yaml").write_text("model_name: wrapped\n")
    file = folder / "chain" / "chain.py"
    file.write_text(WRAPPING.replace("REMOTE_CONFIG", config).replace("TOP", options()))
    return chains.build(file, folder / "out")


def test_a_wrapped_truss_has_a_process_of_its_own(tmp_path: Path) -> None:
    assert len(chains.processes(wrapping(tmp_path, ""))) == 2


def test_a_wrapped_truss_that_wants_to_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PackageError, match="Wrapped wraps a Truss package, which always has a process"
    ):
        wrapping(tmp_path, f"remote_config = chains.RemoteConfig({options()})")


def test_a_process_has_no_chainlet_s_name(tmp_path: Path) -> None:
    named = options('metadata={"kingpost": {"process": "Below"}}')
    with pytest.raises(PackageError, match="'Below' has the name of a chainlet"):
        built(tmp_path, top=named, middle=named)


def test_truss_takes_the_setting_as_metadata(tmp_path: Path) -> None:
    packages = built(tmp_path, top=options(), middle=options())
    assert packages["Top"].model_metadata["kingpost"] == {"process": "small"}


def test_lines_that_no_chainlet_wrote_have_the_name_of_the_process(tmp_path: Path) -> None:
    member = chains.Member("c", "chain", {}, "small", ("Top", "Below"))
    settings = Settings(state_dir=tmp_path, chain_api_key="key")  # type: ignore[arg-type]
    assert extras(member, settings, tmp_path / "config").name == "c.small"
    alone = replace(member, shares=())
    assert extras(alone, settings, tmp_path / "config").name == ""


# -- the registry


@pytest.fixture
def pair(settings: Settings) -> tuple[Deployment, Deployment]:
    store = JobStore(settings)
    top = store.run(registry.register("c", "/c", "h", 1, "chain"))
    return top, store.run(registry.register("c.Below", "/b", "h", 1, "chainlet", leader=top.id))


def test_a_chainlet_that_leaves_a_process_leads_itself(
    settings: Settings, pair: tuple[Deployment, Deployment]
) -> None:
    top, below = pair
    assert below.leader == top.id
    again = JobStore(settings).run(registry.register("c.Below", "/b", "h", 1, "chainlet"))
    assert (again.id, again.leader) == (below.id, "")


async def test_what_is_meant_for_a_process_is_said_of_its_leader(
    settings: Settings, async_store: AsyncJobStore, pair: tuple[Deployment, Deployment]
) -> None:
    below = pair[1]
    management = Management(async_store)
    said = "c.Below runs in the process of c; use c instead."
    with pytest.raises(NotOnItsOwn, match=said):
        await management.configure(below.model_id, "production", {"min_replica": 1})
    with pytest.raises(NotOnItsOwn, match=said):
        await management.activate(below.model_id, "production", False)
    with pytest.raises(NotOnItsOwn, match=said):
        run_deployment(settings, below.id, None)
    assert await management.configure(pair[0].model_id, "production", {"max_replica": 2})


def test_a_replica_of_the_wrong_folder_says_which_one_is_right(
    settings: Settings, tmp_path: Path
) -> None:
    packages = built(tmp_path, top=options(), below=options())
    said = f"c.Below shares a process with c: start the replica of {packages['Top'].root}"
    with pytest.raises(NotOnItsOwn, match=said):
        run_folder(settings, packages["Below"].root)


def report(store: JobStore, deployment: Deployment, busy: int) -> None:
    about = (deployment.id, deployment.model_name, "ready", None, "/nowhere.sock", 4, busy, 1, 2)
    store.run(registry.report(Replica(f"{deployment.model_name}-1", *about), 15_000))  # type: ignore[arg-type]


async def test_the_busiest_chainlet_decides_for_all_of_its_process(
    settings: Settings,
    store: JobStore,
    async_store: AsyncJobStore,
    pair: tuple[Deployment, Deployment],
) -> None:
    autoscaler = Autoscaler(async_store, settings)
    store.run(
        registry.configure(
            pair[0].id, Autoscaling(max_replica=9, target_utilization_percentage=100)
        )
    )
    report(store, pair[0], busy=1)
    report(store, pair[1], busy=3)
    await autoscaler.run_once()
    assert [store.run(registry.deployment(deployment.id)).wanted for deployment in pair] == [3, 3]
    assert store.run(registry.needy()) == []


async def test_a_call_of_any_chainlet_keeps_its_process_wanted(
    settings: Settings,
    store: JobStore,
    async_store: AsyncJobStore,
    pair: tuple[Deployment, Deployment],
) -> None:
    autoscaler = Autoscaler(async_store, settings)
    store.run(registry.demand(pair[1].id))
    await autoscaler.run_once()
    assert store.run(registry.needy()) == [pair[0].id]
    assert [store.run(registry.deployment(deployment.id)).wanted for deployment in pair] == [1, 1]


async def test_a_process_that_is_deactivated_rests_as_a_whole(
    settings: Settings,
    store: JobStore,
    async_store: AsyncJobStore,
    pair: tuple[Deployment, Deployment],
) -> None:
    autoscaler = Autoscaler(async_store, settings)
    await autoscaler.run_once()
    store.run(registry.activate(pair[0].id, False))
    await autoscaler.run_once()
    assert [store.run(registry.deployment(deployment.id)).wanted for deployment in pair] == [0, 0]
