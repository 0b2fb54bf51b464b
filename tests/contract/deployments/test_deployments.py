"""Push, promote, roll back, sleep and wake, through real nodes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.registry import verbs as registry
from tasks.access.audit import read_audit
from tests.conditions import wait_until
from tests.contract.deployments.rig import Rig

pytestmark = pytest.mark.stack

LOADS_NEVER = """
class Model:
    def load(self):
        raise OSError("never")

    def predict(self, given):
        return given
"""
TELLS = """
import os

VERSION = {version!r}

class Model:
    def __init__(self, environment, **kwargs):
        self.made_for, self.told = environment, []

    def setup_environment(self, environment):
        self.told.append(environment["name"])

    def load(self):
        self.before_load = list(self.told)

    def predict(self, given):
        return {{"made_for": self.made_for, "before_load": self.before_load, "told": self.told, "pid": os.getpid()}}
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        rig.node(KINGPOST_NODE_SLOTS="20", KINGPOST_HOST_ADDRESS="127.0.0.1")
        yield rig


def test_a_pushed_model_serves_and_the_next_version_takes_over_when_it_is_promoted(
    rig: Rig,
) -> None:
    first = rig.push("poet", "one")
    rig.until_ready(first)
    assert rig.predict("poet") == "one"
    second = rig.push("poet", "two")
    assert second.id != first.id
    assert rig.predict("poet") == "one"  # nobody promoted it
    said = rig.kingpost("promote", "poet", second.id)
    assert "as soon as a replica is ready" in said
    wait_until(lambda: rig.predict("poet") == "two", 30, "it never switched")
    by_id = rig.http.post(f"/models/poet/deployment/{first.id}/predict", json=1)
    assert by_id.json() == "one"  # the old one still answers to its own name
    rig.kingpost("rollback", "poet")
    wait_until(lambda: rig.predict("poet") == "one", 30, "it never switched back")


def test_a_model_is_told_which_environment_it_serves_and_whenever_that_changes(rig: Rig) -> None:
    def says(deployment_id: str) -> dict[str, Any]:
        return rig.http.post(f"/models/told/deployment/{deployment_id}/predict", json=1).json()

    def tells(deployment_id: str, *names: str) -> None:
        wait_until(lambda: says(deployment_id)["told"] == list(names), 30, f"never told of {names}")

    rig.kingpost("push", str(rig.package("told", "one", TELLS.format(version="one"))))
    first = rig.store.run(registry.deployments())[-1]
    rig.until_ready(first)
    rig.kingpost("promote", "told", first.id, "--environment=staging")
    before = says(first.id)
    assert before["made_for"] == {"name": "production"}  # of the two that point at it
    assert before["before_load"] == before["told"] == ["production"]
    second = rig.package("told", "two", TELLS.format(version="two"))
    rig.kingpost("push", str(second), "--promote")
    tells(first.id, "production", "staging")
    tells(rig.store.run(registry.deployments())[-1].id, "production")
    rig.kingpost("rollback", "told")
    tells(first.id, "production", "staging", "production")
    assert says(first.id)["pid"] == before["pid"]


def test_several_folders_are_pushed_at_once_and_have_a_gate_of_their_own_each(rig: Rig) -> None:
    folders = [str(rig.package(name, "one")) for name in ("left", "right")]
    rig.kingpost("push", "--promote", *folders)
    assert [rig.predict(name) for name in ("left", "right")] == ["one", "one"]
    assert "--name works with one package only" in rig.kingpost(
        "push", "--name", "x", *folders, code=1
    )
    found = [
        replica
        for replica in rig.store.run(registry.replicas())
        if replica.model_name in ("left", "right")
    ]
    gates = {replica.tcp for replica in found}
    assert len(gates) == 2
    assert {httpx.get(f"http://{gate}/").status_code for gate in gates} == {401}


def test_the_same_content_is_the_same_deployment(rig: Rig) -> None:
    first = rig.push("twin", "one")
    said = rig.kingpost("push", str(rig.package("twin", "one")))
    assert "known:" in said
    assert first.id in said
    assert (
        len(
            [
                deployment
                for deployment in rig.store.run(registry.deployments())
                if deployment.model_name == "twin"
            ]
        )
        == 1
    )


def test_a_rollback_calls_off_a_promotion_that_is_not_warm_yet(rig: Rig) -> None:
    first = rig.push("undecided", "one")
    broken = rig.package("undecided", "two", LOADS_NEVER)
    rig.kingpost("push", str(broken), "--promote")
    assert rig.store.run(registry.model("undecided")).environments["production"].candidate
    assert "is canceled" in rig.kingpost("rollback", "undecided")
    production = rig.store.run(registry.model("undecided")).environments["production"]
    assert (production.deployment_id, production.candidate) == (first.id, None)
    assert "no" in rig.kingpost("rollback", "undecided", code=1)  # it has pointed at nothing else


