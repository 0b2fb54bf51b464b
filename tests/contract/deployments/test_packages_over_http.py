"""Packages that come over HTTP: deployed, followed until they are ready or have failed, rolled back and deleted."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deployments.packages.store import package_ref
from deployments.registry import packages as stored
from deployments.registry import verbs as registry
from kingpost import Client
from kingpost.errors import Error
from kingpost.packages import DeploymentStep, Sent
from kingpost.packing.files import files_of, selection_of
from tests.conditions import wait_until
from tests.contract.deployments.rig import KEY, Rig
from tests.cutting import cutting
from tests.typed import typed

pytestmark = pytest.mark.stack

SLOW = """
import asyncio
class Model:
    async def predict(self, given):
        await asyncio.sleep(given)
"""

SHARING = """
from wording import VERSION
class Model:
    def predict(self, given):
        return VERSION
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        rig.node()
        yield rig


def upload(rig: Rig, folder: Path) -> str:
    """Uploads a folder; its content hash."""
    named = {path.relative_to(folder).as_posix(): path for path in files_of(folder)}
    selection = selection_of(folder, named)
    archive, content_hash = b"".join(selection.tar()), selection.content_hash
    body = {"content_hash": content_hash, "size": len(archive)}
    said = rig.http.post("/v1/packages", json=body).json()
    if not said["stored"]:
        path = f"/v1/packages/uploads/{said['upload']['id']}"
        sent = rig.http.patch(path, content=archive, headers={"Upload-Offset": "0"})
        assert sent.json()["stored"] is True, sent.text
    return content_hash


