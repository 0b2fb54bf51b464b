"""The registry on a real Valkey: every change as one script, seats, and jobs that follow an environment."""

import uuid
from dataclasses import replace

import pytest
import redis

from cli.local.listing import read as read_models
from cli.stack.readiness import Deaths, Models
from deployments.packages.package import Package, PackageError, memory_bytes
from deployments.registry import keys as registry_keys
from deployments.registry import verbs as registry
from deployments.registry.autoscaling import Autoscaling, BadSetting, Scaler
from deployments.registry.records import Deployment, Replica, Seat
from tasks.errors import SettingsError
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.store import keys, verbs
from tasks.store.job_store import JobStore
from tests.conftest import Clock
from workers.node.capacity import Capacity


def submit(store: JobStore, deployment: Deployment, level: int = 0, key: str = "alice") -> str:
    request_id = RequestId(uuid.uuid4().hex)
    job = Submission(request_id, deployment.id, deployment.model_id, b"{}", level)
    store.run(verbs.submit([job], key, 100))
    return request_id


def test_the_first_deployment_is_production_and_the_next_is_not(store: JobStore) -> None:
    first = store.run(registry.push("m", "hash1", 1))
    second = store.run(registry.push("m", "hash2", 1))
    assert store.run(registry.push("m", "hash1", 1)).id == first.id
    assert store.run(registry.model("m")).environments["production"].deployment_id == first.id
    assert store.run(registry.promote(second)) == "warming"
    assert store.run(registry.model("m")).environments["production"].candidate == second.id
    assert store.run(registry.switch(second.model_id, "production", second.id))
    again = registry.switch(second.model_id, "production", second.id)
    assert not store.run(again)  # two who saw it warm
    production = store.run(registry.model("m")).environments["production"]
    assert (production.deployment_id, production.previous, production.candidate) == (
        second.id,
        first.id,
        None,
    )
    assert store.run(registry.deployment(first.id)).retired
    assert not store.run(registry.deployment(second.id)).retired


def test_the_models_are_shown_by_deployment_production_first_and_without_history(
    store: JobStore, settings: Settings
) -> None:
    def shown() -> list[tuple[str, str, str, bool]]:
        rows = read_models(settings)
        return [(row.deployment.id, row.serves, row.state, row.paused) for row in rows]

    broken, fixed = (store.run(registry.push("m", hash, 1)) for hash in ("hash1", "hash2"))
    other = store.run(registry.register("a", "/models/a", "hash1", 1))  # development, too
    store.run(registry.promote(fixed))
    waiting = [
        (other.id, "production", "stopped", False),
        (broken.id, "production", "stopped", False),
    ]
    assert shown() == [*waiting, (fixed.id, "(production soon)", "stopped", False)]
    submit(store, broken)
    store.run(verbs.pause(fixed.id, True))
    store.run(registry.switch(fixed.model_id, "production", fixed.id))
    served = [waiting[0], (fixed.id, "production", "paused", True)]
    assert shown() == [*served, (broken.id, "-", "stopped", False)]  # a request waits there
    store.run(registry.follow(broken.id, fixed.id))
    assert shown() == served


def test_a_folder_is_development_and_production_until_something_is_promoted(
    store: JobStore,
) -> None:
    folder = store.run(registry.register("m", "/models/m", "hash0", 1))
    pushed = store.run(registry.push("m", "hash0", 1))
    assert pushed.id != folder.id  # a folder changes; it is not the package that was pushed
    store.run(registry.promote(pushed))
    store.run(registry.switch(pushed.model_id, "production", pushed.id))
    again = store.run(registry.register("m", "/models/m", "hash9", 1))  # the next `kingpost up`
    environments = store.run(registry.model("m")).environments
    assert again.id == folder.id
    assert environments["production"].deployment_id == pushed.id
    assert environments["development"].deployment_id == folder.id


