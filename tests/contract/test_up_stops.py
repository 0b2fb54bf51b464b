"""`kingpost up` while it drains, and when a second Ctrl-C cuts that short."""

import re
import signal
from pathlib import Path

from tests.conditions import wait_until
from tests.contract.test_up import Up
from tests.processes import running_on

SLOW = """
import subprocess, sys, threading

WAIT = "import threading; threading.Event().wait()"

class Model:
    def predict(self, x):
        subprocess.Popen([sys.executable, "-c", WAIT, "stray", STATE], start_new_session=True)
        threading.Event().wait(600)
"""


def test_a_second_ctrl_c_ends_all_that_was_started_and_says_what_it_cut_off(tmp_path: Path) -> None:
    up = Up(tmp_path)
    (up.models / "echo" / "model" / "model.py").write_text(
        SLOW.replace("STATE", repr(str(up.state)))
    )
    up.start("--no-flower").ready()
    assert up.process
    try:
        path = "/models/echo/production/async_predict"
        request_id = up.call("POST", path, {"model_input": 1})["request_id"]

        def runs() -> bool:
            return up.call("GET", f"/async_request/{request_id}")["status"] == "IN_PROGRESS"

        wait_until(lambda: runs() and any("stray" in said for said in running_on(up.state)), 30)
        up.process.send_signal(signal.SIGINT)
        waits = (
            r"Draining: 1 job runs; it and open calls get at most 30 s\. Ctrl-C again ends it now\."
        )
        wait_until(lambda: re.search(waits, up.said()), 20)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 1
        assert running_on(up.state) == []
    finally:
        if up.process.poll() is None:
            up.stop()
    cut = "Ended at once: 1 running job was cut off, and it is tried again after the next start; so were open calls."
    assert up.said().splitlines()[-1] == cut
    assert not (up.state / "up.json").exists()
