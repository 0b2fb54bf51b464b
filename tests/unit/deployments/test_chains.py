"""Chains as files and as entries of the registry; what they do when they run is in tests/contract/chains."""

import subprocess
import sys
from pathlib import Path

import pytest

from deployments import chains
from deployments.chains import Member, chain_file
from deployments.packages.package import PackageError
from deployments.registry import verbs as registry
from deployments.registry.resolver import Resolver, Target
from tasks.errors import NotFound, SettingsError
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore, JobStore
from workers.hosting.extras import extras, peer_urls

pytestmark = pytest.mark.usefixtures("quick_builds")

HEAD = "import truss_chains as chains\n\n"
MARKED = HEAD + "@chains.mark_entrypoint('{name}')\nclass Only(chains.ChainletBase):\n"
BODY = "    async def run_remote(self, a: int) -> int:\n        return a\n"


def folder_with(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_a_chain_is_a_folder_with_one_entrypoint_and_no_config(tmp_path: Path) -> None:
    chain = folder_with(tmp_path / "chain", one=MARKED + BODY, other="x = 1\n")
    assert chain_file(chain) == chain / "one.py"
    assert chain_file(folder_with(tmp_path / "plain", other=HEAD)) is None
    (chain / "config.yaml").touch()
    assert chain_file(chain) is None


def test_two_entrypoints_are_one_sentence(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "chain", one=MARKED + BODY, two=MARKED + BODY)
    with pytest.raises(PackageError, match=r"one\.py and two\.py each mark one"):
        chain_file(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_like_this\n" + MARKED + BODY, "ModuleNotFoundError: .*nothing_like_this"),
        (MARKED + "    def run_remote(self, a) -> int: ...\n", "ChainsUsageError: .*only.py:"),
        (MARKED.format(name="a/b") + BODY, "The chain's name 'a/b'"),
    ],
)
def test_a_broken_chain_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    folder = folder_with(tmp_path / "chain", only=text)
    with pytest.raises(PackageError, match=said) as error:
        chains.build(folder / "only.py", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_build_replaces_what_was_there(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "chain", only=MARKED.format(name="the name") + BODY)
    (tmp_path / "out" / "Gone").mkdir(parents=True)
    (package,) = chains.build(folder / "only.py", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["Only"]
    assert (package.model_name, package.requirements_file) == ("the name", None)
    assert chains.member_of(package) == Member("the name", "chain", {})


def test_requirements_other_than_truss_stay(tmp_path: Path) -> None:
    config = "    remote_config = chains.RemoteConfig(docker_image=chains.DockerImage("
    config += "pip_requirements=['humanize']))\n"
    folder = folder_with(tmp_path / "chain", only=MARKED.format(name="n") + config + BODY)
    (package,) = chains.build(folder / "only.py", tmp_path / "out")
    assert package.requirements_file
    assert "humanize" in (package.root / package.requirements_file).read_text()


def test_peers_are_called_at_the_gateway_by_name() -> None:
    member = Member("c", "chain", {"Two words": "c d.Two"})
    urls = peer_urls(member, "http://127.0.0.1:9/")
    url = "http://127.0.0.1:9/chains/c%20d.Two/production/run_remote"
    assert urls == {"Two words": {"predict_url": url}}


def test_a_chainlet_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="KINGPOST_CHAIN_API_KEY"):
        extras(Member("c", "chain", {}), Settings(state_dir=tmp_path), tmp_path / "config")


async def test_chainlets_are_reached_by_name_but_are_no_models(
    store: JobStore, async_store: AsyncJobStore
) -> None:
    target = Target()
    chain = store.run(registry.register("c", "/c", "h", 1, "chain"))
    chainlet = store.run(registry.register("c.One", "/c1", "h", 1, "chainlet"))
    reader = Resolver(async_store)
    assert await async_store.run(registry.model_ids()) == {"c": chain.model_id}
    assert (await reader.resolve(None, target)).id == chain.id  # the only one: no need to say it
    for reference in ("c.One", chainlet.model_id):
        assert (await reader.resolve(reference, target)).id == chainlet.id
    with pytest.raises(NotFound):
        await reader.resolve("c.Two", target)


def test_no_process_but_a_chainlet_s_host_imports_truss() -> None:
    ours = "import api.app, cli.stack.up, tasks.maintenance, workers.replica.main, workers.host.main, sys"
    check = "print([m for m in sys.modules if m.split('.')[0] in ('truss', 'truss_chains')])"
    done = subprocess.run(
        [sys.executable, "-c", f"{ours}; {check}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