@pytest.mark.parametrize("name", ["development", "Upper", "-x", "a" * 41])
def test_an_environment_that_cannot_be_promoted_to_is_refused(rig: Rig, name: str) -> None:
    pushed = rig.push("named", "one")
    assert "nvironment" in rig.kingpost(
        "promote", "named", pushed.id, f"--environment={name}", code=1
    )
    assert list(rig.store.run(registry.model("named")).environments) == ["production"]


def test_an_environment_of_its_own(rig: Rig) -> None:
    rig.push("staged", "one")
    rig.push("staged", "two", "--environment", "staging")
    answer = rig.http.post("/models/staged/environments/staging/predict", json=1)
    assert answer.json() == "two"
    assert rig.predict("staged") == "one"
    gone = rig.http.post("/models/staged/environments/nowhere/predict", json=1)
    assert gone.status_code == 404


def test_a_queued_request_runs_where_it_was_sent(rig: Rig) -> None:
    rig.push("steady", "one")
    rig.kingpost("pause", "steady")
    request_id = rig.submit("steady")
    assert rig.status(request_id)["waiting_for"] == "paused"
    second = rig.push("steady", "two", "--promote")
    wait_until(lambda: rig.predict("steady") == "two", 30)
    rig.kingpost("resume", "steady")
    assert rig.result(request_id) == "one"
    assert rig.result(rig.submit("steady")) == "two"
    assert rig.status(rig.submit("steady"))["deployment_id"] == second.id


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("class Other:\n    pass\n", "no class Model"),
        ("class Model:\n    pass\n", "must have a `predict`"),
        ("class Model:\n    def predict(self, a, b, c):\n        pass\n", "predict"),
        ("raise ValueError('boom')\n", "boom') (model/model.py:1)"),
        (
            "class Model:\n    def predict(self, x): -> int\n",
            "model/model.py:2:27: invalid syntax.\n        def predict(self, x): -> int\n                              ^",
        ),
        ("import nosuch\n", "No module named 'nosuch'; add it to requirements"),
        ("import sys\nsys.exit(0)\n", "cannot be imported: SystemExit(0)"),
    ],
)
def test_a_package_that_cannot_work_is_refused(rig: Rig, model: str, sentence: str) -> None:
    folder = rig.package("broken", str(abs(hash(model))), model)
    assert sentence in rig.kingpost("push", str(folder), code=1)
    assert "broken" not in {
        deployment.model_name for deployment in rig.store.run(registry.deployments())
    }


def test_a_link_out_of_the_folder_and_a_file_above_the_cap_are_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = rig.package("linked", "one")
    (folder / "data").mkdir()
    (folder / "data" / "secret").symlink_to("/etc/hostname")
    assert "link out of the folder" in rig.kingpost("push", str(folder), code=1)
    (folder / "data" / "secret").unlink()
    (folder / "data" / "weights").write_bytes(b"x" * 2000)
    monkeypatch.setenv("KINGPOST_MAX_PACKAGE_FILE_BYTES", "1000")
    assert "data/weights has 2000 bytes" in rig.kingpost("push", str(folder), code=1)
    (folder / ".kingpostignore").write_text("weights\n")
    assert "deployment" in rig.kingpost("push", str(folder))


def test_a_load_that_fails_shows_its_reason_and_jobs_wait(rig: Rig) -> None:
    model = "class Model:\n    def load(self):\n        raise OSError('no weights here')\n"
    folder = rig.package("sad", "one", model + "    def predict(self, x):\n        return x\n")
    rig.kingpost("push", str(folder))
    request_id = rig.submit("sad")
    wait_until(lambda: "no weights here" in rig.kingpost("deployments", "sad"), 30)
    assert "DEPLOY_FAILED" in rig.kingpost("deployments", "sad")
    assert rig.status(request_id)["status"] == "QUEUED"
    rig.kingpost("deactivate", rig.store.run(registry.deployments())[-1].id)


def test_an_idle_deployment_sleeps_and_whatever_comes_wakes_it(rig: Rig) -> None:
    names = ("called", "queued", "woken")
    asleep = [rig.push(name, "one") for name in names]
    for deployment in asleep:
        rig.until_ready(deployment)
        rig.autoscale(deployment, scale_down_delay=0, autoscaling_window=10)
    wait_until(lambda: not any(map(rig.replicas, asleep)), 60, "they never slept")
    assert rig.kingpost("deployments", "called").count("ASLEEP") == 1
    for deployment in asleep:
        rig.autoscale(deployment)
    woken = rig.http.post("/models/woken/production/wake")
    assert (woken.status_code, woken.json()) == (202, {})
    request_id = rig.submit("queued")
    assert rig.predict("called") == "one"
    assert rig.result(request_id) == "one"
    rig.until_ready(asleep[2])


def test_a_deactivated_deployment_keeps_its_requests_until_it_is_active_again(rig: Rig) -> None:
    deployment = rig.push("resting", "one")
    rig.until_ready(deployment)
    rig.kingpost("deactivate", deployment.id)
    wait_until(lambda: not rig.replicas(deployment), 30)
    path, reason = "/models/resting/production", f"activate its deployment {deployment.id} first"
    wait_until(lambda: reason in rig.http.post(f"{path}/predict", json=1).json()["error"], 30)
    accepted = rig.http.post(f"{path}/async_predict", json={"model_input": 1}).json()
    (warning,), request_id = accepted["warnings"], accepted["request_id"]
    status = rig.status(request_id)
    assert (status["waiting_for"], status["eta_seconds"]) == ("replica", None)
    assert reason in status["waiting_reason"] and reason in warning
    rig.kingpost("activate", deployment.id)
    assert rig.result(request_id) == "one"


