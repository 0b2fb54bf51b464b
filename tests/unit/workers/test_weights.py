"""Weights of packages: fetched once per machine from servers over real HTTP, verified, resumed, shown, and evicted."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from deployments.packages.weights import Wish
from tasks.settings import Settings
from tests.conditions import wait_until
from tests.weights_servers import (
    Bucket,
    BucketHandler,
    Handler,
    Hub,
    HubHandler,
    Server,
    serving,
    sha256,
)
from workers.processes.turns import ReplicaStops
from workers.weights import eviction, web
from workers.weights.cache import WeightsCache
from workers.weights.fetching import Pace
from workers.weights.mounts import Mount, started_with
from workers.weights.prepared import Shown, Weights
from workers.weights.remote import WeightsFailed

BIG = Random(1).randbytes(3_000_000)
OTHER = Random(2).randbytes(2_000_000)
MODEL = "class Model:\n    def predict(self, x): ...\n"


def can_mount() -> bool:
    """Whether a process may have mounts of its own here."""
    return started_with([Mount(Path("/usr"), "/usr")]) is not None


class Machine:
    """A machine with packages, a cache, and the variables of its node."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.settings = Settings(state_dir=folder / "state")
        self.stopping = threading.Event()
        self.said: list[str] = []
        self._variables = monkeypatch

    def secret(self, name: str, value: str) -> None:
        self._variables.setenv(f"TRUSS_SECRET_{name}", value)

    def package(self, name: str, config: object) -> Path:
        root = self.folder / "packages" / name
        (root / "model").mkdir(parents=True, exist_ok=True)
        (root / "config.yaml").write_text(json.dumps({"model_name": name, **dict(config)}))  # type: ignore[call-overload]
        (root / "model" / "model.py").write_text(MODEL)
        return root

    def weights(self, name: str, source: str, **more: object) -> Path:
        """A package with one source, shown at `place(name)`."""
        entry = {"source": source, "mount_location": str(self.place(name)), **more}
        return self.package(name, {"weights": [entry]})

    def place(self, name: str) -> Path:
        return self.folder / "mounts" / name

    @contextmanager
    def using(self, *packages: Path) -> Iterator[Shown]:
        weights = Weights(packages, self.settings, self.stopping)
        with weights.use(self.said.append) as shown:
            yield shown

    def fails(self, *packages: Path) -> str:
        with pytest.raises(WeightsFailed) as error, self.using(*packages):
            pass
        said = str(error.value)
        assert "\n" not in said
        return said

    @property
    def blobs(self) -> list[Path]:
        return list((self.folder / "state" / "weights" / "blobs").iterdir())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in [name for name in os.environ if name.startswith(("AWS_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> Iterator[Hub]:
    with serving(Hub(), HubHandler) as state:
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        yield state


@pytest.fixture
def bucket(machine: Machine) -> Iterator[Bucket]:
    with serving(Bucket(), BucketHandler) as state:
        state.token = "key1"
        keys = {
            "access_key_id": "key1",
            "secret_access_key": "s",
            "region": "r",
            "endpoint": state.url,
        }
        machine.secret("keys", json.dumps(keys))
        machine.secret("wrong_keys", json.dumps({**keys, "access_key_id": "key2"}))
        yield state


# --- once per machine


def test_two_models_that_share_a_file_fetch_it_once(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__safetensors=BIG, config__json=b"{}")
    hub.put("b/two", model__safetensors=BIG, config__json=b'{"x": 1}')
    first = machine.weights("first", "hf://a/one")
    second = machine.weights("second", "hf://b/two@main")
    with machine.using(first), machine.using(second):
        for name, config in (("first", "{}"), ("second", '{"x": 1}')):
            assert (machine.place(name) / "model.safetensors").read_bytes() == BIG
            assert (machine.place(name) / "config.json").read_text() == config
    assert hub.sent["model.safetensors"] == len(BIG)
    assert len(machine.blobs) == 3


def test_two_that_start_at_once_fetch_a_shared_file_once(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG)
    hub.put("b/two", model__bin=BIG)
    hub.faults.hold["model.bin"] = threading.Event()
    begun: list[str] = []

    def use(name: str, repository: str) -> None:
        with machine.using(machine.weights(name, f"hf://{repository}")):
            begun.append((machine.place(name) / "model.bin").read_bytes().hex()[:8])

    threads = [threading.Thread(target=use, args=of) for of in (("x", "a/one"), ("y", "b/two"))]
    for thread in threads:
        thread.start()
    wait_until(lambda: hub.asked["GET /api/models/a/one"] and hub.asked["GET /api/models/b/two"])
    hub.faults.hold["model.bin"].set()
    for thread in threads:
        thread.join(30)
    assert begun == [BIG.hex()[:8]] * 2
    assert hub.sent["model.bin"] == len(BIG)


def test_the_files_are_read_only_and_the_next_start_asks_nobody(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", folder___model__bin=BIG)
    package = machine.weights("first", "hf://a/one")
    with machine.using(package):
        shown = machine.place("first") / "folder" / "model.bin"
        assert shown.stat().st_mode & 0o777 == 0o444
        assert shown.parent.stat().st_mode & 0o777 == 0o555
    asked = hub.asked.total()
    with machine.using(package):
        assert shown.read_bytes() == BIG
    assert hub.asked.total() == asked


def test_patterns_choose_the_files(machine: Machine, hub: Hub) -> None:
    hub.put(
        "a/one", a__safetensors=BIG, b__bin=BIG, README__md=b"x", original___c__safetensors=OTHER
    )
    allowed = machine.weights(
        "first", "hf://a/one", allow_patterns=["*.safetensors"], ignore_patterns=["original/"]
    )
    with machine.using(allowed):
        assert [each.name for each in machine.place("first").iterdir()] == ["a.safetensors"]
    nothing = machine.weights("second", "hf://a/one", allow_patterns=["*.gguf"])
    assert "no file that its patterns let through" in machine.fails(nothing)


def test_progress_is_said(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG)
    with machine.using(machine.weights("first", "hf://a/one@v1")):
        assert machine.said[0] == "asks for hf://a/one@v1"
        assert machine.said[1].startswith("fetches hf://a/one@v1: ")
        assert machine.said[1].endswith(" of 3 MB")


# --- cut, corrupt, damaged


def test_a_download_that_is_cut_goes_on_from_there(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG)
    hub.faults.cut_at["model.bin"] = 1_234_567
    with machine.using(machine.weights("first", "hf://a/one")):
        assert (machine.place("first") / "model.bin").read_bytes() == BIG
    assert len(hub.ranges) == 1
    assert hub.sent["model.bin"] <= len(BIG) + 1_234_567 - int(hub.ranges[0][6:-1]) + 1
    assert 0 < int(hub.ranges[0].removeprefix("bytes=").rstrip("-")) <= 1_234_567


def test_a_replica_that_stops_leaves_what_the_next_one_goes_on_with(
    machine: Machine, hub: Hub
) -> None:
    hub.put("a/one", model__bin=BIG)
    hub.faults.cut_at["model.bin"] = 2_000_000
    hub.faults.hold["model.bin"] = held = threading.Event()
    package = machine.weights("first", "hf://a/one")
    ended: list[type[BaseException]] = []

    def use() -> None:
        try:
            with machine.using(package):
                pass
        except BaseException as error:
            ended.append(type(error))

    thread = threading.Thread(target=use)
    thread.start()
    wait_until(lambda: hub.sent["model.bin"] == 2_000_000)
    partial = machine.folder / "state" / "weights" / "partial"
    wait_until(lambda: sum(each.stat().st_size for each in partial.iterdir()) > 1_000_000)
    machine.stopping.set()
    thread.join(10)
    assert ended == [ReplicaStops]
    held.set()
    machine.stopping.clear()
    with machine.using(package):
        assert (machine.place("first") / "model.bin").read_bytes() == BIG
    assert hub.ranges
    assert int(hub.ranges[-1].removeprefix("bytes=").rstrip("-")) > 900_000


@pytest.mark.parametrize("content", [BIG, b"small"], ids=["by its SHA-256", "by its git hash"])
def test_what_is_not_what_the_hub_says_is_found(machine: Machine, hub: Hub, content: bytes) -> None:
    hub.put("a/one", model__bin=content)
    hub.faults.corrupt.add("model.bin")
    package = machine.weights("first", "hf://a/one")
    assert "model.bin is corrupt: its " in machine.fails(package)
    assert not machine.place("first").exists()
    assert not machine.blobs
    hub.faults.corrupt.clear()
    with machine.using(package):
        assert (machine.place("first") / "model.bin").read_bytes() == content


def test_a_beginning_that_was_damaged_is_fetched_again(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG)
    hub.faults.corrupt.add("model.bin")
    package = machine.weights("first", "hf://a/one")
    machine.fails(package)
    locks = (machine.folder / "state" / "weights" / "partial").glob("*.lock")
    next(locks).with_suffix("").write_bytes(b"x" * 1000)
    hub.faults.corrupt.clear()
    with machine.using(package):
        assert (machine.place("first") / "model.bin").read_bytes() == BIG


def test_a_file_that_was_cut_in_the_cache_is_fetched_again(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG, config__json=b"{}")
    package = machine.weights("first", "hf://a/one")
    with machine.using(package):
        shown = machine.place("first") / "model.bin"
        shown.chmod(0o644)
        os.truncate(shown, 100)
        assert "were changed, and another model uses them" in machine.fails(package)
    with machine.using(package):
        assert shown.read_bytes() == BIG
    assert hub.sent["model.bin"] == 2 * len(BIG)
    assert hub.sent["config.json"] == 2


def test_a_server_with_an_error_of_its_own_is_named(
    machine: Machine, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("a/one", model__bin=BIG)
    hub.faults.down = True
    said = machine.fails(machine.weights("first", "hf://a/one"))
    assert said.startswith("The weights of hf://a/one could not be had: The hub ")
    assert "503" in said


# --- credentials


def test_a_token_is_sent_and_a_wrong_one_is_one_sentence(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG)
    hub.token = "right"
    machine.secret("good", "right\n")
    machine.secret("bad", "wrong")
    package = machine.weights("first", "hf://a/one", auth_secret_name="bad")
    said = machine.fails(package)
    assert "the token of the secret bad may not read it" in said
    assert "wrong" not in said
    alone = machine.fails(machine.weights("second", "hf://a/one"))
    assert "it is private: name a secret in auth_secret_name" in alone
    unset = machine.fails(machine.weights("third", "hf://a/one", auth_secret_name="absent"))
    assert "the secret absent has no value on this machine; set TRUSS_SECRET_absent" in unset
    good = machine.weights("first", "hf://a/one", auth={"auth_method": "CUSTOM_SECRET", "auth_secret_name": "good"})  # fmt: skip
    with machine.using(good):
        assert (machine.place("first") / "model.bin").read_bytes() == BIG
    # What one model has fetched with its token is no way around it for another.
    assert "it is private" in machine.fails(machine.weights("second", "hf://a/one"))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("hf://a/one@v9", "The hub has no revision 'v9' of a/one."),
        ("hf://a/none", "The hub has no repository a/none, or it is private"),
        ("hf://a/gated", "hf://a/gated is gated: accept its terms on the hub"),
    ],
)
def test_what_the_hub_does_not_give_is_one_sentence(
    machine: Machine, hub: Hub, source: str, sentence: str
) -> None:
    hub.put("a/one", model__bin=BIG)
    hub.put("a/gated", model__bin=BIG)
    hub.gated.add("a/gated")
    assert sentence in machine.fails(machine.weights("first", source))


def test_a_missing_extra_names_the_command(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    said = machine.fails(machine.weights("first", "hf://a/one"))
    assert said.endswith("install it there with: pip install 'kingpost[weights]'")


# --- model_cache


OFFLINE = """
import json, sys
from huggingface_hub import hf_hub_download, snapshot_download
print(json.dumps([hf_hub_download("a/one", "model.bin"), hf_hub_download("a/one", "model.bin", revision="v1"), snapshot_download("a/one")]))
"""


def test_model_cache_is_what_the_hub_finds_offline(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG, config__json=b"{}")
    repository = {"repo_id": "a/one", "revision": "v1", "use_volume": False}
    package = machine.package("first", {"model_cache": [repository]})
    with machine.using(package) as shown:
        offline = {
            **os.environ,
            **shown.variables,
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(machine.folder),
        }
        said = subprocess.run(
            [sys.executable, "-c", OFFLINE], env=offline, capture_output=True, text=True, check=True
        ).stdout
        main, tagged, folder = json.loads(said)
        assert Path(main).read_bytes() == Path(tagged).read_bytes() == BIG
        assert sorted(each.name for each in Path(folder).iterdir()) == ["config.json", "model.bin"]
    assert hub.sent["model.bin"] == len(BIG)


@pytest.mark.parametrize("commit", ["../../../../escaped", "/tmp/escaped", "a/b", ".."])
def test_a_commit_of_a_hub_leads_nowhere_else(machine: Machine, hub: Hub, commit: str) -> None:
    hub.put("a/one", config__json=b"{}")
    hub.commits["a/one"] = commit
    cached = {"model_cache": [{"repo_id": "a/one", "use_volume": False}]}
    said = machine.fails(machine.package("first", cached))
    assert "does not say which commit" in said or "which is refused" in said
    assert not list(machine.folder.rglob("*escaped*"))


def test_a_secret_of_model_cache_may_be_missing(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG)
    repository = {"repo_id": "a/one", "use_volume": False, "runtime_secret_name": "absent"}
    with machine.using(machine.package("first", {"model_cache": [repository]})) as shown:
        assert Path(shown.variables["HF_HUB_CACHE"], "models--a--one", "refs", "main").is_file()


# --- buckets and URLs


def test_a_folder_of_a_bucket(machine: Machine, bucket: Bucket) -> None:
    bucket.files |= {"/b/p/q/model.bin": BIG, "/b/p/q/sub/c.json": b"{}", "/b/p/qq/no.bin": OTHER}
    package = machine.weights("first", "s3://b/p/q", auth_secret_name="keys")
    with machine.using(package):
        place = machine.place("first")
        assert sorted(str(f.relative_to(place)) for f in place.rglob("*") if f.is_file()) == ["model.bin", "sub/c.json"]  # fmt: skip
        assert (place / "model.bin").read_bytes() == BIG
    single = machine.weights("second", "s3://b/p/q/model.bin", auth_secret_name="keys")
    with machine.using(single):
        assert (machine.place("second") / "model.bin").read_bytes() == BIG


def test_wrong_keys_of_a_bucket_are_one_sentence(machine: Machine, bucket: Bucket) -> None:
    bucket.files["/b/model.bin"] = BIG
    said = machine.fails(machine.weights("first", "s3://b", auth_secret_name="wrong_keys"))
    assert "s3://b may not be read with the secret wrong_keys" in said
    machine.secret("text", "just a token")
    said = machine.fails(machine.weights("second", "s3://b", auth_secret_name="text"))
    assert "The secret text for s3://b must be " in said
    assert "token" not in said.replace("session_token", "")
    said = machine.fails(machine.weights("third", "s3://b/none", auth_secret_name="keys"))
    assert "s3://b/none has no object" in said


def test_a_cut_answer_of_a_bucket_and_a_corrupt_object(machine: Machine, bucket: Bucket) -> None:
    bucket.files["/b/model.bin"] = BIG
    bucket.faults.cut_at["model.bin"] = 1_000_000
    with machine.using(machine.weights("first", "s3://b", auth_secret_name="keys")):
        assert (machine.place("first") / "model.bin").read_bytes() == BIG
    bucket.files["/b/bad/other.bin"] = OTHER
    bucket.faults.corrupt_once.add("other.bin")
    with machine.using(machine.weights("second", "s3://b/bad", auth_secret_name="keys")):
        assert (machine.place("second") / "other.bin").read_bytes() == OTHER
    assert bucket.gets("/b/bad/other.bin") == 2


def test_a_bucket_whose_etags_are_no_md5_is_read_twice_only_at_its_smallest(
    machine: Machine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.weights.cache.AT_ONCE", 1)
    bucket.encrypted = True
    bucket.files |= {"/b/small.json": b"{}", "/b/model.bin": BIG, "/b/other.bin": OTHER}
    with machine.using(machine.weights("first", "s3://b", auth_secret_name="keys")):
        assert (machine.place("first") / "model.bin").read_bytes() == BIG
    assert bucket.sent == {"small.json": 4, "model.bin": len(BIG), "other.bin": len(OTHER)}


def test_google_and_azure(machine: Machine, bucket: Bucket) -> None:
    bucket.token = ""
    bucket.files |= {"/b/p/model.bin": BIG, "/b/p/sub/c.json": b"{}", "/b/no.bin": OTHER}
    account = {"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": True}
    machine.secret("google", json.dumps({**account, "gcs_base_url": bucket.url}))
    machine.secret("azure", json.dumps({"account_key": "a2V5", "endpoint": bucket.url}))
    sources = {"google": "gs://b/p", "azure": "azure://account/b/p"}
    for name, source in sources.items():
        with machine.using(machine.weights(name, source, auth_secret_name=name)):
            assert (machine.place(name) / "model.bin").read_bytes() == BIG
            assert (machine.place(name) / "sub" / "c.json").read_bytes() == b"{}"
    assert bucket.sent["model.bin"] == 2 * len(BIG)  # neither says what its content hashes to
    assert len(machine.blobs) == 2  # but it is kept once


# --- room


def limited(machine: Machine, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.settings = Settings(state_dir=machine.folder / "state", max_weights_bytes=most)
    monkeypatch.setattr(eviction, "SPARE_BYTES", 0)


def test_eviction_takes_the_least_recently_used_and_never_what_is_in_use(
    machine: Machine, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(machine, 7_000_000, monkeypatch)
    contents = [Random(n).randbytes(3_000_000) for n in range(4)]
    packages: list[Path] = []
    for n, content in enumerate(contents):
        hub.put(f"a/m{n}", model__bin=content)
        packages.append(machine.weights(f"m{n}", f"hf://a/m{n}"))
    with ExitStack() as held:
        held.enter_context(machine.using(packages[0]))
        with machine.using(packages[1]):
            said = machine.fails(packages[2])
            assert "do not fit into" in said
            assert "KINGPOST_MAX_WEIGHTS_BYTES allows 7 MB" in said
        with machine.using(packages[2]):  # 1 is not in use any more
            assert (machine.place("m0") / "model.bin").read_bytes() == contents[0]
            assert (machine.place("m2") / "model.bin").read_bytes() == contents[2]
            assert not (machine.place("m1") / "model.bin").exists()
        assert len(machine.blobs) == 2
    with machine.using(packages[2]), machine.using(packages[3]):  # 0 was used before 2
        assert len(machine.blobs) == 2
        assert not (machine.place("m0") / "model.bin").exists()
    with machine.using(packages[1]):
        assert (machine.place("m1") / "model.bin").read_bytes() == contents[1]


def test_a_shared_content_stays_as_long_as_one_tree_has_it(
    machine: Machine, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(machine, 6_000_000, monkeypatch)
    hub.put("a/one", model__bin=BIG)
    hub.put("a/two", model__bin=BIG, x__json=b"{}")
    hub.put("a/three", model__bin=Random(9).randbytes(3_000_000 - 10))
    hub.put("a/four", model__bin=Random(10).randbytes(2_999_000))
    first, two, three, four = (
        machine.weights(n, f"hf://a/{n}") for n in ("one", "two", "three", "four")
    )
    with machine.using(first):
        pass
    with machine.using(two):
        with machine.using(three):
            pass
        with machine.using(four):  # takes three's place; the first tree frees nothing
            pass
        assert (machine.place("two") / "model.bin").read_bytes() == BIG
    assert hub.sent["model.bin"] == len(BIG) + 3_000_000 - 10 + 2_999_000


def test_what_a_killed_fetch_left_is_swept(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG)
    cache = machine.folder / "state" / "weights"
    (cache / "staging" / "dead").mkdir(parents=True)
    (cache / "staging" / "dead" / "model.bin").write_bytes(OTHER)
    (cache / "staging" / "dead.lock").write_text(str(10**15))
    (cache / "blobs").mkdir()
    (cache / "blobs" / "nobodys").write_bytes(OTHER)
    with machine.using(machine.weights("first", "hf://a/one")):
        assert len(machine.blobs) == 1
        assert not list((cache / "staging").iterdir())


# --- places


def test_a_place_that_cannot_be_made_says_so(machine: Machine, hub: Hub) -> None:
    hub.put("a/one", model__bin=BIG)
    package = machine.weights("first", "hf://a/one")
    machine.place("first").mkdir(parents=True)
    (machine.place("first") / "mine").touch()
    assert "exists on this machine and is not from Kingpost" in machine.fails(package)
    (machine.place("first") / "mine").unlink()
    with machine.using(package):  # an empty folder is replaced
        assert (machine.place("first") / "model.bin").read_bytes() == BIG
    below = {"source": "hf://a/one", "mount_location": str(machine.folder / "packages/first/config.yaml/x/y")}  # fmt: skip
    said = machine.fails(machine.package("second", {"weights": [below]}))
    assert "cannot be made on this machine (Not a directory); let the user of the node" in said


def two_versions(machine: Machine, hub: Hub) -> tuple[Path, Path]:
    """Packages with other weights at one place."""
    hub.put("a/one", model__bin=BIG)
    hub.put("a/two", model__bin=OTHER)
    entry = {"source": "hf://a/one", "mount_location": str(machine.place("m"))}
    first = machine.package("v1", {"weights": [entry]})
    return first, machine.package("v2", {"weights": [{**entry, "source": "hf://a/two"}]})


def test_a_place_shows_the_weights_of_the_next_version_once_the_last_one_has_ended(
    machine: Machine, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_versions(machine, hub)
    monkeypatch.setenv("PATH", "/nothing")  # a machine that lets no host have mounts of its own
    with machine.using(first):
        said = machine.fails(second)
        assert f"Another model on this machine uses {machine.place('m')} with other weights" in said
        assert (machine.place("m") / "model.bin").read_bytes() == BIG
    with machine.using(second):
        assert (machine.place("m") / "model.bin").read_bytes() == OTHER


def read_by(shown: Shown, path: Path) -> str:
    """The SHA-256 of a file as a host sees it that is started so."""
    command = [*shown.prefix, "sha256sum", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


@pytest.mark.skipif(not can_mount(), reason="this machine lets nobody have mounts of his own")
def test_two_versions_with_other_weights_at_one_place_run_side_by_side(
    machine: Machine, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(machine, 9_000_000, monkeypatch)
    first, second = two_versions(machine, hub)
    hub.put("a/three", model__bin=Random(5).randbytes(5_000_000))
    large = machine.weights("large", "hf://a/three")
    file = machine.place("m") / "model.bin"
    with ExitStack() as old, machine.using(second), ExitStack() as new:
        old.enter_context(machine.using(second))
        shown = new.enter_context(machine.using(first))
        assert shown.prefix
        assert read_by(shown, file) == sha256(BIG)
        assert file.read_bytes() == OTHER
        writes = subprocess.run(
            [*shown.prefix, "touch", str(file.with_name("x"))], capture_output=True
        )
        assert b"Read-only file system" in writes.stderr
        # What lies under the mount is in use, too: without it the path would be gone.
        assert "do not fit into" in machine.fails(large)
    with machine.using(first) as shown:
        assert shown.prefix == ()
        assert file.read_bytes() == BIG


def test_a_url_is_resumed_and_needs_its_token(machine: Machine, tmp_path: Path) -> None:
    cache = WeightsCache(tmp_path / "cache")
    cache.prepare()
    pace = Pace(machine.stopping, float("inf"), lambda: None)
    with serving(Server(), Handler) as server:
        server.files["/files/a model.bin"] = BIG
        server.token = "right"
        server.faults.cut_at["a model.bin"] = 2_000_000
        wish = Wish(f"{server.url}/files/a%20model.bin", secret="mine")
        with pytest.raises(WeightsFailed, match="may not be read with the secret mine"):
            web.listed(wish, "wrong")
        with pytest.raises(WeightsFailed, match="does not exist"):
            web.listed(replace(wish, source=f"{server.url}/none"), "right")
        for _ in range(2):
            (file,) = web.listed(wish, "right").files
            with cache.staged() as (staging, _):
                missing = [file] if not cache.missing([file], staging)[0] else []
                cache.fetch_all(missing, staging, pace)
                assert (staging / "a model.bin").read_bytes() == BIG
        assert len(server.ranges) == 1
        assert server.gets("a model.bin") == 2
