"""What a failed job says about its host."""

import pytest

from tests.contract.host.conftest import StartHost
from workers.wire.messages import UNHEALTHY, WELL

pytestmark = pytest.mark.kingpost_only("private routes")
MODEL = """
import threading

class Model:
    busy = ill = False

    def is_healthy(self):
        if self.busy:
            threading.Event().wait()
        return not self.ill

    def predict(self, what):
        self.busy, self.ill = what == "busy", what == "ill"
        raise ValueError("as any other")
"""


def test_a_check_that_is_slow_to_answer_says_nothing_and_a_no_does(start_host: StartHost) -> None:
    host = start_host(MODEL)
    assert host.job("ill").end.fault == UNHEALTHY
    assert host.state()["not_live_ms"] > 0
    assert host.job("well").end.fault == WELL
    assert host.state()["not_live_ms"] == 0
    assert host.job("busy").end.fault == WELL
    assert host.state()["not_live_ms"] == 0