def test_seats_are_never_more_than_wanted_and_end_by_themselves(store: JobStore) -> None:
    first = store.run(registry.push("m", "hash", 1))
    seats = [Seat(first.id, f"r{number}") for number in range(3)]
    assert [store.run(registry.take_seat(seat, 60_000)) for seat in seats] == [True, False, False]
    assert store.run(registry.hold_seats(seats[:1], 60_000)) == ["held"]
    store.run(registry.scale(first.id, 2, 5, True, {"ready"}))
    assert [store.run(registry.take_seat(seat, 60_000)) for seat in seats[1:]] == [True, False]
    store.run(registry.scale(first.id, 1, 0, False, {"ready"}))
    assert store.run(registry.hold_seats(seats[:2], 60_000)) == ["surplus", "held"]
    assert store.run(registry.hold_seats(seats[:1], 60_000)) == ["lost"]
    store.run(registry.activate(first.id, False))
    assert store.run(registry.hold_seats(seats[1:2], 60_000)) == ["surplus"]
    assert not store.run(registry.take_seat(seats[0], 60_000))


def test_a_deployment_with_work_and_no_seat_is_needy(store: JobStore) -> None:
    first, two = store.run(registry.push("one", "a", 1)), store.run(registry.push("two", "b", 1))
    store.run(registry.scale(two.id, 1, 3, True, set()))
    store.run(registry.scale(first.id, 1, 3, True, set()))
    assert set(store.run(registry.needy())) == {two.id, first.id}
    assert store.run(registry.take_seat(Seat(two.id, "r"), 60_000))
    store.run(registry.scale(two.id, 1, 3, True, set()))
    assert store.run(registry.needy()) == [first.id]
    store.run(registry.scale(first.id, 0, 0, False, set()))
    assert store.run(registry.needy()) == []


def test_queued_jobs_follow_in_their_order_and_newcomers_come_after(
    store: JobStore, clock: Clock
) -> None:
    old, new = store.run(registry.push("m", "a", 1)), store.run(registry.push("m", "b", 1))
    served = [submit(store, old) for _ in range(5)]
    for _ in served:  # virtual time goes on
        claim = store.run(verbs.claim(old.id, "r:0", uuid.uuid4().hex[:16], "r"))
        assert claim
        store.run(verbs.stopped(claim.lease, "cooperative"))
    ids = [submit(store, old, level) for level in (1, 0, 2, 0)]
    assert store.run(registry.follow(old.id, new.id)) == 4
    newcomer = submit(store, new)
    assert store.run(verbs.queue_status(old.id)).queued == 0
    assert store.run(verbs.queue_status(new.id)).queued == 5
    order = []
    while claim := store.run(verbs.claim(new.id, "r:1", uuid.uuid4().hex[:16], "r")):
        order.append(claim.job.request_id)
        assert claim.job.deployment_id == new.id
    assert order == [ids[1], ids[3], newcomer, ids[0], ids[2]]


def test_jobs_that_their_keys_limit_holds_back_follow_too(store: JobStore) -> None:
    old, new = store.run(registry.push("m", "a", 1)), store.run(registry.push("m", "b", 1))
    store.redis.hset(keys.plain("running_limits"), mapping={"alice": 1, "bob": 1})

    def claimed(deployment: Deployment) -> str | None:
        claim = store.run(verbs.claim(deployment.id, "r:0", uuid.uuid4().hex[:16], "r"))
        return claim and claim.job.request_id

    running = [submit(store, old, key=key) for key in ("alice", "bob")]
    assert {claimed(old), claimed(old)} == set(running)
    held = [submit(store, old, key=key) for key in ("alice", "bob", "alice")]
    assert claimed(old) is None
    assert store.run(verbs.queue_status(old.id)).queued == 3
    steps = [replace(registry.follow(old.id, new.id), arguments=[old.id, new.id, 2])] * 3
    assert [store.run(step) for step in steps] == [2, 1, 0]
    assert store.run(verbs.queue_status(old.id)).queued == 0
    assert store.run(verbs.queue_status(new.id)).queued == 3
    assert [claimed(new) for _ in range(3)] == [*held[:2], None]  # their limits hold there, too
    assert not [
        name for name in store.redis.scan_iter() if b"held" in name and old.id.encode() in name
    ]


