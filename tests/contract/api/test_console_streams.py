"""The stream that tells a page of the console of changes: whose connection it is, and how it ends."""

import signal
from pathlib import Path

import httpx

from cli.stack.ports import free_port
from tasks.settings import Settings
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, _answers
from tests.processes import Process, variables


def test_a_pulse_counts_for_its_key_and_ends_in_an_orderly_way(
    settings: Settings, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    limits = {"KINGPOST_MAX_CONNECTIONS_PER_KEY": "1", "KINGPOST_DRAIN_SECONDS": "8"}
    env = variables(settings, KINGPOST_API_KEY=KEY, **limits)
    api = Process(["api", "--port", str(port)], env, tmp_path / "api.log").start()
    try:
        wait_until(lambda: _answers(url), 30)
        with httpx.Client(base_url=url, timeout=60) as browser:
            assert browser.post("/ui/login", data={"key": KEY}).status_code == 303
            with browser.stream("GET", "/ui/pulse") as pulse:
                lines = pulse.iter_lines()
                assert next(lines) == "retry: 3000"
                with httpx.Client(base_url=url, cookies=browser.cookies) as other:
                    refused = other.get("/ui")
                assert refused.status_code == 429 and "is its limit" in refused.text
                api.signal(signal.SIGTERM)
                assert all(not line or line.startswith("data:") for line in lines)
        assert api.popen
        assert api.popen.wait(60) in (0, -signal.SIGTERM)
    finally:
        api.kill()
