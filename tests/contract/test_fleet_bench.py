"""The bench of a fleet runs to its end with a small one, so that it can be trusted with a large one."""

import pytest

from bench.fleet.measuring import PRIMARY, Size, measure

pytestmark = pytest.mark.stack


def test_a_small_fleet_is_measured() -> None:
    size = Size(replicas=8, nodes=4, deployments=40, busy=4, seconds=3, leases=20, samples=2)
    report = measure(size)
    (resting,) = report.rounds["at rest"]
    assert resting[f"{PRIMARY}, % of a core"] > 0
    claims = {claim.name: claim for claim in report.claims}
    assert claims["longest script at rest, by the processor"].median > 0
    assert claims["20 leases that end at once: all claimable"].median > 0
    assert claims["changes of the leader"].values == [0]
    (calls,) = (note for note in report.notes if note.startswith("ms of the processor"))
    assert "registry_hold_seats" in calls, "light nodes hold their seats"
    assert "registry_report " in calls, "light replicas report"