def test_a_damaged_package_is_refused_by_the_node(rig: Rig) -> None:
    deployment = rig.push("torn", "one")
    rig.until_ready(deployment)
    rig.kingpost("deactivate", deployment.id)
    wait_until(lambda: not rig.replicas(deployment), 30)
    stored = rig.settings.state_dir / "payloads" / "packages"
    (path,) = stored.glob(f"*/{deployment.content_hash}.tar")
    path.write_bytes(path.read_bytes().replace(b"VERSION = 'one'", b"VERSION = 'evil"))
    _forget_fetched(rig.folder / "node", deployment.content_hash)
    rig.kingpost("activate", deployment.id)
    wait_until(lambda: "damaged" in rig.kingpost("deployments", "torn"), 30)
    rig.kingpost("deactivate", deployment.id)


def _forget_fetched(state: Path, content_hash: str) -> None:
    (state / "packages" / content_hash).rename(state / "packages" / "old")


EDITED = """
class Model:
    def load(self):
        self.loads = getattr(self, "loads", 0) + 1
        self.base = {base!r}

    def predict(self, given):
        return [{answer!r}, self.base, self.loads]
"""


def test_a_watched_folder_is_loaded_as_it_is_saved(rig: Rig) -> None:
    folder = rig.package("edited", "dev", EDITED.format(answer="a", base="b"))
    file = folder / "model" / "model.py"
    watcher = rig.start("watch", "watch", str(folder))
    wait_until(lambda: "development is" in (rig.folder / "watch.log").read_text(), 20)
    deployment = next(
        deployment
        for deployment in rig.store.run(registry.deployments())
        if deployment.model_name == "edited"
    )
    (entry,) = rig.store.run(read_audit(1, action="deployment.watch")).entries
    assert entry.target == f"edited/{deployment.id} follows {folder.resolve()}"
    rig.until_ready(deployment)
    assert rig.predict("edited") == ["a", "b", 1]
    host = rig.replicas(deployment)[0].host_pid
    file.write_text(EDITED.format(answer="swapped", base="b"))  # load() is as it was: in place
    wait_until(lambda: rig.predict("edited") == ["swapped", "b", 1], 20)
    rig.kingpost("pause", "edited")
    request_id = rig.submit("edited")
    file.write_text(EDITED.format(answer="swapped", base="new"))  # load() has changed: a new host
    wait_until(lambda: rig.predict("edited") == ["swapped", "new", 1], 20)
    rig.kingpost("resume", "edited")
    assert rig.result(request_id) == ["swapped", "new", 1]
    wait_until(lambda: rig.replicas(deployment)[0].host_pid != host, 20)
    file.write_text("class Model:  # half a thought\n    def predict(self, x)")
    said = rig.folder / "watch.log"
    lock = folder / "model" / ".#model.py"
    lock.symlink_to("somebody@machine.1")  # an editor's, which leads nowhere
    wait_until(lambda: ".#model.py" in said.read_text(), 20)
    lock.unlink()
    wait_until(lambda: "not loaded: model/model.py:2:25: " in said.read_text(), 20)
    wait_until(lambda: "def predict(self, x)\n" in said.read_text() and " ^" in said.read_text())
    assert rig.predict("edited") == ["swapped", "new", 1]  # the old code serves on
    file.write_text(EDITED.format(answer="again", base="new"))
    wait_until(lambda: rig.predict("edited") == ["again", "new", 1], 20)
    watcher.stop()


def test_a_watched_folder_s_external_packages_are_followed_as_well(rig: Rig) -> None:
    folder = rig.package("outer", "dev", "import common\n" + EDITED.format(answer="a", base="b"))
    file = folder / "model" / "model.py"
    file.write_text(file.read_text().replace("self.base,", "common.SAID,"))
    outside = folder.with_name("outer-common")
    outside.mkdir()
    (outside / "common.py").write_text("SAID = 'old'\n")
    with (folder / "config.yaml").open("a") as config:
        config.write(f"external_package_dirs: [../{outside.name}]\n")
    watcher = rig.start("watch-outer", "watch", str(folder))
    wait_until(lambda: "development is" in (rig.folder / "watch-outer.log").read_text(), 20)
    deployment = next(
        deployment
        for deployment in rig.store.run(registry.deployments())
        if deployment.model_name == "outer"
    )
    rig.until_ready(deployment)
    assert rig.predict("outer") == ["a", "old", 1]
    (outside / "common.py").write_text("SAID = 'saved'\n")
    # A request waits while the host is exchanged; a sync call may meet its end.
    wait_until(lambda: rig.result(rig.submit("outer")) == ["a", "saved", 1], 20)
    watcher.stop()