def test_up_at_once_down_after_the_delay_and_to_zero() -> None:
    settings = Autoscaling(max_replica=4, autoscaling_window=10, scale_down_delay=60)
    scaler = Scaler(0.0)
    assert scaler.wanted(settings, 0.0, 2.8, 1) == 4
    assert [scaler.wanted(settings, t, 0.0, 4) for t in (20.0, 40.0, 59.0)] == [4, 4, 4]
    assert scaler.wanted(settings, 60.0, 0.0, 4) == 2  # half of them, then the delay again
    assert scaler.wanted(settings, 119.0, 0.0, 2) == 2
    assert scaler.wanted(settings, 120.0, 0.0, 2) == 1
    assert scaler.wanted(settings, 180.0, 0.0, 1) == 0
    assert scaler.wanted(settings, 181.0, 1.0, 0) == 1  # the first call


@pytest.mark.parametrize(
    "changes", [{"colour": 1}, {"min_replica": -1}, {"min_replica": 2}, {"max_replica": "3"}]
)
def test_a_wrong_setting_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(BadSetting, match=next(iter(changes))):
        Autoscaling().changed(changes)


def deployment(gpus: int = 0, memory: int = 0) -> Deployment:
    return Deployment("d", "m", "name", "model", 1, "", "h", 0, gpus, memory)


def test_gpus_are_handed_out_whole_or_by_memory() -> None:
    capacity = Capacity.of(Settings(node_gpus="0=80Gi,1=80Gi", node_slots=1))
    small, whole, two = deployment(1, 30 << 30), deployment(1), deployment(2)
    first, second = capacity.place(small), capacity.place(small)
    assert first
    assert second
    assert first.variables == second.variables  # the fuller device first: the other stays free
    assert capacity.place(small) != first  # 20 GiB are left there
    assert capacity.place(whole) is None
    assert capacity.place(two) is None
    assert capacity.lacks(small) == "it needs a GPU with 30 GiB of it, and that is free on 1 of 2"
    assert capacity.lacks(two).startswith("it needs 2 GPUs with nothing else on it, and that is")
    assert capacity.lacks(deployment(3)) == "it needs 3 GPUs, and the machine has 2"
    assert capacity.place(deployment()) is not None  # a CPU slot
    assert capacity.place(deployment()) is None
    assert capacity.lacks(deployment()).startswith("every slot for models on the CPU is taken")
    capacity.give_back(first)
    capacity.give_back(second)
    found = capacity.place(whole)
    assert found
    assert found.devices == first.devices


def test_without_gpus_every_model_takes_a_cpu_slot() -> None:
    capacity = Capacity.of(Settings(node_gpus="", node_slots=1))
    place = capacity.place(deployment(gpus=2))
    assert place
    assert place.variables == {}


def test_sizes_are_read_as_kubernetes_writes_them() -> None:
    assert memory_bytes("10Gi", "k") == 10 << 30
    assert memory_bytes("1.5G", "k") == 1_500_000_000
    with pytest.raises(PackageError, match=r"resources\.gpu_memory"):
        memory_bytes("much", "resources.gpu_memory")
    with pytest.raises(SettingsError, match="0=80Gi"):
        Capacity.of(Settings(node_gpus="0=much"))
    assert Package  # the key is read where the package is


def test_a_folder_that_loads_is_waited_for_although_a_pushed_version_of_it_rests(
    store: JobStore, settings: Settings
) -> None:
    folder = store.run(registry.register("m", "/m", "h", 1))
    pushed = store.run(registry.push("m", "hash2", 1))
    store.run(registry.activate(pushed.id, False))
    models = Models(settings, [folder])
    assert models.look() == [] and models.waiting == 1
    store.run(registry.activate(folder.id, False))
    inactive = f"m is inactive: kingpost activate {folder.id}"
    assert models.look() == [inactive] and models.waiting == 0