def deploy(rig: Rig, folder: Path, status: int = 201, **more: object) -> Any:
    body = {"content_hash": upload(rig, folder), **more}
    answer = rig.http.post("/v1/deployments", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def follow(rig: Rig, made: Any) -> list[Any]:
    """The steps of a deployment, up to its end."""
    deployment = made["deployment"]
    path = f"/v1/models/{deployment['model_id']}/deployments/{deployment['id']}/events"
    steps: list[Any] = []
    with rig.http.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kinds: list[str] = []
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            elif line.startswith("data: ") and kinds[-1] == "deployment":
                steps.append(json.loads(line.removeprefix("data: ")))
    assert kinds[-1] == "done"
    return steps


def test_a_package_is_deployed_followed_and_called(rig: Rig) -> None:
    folder = rig.package("sent", "one")
    made = deploy(rig, folder)
    assert (made["model_name"], made["promotion"]) == ("sent", None)
    assert made["deployment"]["is_production"] is True
    steps = follow(rig, made)
    assert (steps[-1]["state"], steps[-1]["status"]) == ("ready", "ACTIVE")
    assert {step["state"] for step in steps} <= {"queued", "building", "loading", "ready"}
    assert rig.predict("sent") == "one"
    again = deploy(rig, folder)
    assert again["deployment"]["id"] == made["deployment"]["id"]
    pushed = rig.push("sent", "one")  # on this machine it is the same deployment as well
    assert pushed.id == made["deployment"]["id"]


def test_a_load_that_fails_ends_with_the_reason(rig: Rig) -> None:
    model = "class Model:\n    def load(self): raise OSError('no weights here')\n    def predict(self, x): ...\n"
    steps = follow(rig, deploy(rig, rig.package("broken", "one", model)))
    assert steps[-1]["state"] == "failed"
    assert "no weights here" in steps[-1]["message"].splitlines()[-1]
    assert 'File "model/model.py", line 2, in load' in steps[-1]["message"]
    assert str(rig.folder) not in steps[-1]["message"]


def test_signatures_are_checked_by_the_load(rig: Rig) -> None:
    model = "class Model:\n    def predict(self, a, b, c, d): ...\n"
    folder = rig.package("signed", "one", model)
    refused = rig.kingpost("push", str(folder), code=1)
    steps = follow(rig, deploy(rig, folder))
    assert steps[-1]["state"] == "failed"
    assert refused.strip() in steps[-1]["message"].splitlines()[-1]


BAD = {
    "config.yaml": [
        "model_name: bad\nexternal_data: [{url: 'https://x', local_data_path: y}]\n",
        "model_name: bad\nruntime: {predict_concurrency: many}\n",
        "model_name: bad\nruntim: {}\n",
        "model_name: [\n",
        "model_name: bad\nrequirements_file: none.txt\n",
    ],
    "model/model.py": ["class Model:\n    def predict(self x): ...\n"],
}


@pytest.mark.parametrize(
    ("file", "content"), [(file, content) for file in BAD for content in BAD[file]]
)
def test_a_refusal_is_the_sentence_of_the_command(rig: Rig, file: str, content: str) -> None:
    folder = rig.package("bad", "one")
    (folder / file).write_text(content)
    said = rig.kingpost("push", str(folder), code=1)
    error = deploy(rig, folder, 400)["error"]
    assert error.splitlines()[0] in said.replace(str(folder), "the package")
    assert not [model for model in rig.store.run(registry.models()) if model.name == "bad"]


def test_what_is_not_supported_can_be_allowed_and_is_said(rig: Rig) -> None:
    folder = rig.package("allowed", "one")
    (folder / "config.yaml").write_text(
        "model_name: allowed\nexternal_data: [{url: 'https://x', local_data_path: y}]\n"
    )
    wrong = deploy(rig, folder, 400, allow_unsupported=["external_date"])["error"]
    assert "names no key of config.yaml; did you mean external_data?" in wrong
    made = deploy(rig, folder, allow_unsupported=["external_data"])
    assert made["deployment"]["warnings"][0].startswith("external_data is not downloaded")


def test_a_gpu_that_nobody_looked_for_is_said(rig: Rig) -> None:
    folder = rig.package("graphics", "one")
    (folder / "config.yaml").write_text("model_name: graphics\nresources: {accelerator: A10G}\n")
    made = deploy(rig, folder)["deployment"]
    assert "a node without a GPU runs the model on its CPU" in made["warnings"][-1]
    allowed = deploy(rig, folder, allow_unsupported=["resources.accelerator"])["deployment"]
    assert not any("runs the model on its CPU" in warning for warning in allowed["warnings"])


def test_a_name_is_needed_and_checked(rig: Rig) -> None:
    folder = rig.package("nameless", "one")
    (folder / "config.yaml").write_text("runtime: {predict_concurrency: 1}\n")
    assert "config.yaml has no model_name" in deploy(rig, folder, 400)["error"]
    assert "printable text" in deploy(rig, folder, 400, name="a\nb")["error"]
    assert deploy(rig, folder, name="a/b")["model_name"] == "a/b"


def test_promotion_and_the_way_back(rig: Rig) -> None:
    first = deploy(rig, rig.package("moves", "one"))
    follow(rig, first)
    second = deploy(rig, rig.package("moves", "two"), promote=True)
    assert second["promotion"] == "warming"
    wait_until(lambda: rig.predict("moves") == "two", 40)
    for wrong in ("development", "-x"):
        assert "nvironment" in deploy(rig, rig.package("moves", "three"), 400, environment=wrong)["error"]  # fmt: skip
    assert len(rig.http.get("/v1/models/moves/deployments").json()["deployments"]) == 2
    path = "/v1/models/moves/environments/production/rollback"
    assert rig.http.post(path).status_code == 200
    wait_until(lambda: rig.predict("moves") == "one", 40)


def test_a_pause_holds_requests_back(rig: Rig) -> None:
    follow(rig, deploy(rig, rig.package("held", "one")))
    assert rig.http.post("/v1/models/held/pause").json() == {"paused": True, "waiting": 0}
    request_id = rig.submit("held")
    assert rig.status(request_id)["waiting_for"] == "paused"
    assert rig.http.post("/v1/models/held/resume").json() == {"paused": False, "waiting": 1}
    assert rig.result(request_id) == "one"
    assert rig.http.post("/v1/models/nobody/pause").status_code == 404


def test_what_has_work_is_deleted_only_with_force(rig: Rig) -> None:
    folder = rig.package("goes", "one", SLOW)
    made = deploy(rig, folder)
    follow(rig, made)
    path = f"/v1/models/goes/deployments/{made['deployment']['id']}"
    assert "production points at" in rig.http.delete(path).json()["error"]
    requests = [rig.submit("goes", 600) for _ in range(6)]
    wait_until(lambda: rig.status(requests[0])["status"] == "IN_PROGRESS", 30)
    for busy in (path, "/v1/models/goes"):
        refused = rig.http.delete(busy)
        assert (refused.status_code, refused.json()["error_code"]) == (409, "client_error")
        assert "has 6 requests that wait or run" in refused.json()["error"]
    done = rig.http.delete(path, params={"force": True})
    assert done.json() == {"id": made["deployment"]["id"], "deleted": True, "canceled_requests": 6}
    assert {rig.status(request_id)["status"] for request_id in requests} == {"CANCELED"}
    assert rig.http.get(path).status_code == 404
    wait_until(lambda: not rig.replicas_of(made["deployment"]["id"]), 40, "replicas are left")
    assert (
        deploy(rig, folder)["deployment"]["is_production"] is True
    )  # the next is production again


def test_a_model_is_deleted_with_all_that_it_has(rig: Rig) -> None:
    first, second = (deploy(rig, rig.package("whole", version)) for version in ("one", "two"))
    follow(rig, first)
    rig.http.post("/v1/models/whole/environments", json={"name": "staging"})
    gone = rig.http.delete("/v1/models/whole")
    assert gone.json()["id"] == first["deployment"]["model_id"]
    assert rig.http.get("/v1/models/whole").status_code == 404
    assert rig.http.delete("/v1/models/whole").status_code == 404
    left = {deployment.id for deployment in rig.store.run(registry.deployments())}
    assert not left & {first["deployment"]["id"], second["deployment"]["id"]}
    assert deploy(rig, rig.package("whole", "one"))["deployment"]["model_id"] != gone.json()["id"]


def test_a_package_is_collected_when_nothing_has_used_it_for_a_while(rig: Rig) -> None:
    """The rules on a real store; `test_collector.py` runs the loop itself."""
    content_hash = upload(rig, rig.package("unused", "one"))
    assert (rig.settings.state_dir / "payloads" / package_ref(content_hash)).exists()
    assert rig.store.run(stored.drop_package(content_hash, 60_000)) == "waits"
    made = rig.http.post("/v1/deployments", json={"content_hash": content_hash}).json()
    assert rig.store.run(stored.drop_package(content_hash, 0)) == "used"
    rig.http.delete(f"/v1/models/{made['deployment']['model_id']}")
    assert rig.store.run(stored.drop_package(content_hash, 0)) == "going"
    assert not rig.store.run(stored.keep_package(content_hash))
    rig.store.run(stored.dropped_package(content_hash))
    assert rig.store.run(stored.keep_package(content_hash))


def test_a_push_that_is_cut_five_times_ends_with_the_same_package(rig: Rig) -> None:
    folder = rig.package("cut", "one")
    (folder / "weights.bin").write_bytes(Random(7).randbytes(20_000_000))
    server = f"http://127.0.0.1:{rig.port}"
    with (
        cutting(server, 5, after=3_000_000) as (proxy, url),
        Client(url, KEY, retries=8) as client,
    ):
        given = list(client.push(folder))
    assert proxy.cuts == 0
    sent = [step.done for step in given if isinstance(step, Sent)]
    assert sent == sorted(sent) and len(set(sent)) > 5  # it never began again
    assert isinstance(given[-1], DeploymentStep) and given[-1].state == "ready"
    assert rig.predict("cut") == "one"
    with Client(server, KEY) as client:
        again = client.push(folder)
        first = next(again)
        assert isinstance(first, Sent) and first.done == first.total  # nothing is sent again


def test_kingpost_push_to_a_server_waits_and_ends_with_a_line_that_works(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINGPOST_API_KEY", KEY)
    folder = rig.package("typed", "one", SHARING)
    (folder.parent / "shared").mkdir()
    (folder.parent / "shared" / "wording.py").write_text("VERSION = 'one'\n")
    config = "model_name: typed\nmodel_metadata: {example_model_input: {it's: 1}}\n"
    config += "external_package_dirs: [../shared]\n"
    (folder / "config.yaml").write_text(config)
    url = f"http://127.0.0.1:{rig.port}"
    said = rig.kingpost("push", str(folder), "--url", url)
    assert "ready: http://127.0.0.1" in said
    (line,) = [line for line in said.splitlines() if line.startswith("curl ")]
    done = subprocess.run(["sh", "-c", f"{line} -s"], capture_output=True, text=True, timeout=60)
    assert done.stdout == '"one"', (line, done.stderr)
    told = json.loads(rig.kingpost("push", str(folder), "--url", url, "--json").splitlines()[-1])
    assert (told["model"], told["state"]) == ("typed", "ready")
    later = rig.kingpost("push", str(rig.package("typed", "two")), "--url", url, "--no-wait")
    assert "Promote it: kingpost promote typed" in later


def test_kingpost_push_says_why_it_failed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINGPOST_API_KEY", KEY)
    url = f"http://127.0.0.1:{rig.port}"
    model = "class Model:\n    def load(self): raise OSError('no disk')\n    def predict(self, x): ...\n"
    for folder, why in (
        (rig.package("nodisk", "one", model), "no disk"),
        (rig.folder / "nowhere", "There is no config.yaml"),
    ):
        done = typed(["push", str(folder), "--url", url])
        assert done.exit_code == 1
        assert isinstance(done.exception, Error) and why in str(done.exception)
        assert f"OSError: {why}" not in done.output  # it is said once, by the exit
