"""What `kingpost up` takes from a folder of models, what it leaves out, and what its banner makes of both."""

import json
import resource
import shlex
from pathlib import Path

import pytest

from cli.stack import banner
from cli.stack.found import Broken, find, pushed_example
from cli.stack.registering import register
from cli.stack.start_failed import StartFailed
from cli.stack.up import Choices
from deployments.packages.store import PackageStore
from deployments.registry import verbs as registry
from kingpost.packing.gathering import gather
from tasks.process.descriptors import too_low
from tasks.settings import Settings
from tasks.store.job_store import JobStore
from tests.unit.bad_packages import BAD, GOOD_MODEL

CHAIN = "import truss_chains as chains\n\n@chains.mark_entrypoint\nclass A: ...\n"
ONLY_PUSHED = {"outer_folder", "outer_link", "outermost"}  # up reads them where they are


def package(folder: Path, config: str = "", model: str = GOOD_MODEL) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    (folder / "model" / "model.py").write_text(model)
    return folder


def test_every_kind_of_broken_folder_is_left_out_and_the_good_ones_are_taken(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    bad_here = [bad for bad in BAD if bad.kind not in ONLY_PUSHED]
    for number, bad in enumerate(bad_here):
        bad.write(models / f"bad{number}")
    (models / "bad-chain").mkdir()
    for name in ("a.py", "b.py"):
        (models / "bad-chain" / name).write_text(CHAIN)
    (models / "bad-name").mkdir()
    (models / "bad-name" / "config.yml").write_text("")
    package(models / "good")
    (models / "no-model").mkdir()
    found = find(Settings(), models, ())
    assert [package.model_name for package in found.packages] == ["good"]
    assert {broken.name for broken in found.broken} == {
        *(f"bad{number}" for number in range(len(bad_here))),
        "bad-chain",
        "bad-name",
    }
    assert all(broken.reason and "Traceback" not in broken.reason for broken in found.broken)


def test_of_two_folders_with_one_name_the_one_that_is_called_so_keeps_it(tmp_path: Path) -> None:
    for folder in ("a-copy", "echo", "z-copy"):
        package(tmp_path / folder, "model_name: echo\n")
    found = find(Settings(), tmp_path, ())
    assert [package.root.name for package in found.packages] == ["echo"]
    assert [broken.name for broken in found.broken] == ["a-copy", "z-copy"]
    assert f"Its name echo is already the name of {tmp_path / 'echo'}" in found.broken[0].reason


def test_a_folder_that_nobody_named_may_be_missing_and_a_named_one_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(Settings(), None, ()).packages == []
    with pytest.raises(StartFailed, match=r"There is no folder models; give"):
        find(Settings(), Path("models"), ())
    (tmp_path / "models").mkdir()
    assert find(Settings(), Path("models"), ()).packages == []
    package(tmp_path / "models" / "echo")
    with pytest.raises(StartFailed, match="echo is a package itself: give the folder above"):
        find(Settings(), tmp_path / "models" / "echo", ())


def test_a_folder_that_broke_since_keeps_its_deployment_with_the_reason(
    settings: Settings, tmp_path: Path
) -> None:
    folder = package(tmp_path / "echo")
    (leader,) = register(settings, find(settings, tmp_path, ()))
    (folder / "config.yaml").write_text("a: [\n")
    assert register(settings, find(settings, tmp_path, ())) == []
    (known,) = JobStore(settings).run(registry.deployments())
    assert (known.id, known.active) == (leader.id, False)
    assert known.failure.splitlines()[-1].startswith("config.yaml:2:1 is not valid YAML")
    (folder / "config.yaml").write_text("")
    register(settings, find(settings, tmp_path, ()))
    (known,) = JobStore(settings).run(registry.deployments())
    assert (known.active, known.failure) == (True, "")


EXAMPLES = {
    "{at: 2024-02-03, then: 2024-02-03T04:05:06Z}": {"at": "2024-02-03", "then": "2024-02-03T04:05:06+00:00"},
    "2024-02-03": "2024-02-03",
    "!!binary aGk=": "hi",
    "{1: a, 2024-02-03: b, null: c}": {"1": "a", "2024-02-03": "b", "None": "c"},
    "it's a \\'text'": "it's a \\'text'",
    "null": None,
}  # fmt: skip


def ready(packages: Path, *left_out: Broken, new_key: str | None = None) -> str:
    choices = Choices(packages, "127.0.0.1", 8000, None, packages / "the state")
    settings = Settings(state_dir=packages / "the state")
    found = find(settings, packages, ())
    outcome = banner.Outcome(found.packages, [], [*found.broken, *left_out], 1.25, new_key)
    return banner.ready(choices, settings, outcome)


@pytest.mark.parametrize("said", EXAMPLES)
def test_an_example_of_any_yaml_value_can_be_pasted(said: str, tmp_path: Path) -> None:
    package(tmp_path / "m", f"model_metadata:\n  example_model_input: {said}\n")
    (command,) = ready(tmp_path).split("Try      ")[1].split("\n  Ctrl-C")[:1]
    words = shlex.split(command.replace("\\\n", " "))
    assert words[3] == "http://127.0.0.1:8000/models/m/production/async_predict"
    assert json.loads(words[5]) == {"model_input": EXAMPLES[said], "priority": 0}
    assert words[2].endswith(f"$(cat '{tmp_path}/the state/api_key')")


def test_a_banner_without_a_model_says_what_comes_next(tmp_path: Path) -> None:
    said = ready(tmp_path)
    assert "Models   none yet" in said
    assert f"kingpost push DIR --state '{tmp_path}/the state'" in said


def test_a_banner_names_limits_and_what_is_left_out(tmp_path: Path) -> None:
    package(tmp_path / "m", "system_packages: [ffmpeg]\n")
    package(tmp_path / "n", "nonsense: 1\n")
    said = ready(tmp_path, Broken("o", tmp_path / "o", "A sentence.\n    x\n    ^"))
    assert "Limits   m: system_packages" in said
    left_out = said[said.index("Broken and left out") :]
    assert "\n  n (" in left_out and "nonsense" in left_out
    assert left_out.endswith("A sentence.\n        x\n        ^")


def test_a_banner_says_that_the_limit_of_descriptors_is_low(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        said = ready(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "Limits   The limit of file descriptors is low, so the API takes only 462" in said
    assert too_low(wanted=1) is None


def test_a_pushed_model_s_own_example_is_suggested(
    settings: Settings, store: JobStore, tmp_path: Path
) -> None:
    folder = package(tmp_path / "m", "model_metadata: {example_model_input: {name: Ada}}\n")
    selection = gather(folder, 1 << 30, tmp_path)
    packages = PackageStore(settings)
    packages.put(selection, lambda _: None)
    store.run(registry.push("m", selection.content_hash, 1))
    assert pushed_example(settings, store, "m") is None  # it is not unpacked yet
    packages.fetch(selection.content_hash)
    example = pushed_example(settings, store, "m")
    assert example == {"name": "Ada"}
    choices = Choices(tmp_path, "127.0.0.1", 8000, None, tmp_path / "state")
    said = banner.ready(choices, settings, banner.Outcome([], ["m"], [], 1.0, None, example))
    assert json.dumps({"model_input": example, "priority": 0}) in said
