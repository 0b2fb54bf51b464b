"""The page of a request in Chromium: what it shows while the model runs, and what stands there to be pasted."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Route

from deployments.registry.records import Deployment
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.contract.api.studio import studio
from tests.contract.api.test_console_in_browser import (
    WIDE,
    Console,
    chromium,
    console,
    in_both,
    serious,
)
from tests.processes import Process, variables

__all__ = ["chromium", "console", "studio"]  # fixtures
TALKER = "/models/talker/production/async_predict"
NOT_OWNED = "document.querySelectorAll('main img[src=x], main script, main svg').length"


def test_the_output_appears_as_it_comes(
    live: Live, http: httpx.Client, console: Console, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    request_id = submit(http, {"stream": ["first ", "second"], "gate": str(gate)}, TALKER)
    (tmp_path / "gate.0").touch()
    console.at(f"/ui/jobs/{request_id}")
    console.page.locator("#result .flow", has_text="first").wait_for()
    console.page.locator("h1 .s-in_progress").wait_for()
    (tmp_path / "gate.1").touch()
    console.page.locator("h1 .s-succeeded").wait_for()
    console.page.get_by_role("link", name="Download").first.wait_for()
    assert console.page.locator("#result pre").inner_text() == "first second"
    assert console.wrong == []


def test_a_stream_that_is_refused_is_opened_again_and_the_page_goes_on_meanwhile(
    live: Live, http: httpx.Client, chromium: object, tmp_path: Path
) -> None:
    gate, refused = tmp_path / "gate", list[str]()
    request_id = submit(http, {"stream": ["first ", "second"], "gate": str(gate)}, TALKER)
    console = Console(chromium, live, live.new_key(scope="admin"), WIDE, "light")  # type: ignore[arg-type]
    page = console.page

    def once(route: Route) -> None:
        where = route.request.url.partition("?")[0]
        if where in refused:
            return route.continue_()
        refused.append(where)
        return route.fulfill(status=503, body="{}")

    page.clock.install()
    page.route("**/events*", once)
    page.goto(f"/ui/jobs/{request_id}")
    (tmp_path / "gate.0").touch()
    page.locator("h1 .s-in_progress").wait_for()
    page.locator(".log > div").first.wait_for()  # it was read once
    console.live()
    assert len(refused) == 2
    page.clock.fast_forward(6000)
    page.locator("#result .flow", has_text="first").wait_for()
    (tmp_path / "gate.1").touch()
    page.locator("h1 .s-succeeded").wait_for()
    assert [said for said in console.wrong if "status of 503" not in said] == []
    console.close()


def test_a_log_that_is_refused_is_followed_again(live: Live, http: httpx.Client, chromium: object, studio: Deployment) -> None:  # fmt: skip
    console = Console(chromium, live, live.new_key(scope="admin"), WIDE, "light")  # type: ignore[arg-type]
    page, refused = console.page, list[Route]()

    def once(route: Route) -> None:
        refused.append(route)
        return route.fulfill(status=429) if len(refused) == 1 else route.continue_()

    page.clock.install()
    page.route("**/v1/logs/events*", once)
    console.at(f"/ui/models/{studio.model_id}/log")
    page.locator(".log > div").first.wait_for()  # it was read once
    with page.expect_request("**/v1/logs/events*"):
        page.clock.fast_forward(6000)
    path = f"/models/{studio.model_id}/production/async_predict"
    request_id = submit(http, {"prompt": "a late one"}, path)
    http.get(f"/async_request/{request_id}?wait=30")
    page.locator(".log > div", has_text="asked for a late one").first.wait_for()
    assert [said for said in console.wrong if "status of 429" not in said] == []
    console.close()


@in_both
def test_each_kind_of_output_is_shown_and_nothing_of_it_runs(
    live: Live, http: httpx.Client, console: Console, studio: Deployment
) -> None:
    path, page = f"/models/{studio.model_id}/production/async_predict", console.page
    shown = {
        "picture": "#result img.output[src^='data:image/png']",
        "sound": "#result audio[controls]",
        "html": "#result pre",
        "svg": "#result a[download]",
        "json": "#result .tree",
        "fail": "#result .none",
    }
    once = {"max_attempts": 1}
    for mode, selector in shown.items():
        given = {"prompt": "</pre><script>document.title='owned'</script>", "mode": mode}
        request_id = submit(http, given, path, inference_retry_config=once)
        http.get(f"/async_request/{request_id}?wait=30")
        console.at(f"/ui/jobs/{request_id}")
        page.locator(selector).first.wait_for()
        page.locator(".log > div", has_text="asked for").wait_for()
        assert page.evaluate(NOT_OWNED) == 0 and page.title() != "owned", mode
        assert mode not in ("sound", "fail") or not serious(page), mode
    page.locator(".log pre", has_text="RuntimeError").wait_for()
    assert console.wrong == []


LATE = """
import pathlib, time
class Model:
    def load(self):
        while not pathlib.Path({gate!r}).exists():
            time.sleep(0.05)
    def predict(self, given):
        return given