def test_a_model_that_cannot_be_loaded_is_said_once_until_it_comes_up(
    store: JobStore, settings: Settings
) -> None:
    folder = store.run(registry.register("m", "/m", "h", 1))
    models = Models(settings, [folder])
    of_it = Replica("r1", folder.id, "m", "failed", None, "/x", 1, 0, 1, None)
    store.run(registry.report(replace(of_it, error="frames\nOSError: no weights"), 15_000))
    assert models.look() == ["m could not be loaded: OSError: no weights"]
    store.run(registry.fail_load(folder.id, "frames\nOSError: still none", settings))
    store.run(registry.report(replace(of_it, state="loading"), 15_000))
    assert models.look() == [] and models.waiting == 0
    assert [failed.reason for failed in models.failed.values()] == ["OSError: still none"]
    store.run(registry.report(replace(of_it, state="ready"), 15_000))
    assert models.look() == ["m is ready."] and not models.failed
    assert models.look() == []


def test_a_model_that_a_push_brought_up_did_come_up(store: JobStore, settings: Settings) -> None:
    folder = store.run(registry.register("m", "/m", "h", 1))
    models = Models(settings, [folder])
    store.run(registry.fail_load(folder.id, "OSError: no weights", settings))
    models.look()
    assert models.failed and not models.came_up
    pushed = store.run(registry.push("m", "hash2", 1))
    store.run(
        registry.report(Replica("r2", pushed.id, "m", "ready", None, "/x", 1, 0, 1, None), 15_000)
    )
    models.look()
    assert models.came_up == {"m"}


def test_deaths_are_told_once_and_orderly_ends_are_not() -> None:
    replica = Replica("r1", "d1", "m", "ready", None, "/x", 1, 0, 11, 12)
    other = replace(replica, id="r2", pid=21, host_pid=22)
    deaths = Deaths()
    assert deaths.look([replica, other]) == []
    told = "The {} of m {} and is started again; `kingpost logs m` shows more."
    ended = replace(replica, host_pid=13, host_ends=1)  # the next one is ready before anybody looks
    assert deaths.look([ended, other]) == [told.format("model host", "ended")]
    assert deaths.look([ended, replace(other, state="draining", host_pid=None)]) == []
    assert deaths.look([]) == []  # its entry ran out before the next one reported
    assert deaths.look([replace(replica, pid=14)]) == [told.format("replica", "died")]
    assert deaths.look([replace(replica, pid=14)]) == []


@pytest.fixture
def strict(settings: Settings) -> Settings:
    """With which two failures alike are enough, and a rest is over when the test says so."""
    return settings.model_copy(update={"load_failures": 2, "load_rest_seconds": 3600})


def test_a_deployment_whose_loads_fail_alike_gives_its_seat_up_and_keeps_the_reason(
    store: JobStore,
    strict: Settings,
) -> None:
    bad = store.run(registry.push("bad", "a", 1))
    good = store.run(registry.push("good", "b", 1))
    seat = Seat(bad.id, "r1")
    store.run(registry.scale(bad.id, 1, 3, True, set()))
    assert store.run(registry.take_seat(seat, 60_000))
    why = '  File "model/model.py", line 4, in load\nOSError: no weights at 0x7f01, try {}'
    assert not store.run(registry.fail_load(bad.id, why.format(1), strict))
    assert store.run(registry.hold_seats([seat], 60_000)) == ["held"]
    # Numbers do not make another cause.
    assert store.run(registry.fail_load(bad.id, why.format(2), strict))
    assert store.run(registry.hold_seats([seat], 60_000)) == ["surplus"]
    assert not store.run(registry.take_seat(Seat(bad.id, "r2"), 60_000))
    store.run(registry.scale(bad.id, 1, 3, True, set()))
    assert store.run(registry.needy()) == []  # it waits for nothing that another one has
    known = store.run(registry.deployment(bad.id))
    assert (known.gave_up, known.failure) == (True, why.format(2))
    assert store.run(registry.take_seat(Seat(good.id, "r3"), 60_000))


