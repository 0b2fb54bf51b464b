"""The number by which pages see that models, deployments or environments are shown otherwise than before."""

import pytest

from deployments.registry import verbs as registry
from deployments.registry.verbs import SCRIPTS
from tasks.settings import Settings
from tasks.store import scripting
from tasks.store.job_store import JobStore
from tasks.store.verbs import ScriptCall

# What these change is shown by other means (replicas by the directory, nodes by their reports), or by none. `forgive` tells in lib.lua.
UNSEEN = {
    "alias", "astir", "count_load", "demand", "drop_package", "dropped_package", "follow", "forget_node", "forgive",
    "hold_seats", "keep_package", "lapse", "lead", "leave_seat", "link_chainlets", "reload", "remove", "report",
    "report_node", "take_seat", "warming",
}  # fmt: skip


def test_every_script_that_writes_tells_of_it_or_is_known_to_change_nothing_that_is_shown() -> None:
    writing = {
        name: text
        for name, text in scripting.sources(SCRIPTS.folder).items()
        if "flags=no-writes" not in text.partition("\n")[0]
    }
    silent = {name for name, text in writing.items() if "changed()" not in text}
    assert silent == UNSEEN


def grew(store: JobStore, *calls: ScriptCall[object]) -> bool:
    before = store.run(registry.revision())
    for call in calls:
        store.run(call)
    return store.run(registry.revision()) > before


def test_each_change_of_a_deployment_is_told_and_a_repetition_is_not(
    store: JobStore, settings: Settings
) -> None:
    assert store.run(registry.revision()) == 0
    first = store.run(registry.push("m", "a", 1))
    assert store.run(registry.revision()) > 0
    second = store.run(registry.push("m", "b", 1))
    assert grew(store, registry.promote(second))
    assert grew(store, registry.switch(second.model_id, "production", second.id))
    assert grew(store, registry.activate(first.id, False))
    assert not grew(store, registry.activate(first.id, False))
    assert grew(store, registry.configure(first.id, first.autoscaling.changed({"max_replica": 3})))
    assert not grew(
        store, registry.configure(first.id, first.autoscaling.changed({"max_replica": 3}))
    )
    assert grew(store, registry.fail_load(second.id, "no weights", settings))
    assert grew(store, registry.forgive(second.id))
    assert not grew(store, registry.forgive(second.id))


@pytest.mark.parametrize(("wanted", "told"), [(1, False), (0, True), (2, True)])
def test_a_scaling_is_told_if_another_number_of_replicas_is_wanted(
    store: JobStore, wanted: int, told: bool
) -> None:
    id_ = store.run(registry.push("m", "a", 1)).id
    assert grew(store, registry.scale(id_, wanted, 7.0, True, set())) is told