"""


def test_the_load_that_a_request_waited_for_is_told(
    live: Live, http: httpx.Client, console: Console, tmp_path: Path
) -> None:
    gate, folder = tmp_path / "gate", tmp_path / "late"
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text("model_name: late")
    (folder / "model" / "model.py").write_text(LATE.format(gate=str(gate)))
    replica = Process(["replica", str(folder)], variables(live.settings), tmp_path / "log").start()
    try:
        path = "/models/late/production/async_predict"
        wait_until(lambda: http.post("/models/late/production/wake").status_code == 202, 30)
        request_id = submit(http, {}, path)
        console.at(f"/ui/jobs/{request_id}")
        console.page.get_by_text("It waits for a replica that is loading").wait_for()
        gate.touch()
        console.page.locator("h1 .s-succeeded").wait_for()
        steps = console.page.locator(".story li b").all_inner_texts()
    finally:
        replica.stop()
    assert steps[-3:] == ["the replica was ready", "attempt 1 started", "succeeded"]
    said = http.get(f"/async_request/{request_id}").json()
    assert said["load_began_at"] < said["load_ended_at"] <= said["started_at"]
    assert said["created_at"] < said["load_ended_at"]


def test_who_may_not_read_logs_is_shown_none(live: Live, http: httpx.Client, chromium: object, studio: Deployment) -> None:  # fmt: skip
    key = live.new_key(scope="inference")
    with live.client(key) as caller:
        request_id = submit(caller, {"a": 1}, "/models/echo/production/async_predict")
    console = Console(chromium, live, key, WIDE, "light")  # type: ignore[arg-type]
    console.at(f"/ui/jobs/{request_id}")
    console.page.locator("#result pre").wait_for()
    assert console.page.locator(".log").count() == 0
    assert console.wrong == []
    console.close()


def test_what_stands_there_works_when_it_is_pasted(
    live: Live, http: httpx.Client, chromium: object, studio: Deployment, tmp_path: Path
) -> None:
    key, given = live.new_key(scope="inference"), {"prompt": 'it\'s "q" $HOME \\ é', "seed": None}
    with live.client(key) as caller:
        path = f"/models/{studio.model_id}/production/async_predict"
        request_id = submit(caller, given, path, priority=1)
    console = Console(chromium, live, key, WIDE, "light")  # type: ignore[arg-type]
    console.at(f"/ui/jobs/{request_id}")
    path = f"{Path(sys.executable).parent}:{os.defpath}"
    env = {"PATH": path, "KINGPOST_API_KEY": key, "HOME": str(tmp_path)}
    for where, command in (("curl", ["sh", "-c"]), ("Python", [sys.executable, "-c"]), ("kingpost", ["sh", "-c"])):  # fmt: skip
        console.page.locator("summary", has_text=where).click()
        text = console.page.locator("details[open] pre.body").last.inner_text()
        done = subprocess.run(
            [*command, text], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (where, text, done.stderr)
        assert done.stdout, where
    with live.client(key) as caller:
        jobs = caller.get("/v1/jobs").json()["jobs"]
        assert len(jobs) == 4
        assert all(
            caller.get(f"/v1/jobs/{job['request_id']}/input").json() == given for job in jobs
        )
        assert {job["priority"] for job in jobs} == {1}
    console.close()


def test_a_result_is_read_in_parts(http: httpx.Client, studio: Deployment) -> None:
    path = f"/models/{studio.model_id}/production/async_predict"
    small = submit(http, {"prompt": "x", "mode": "sound"}, path)
    large = submit(http, {"size": 100_000}, "/models/echo/production/async_predict")
    for request_id in (small, large):
        http.get(f"/async_request/{request_id}?wait=30")
        result = f"/async_request/{request_id}/result"
        whole = http.get(result)
        part = http.get(result, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
        assert part.headers["content-type"] == whole.headers["content-type"]
        beyond = http.get(result, headers={"Range": f"bytes={len(whole.content)}-"})
        assert beyond.status_code == 416