def test_by_default_five_failures_alike_are_enough(store: JobStore, settings: Settings) -> None:
    bad = store.run(registry.push("bad", "a", 1))
    said = [store.run(registry.fail_load(bad.id, "no", settings)) for _ in range(5)]
    assert said == [False] * 4 + [True]


def test_other_failures_are_counted_anew_but_not_for_ever(
    store: JobStore, strict: Settings
) -> None:
    bad = store.run(registry.push("bad", "a", 1))
    said = [store.run(registry.fail_load(bad.id, f"{name}: no", strict)) for name in "ABABABAB"]
    assert said == [False] * 7 + [True]


@pytest.mark.parametrize("change", ["push", "activate", "promote", "retry", "forgive", "ready"])
def test_a_change_lets_it_be_tried_again(store: JobStore, strict: Settings, change: str) -> None:
    bad = store.run(registry.push("bad", "a", 1))
    assert [store.run(registry.fail_load(bad.id, "no", strict)) for _ in range(2)] == [
        False,
        True,
    ]
    match change:
        case "push":
            store.run(registry.push("bad", "a", 1))
        case "activate":
            store.run(registry.activate(bad.id, False))
            store.run(registry.activate(bad.id))
        case "promote":
            store.run(registry.promote(bad))
        case "retry":
            store.run(registry.retry(bad.id))
        case "forgive":
            store.run(registry.forgive(bad.id))
        case _:
            store.run(registry.scale(bad.id, 1, 0, False, {"ready"}))
    known = store.run(registry.deployment(bad.id))
    assert (known.gave_up, known.failure) == (False, "")
    assert store.run(registry.take_seat(Seat(bad.id, "r"), 60_000))
    # Counted from the beginning.
    assert not store.run(registry.fail_load(bad.id, "no", strict))


def test_a_folder_that_is_registered_again_is_tried_again(
    store: JobStore, strict: Settings
) -> None:
    folder = store.run(registry.register("bad", "/models/bad", "hash", 1))
    assert [store.run(registry.fail_load(folder.id, "no", strict)) for _ in range(2)] == [
        False,
        True,
    ]
    assert not store.run(registry.register("bad", "/models/bad", "hash2", 1)).gave_up


def test_after_its_rest_one_more_failure_is_enough_and_the_next_rest_is_longer(
    store: JobStore, strict: Settings, settings: Settings
) -> None:
    bad = store.run(registry.push("bad", "a", 1))
    client = redis.Redis.from_url(settings.redis_url)
    key = registry_keys.keyed("deployment", bad.id)
    rests: list[float] = []
    for failures in (2, 1, 1, 1, 1):
        assert [store.run(registry.fail_load(bad.id, "no", strict)) for _ in range(failures)][-1]
        seconds, micros = client.time()  # type: ignore[misc]
        until = float(client.hget(key, "gave_up") or 0)  # type: ignore[arg-type]
        rests.append(round((until / 1000 - seconds - micros / 1e6) / 3600))
        client.hset(key, "gave_up", 1)  # over
        store.run(registry.scale(bad.id, 1, 3, True, set()))
        assert store.run(registry.needy()) == [bad.id]
        known = store.run(registry.deployment(bad.id))
        assert (known.gave_up, known.failure) == (False, "no")
    assert rests == [1, 2, 4, 8, 8]
    client.close()


def test_what_is_not_its_fault_is_told_and_not_counted(store: JobStore, strict: Settings) -> None:
    bad = store.run(registry.push("bad", "a", 1))
    assert not any(
        store.run(registry.fail_load(bad.id, "away", strict, counted=False)) for _ in range(20)
    )
    assert store.run(registry.deployment(bad.id)).failure == "away"
