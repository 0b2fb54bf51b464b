"""The console as people use it: Chromium on a real stack, narrow and wide, light and dark."""

import os
import re
import shutil
import time
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, NARROW = 1440, 390
ECHO = "/models/echo/production/async_predict"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


def _is_wrong(said: ConsoleMessage) -> bool:
    """Whether it is an error. That a model declares no schema is none, though a browser notes the 404."""
    return said.type == "error" and not said.location["url"].endswith("/v1/models/model/schema")


class Console:
    """A page of the console, and what went wrong on it."""

    def __init__(self, chromium: Browser, live: Live, key: str, width: int, theme: str) -> None:
        self.wrong: list[str] = []
        self._context = chromium.new_context(
            base_url=live.url,
            viewport={"width": width, "height": 900},
            color_scheme=theme,  # type: ignore[arg-type]
        )
        self.page: Page = self._context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if _is_wrong(said) else None
        )
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.goto("/ui")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Log in").click()
        self.live()

    def live(self) -> None:
        """Waits until the page hears of changes."""
        self.page.locator("#link.live").wait_for()

    def at(self, path: str) -> None:
        self.page.goto(path)
        self.live()

    def see(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()

    def close(self) -> None:
        self._context.close()


BOTH = {"wide-light": (WIDE, "light"), "narrow-dark": (NARROW, "dark")}
in_both = pytest.mark.parametrize("console", BOTH.values(), ids=BOTH, indirect=True)


# What a page does is the same in both. How it looks is not: `in_both` is for tests that look at it.
@pytest.fixture(params=[BOTH["wide-light"], pytest.param(BOTH["narrow-dark"], marks=pytest.mark.slow)], ids=BOTH)  # fmt: skip
def console(request: pytest.FixtureRequest, chromium: Browser, live: Live) -> Iterator[Console]:
    width, theme = request.param
    console = Console(chromium, live, live.new_key(scope="admin", name="operator"), width, theme)
    yield console
    console.close()


def serious(page: Page) -> list[tuple[str, str]]:
    """What keeps somebody from using a page, by axe: its name and an element."""
    return [
        (fault["id"], fault["nodes"][0]["html"])
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


@in_both
def test_every_page_fits_can_be_read_and_has_no_error(live: Live, console: Console) -> None:
    with live.client() as http:
        request_id = submit(http, {"a": 1}, ECHO)
    model = live.deployment("echo").model_id
    for path in ("/ui", "/ui/jobs", "/ui/jobs?status=FAILED", f"/ui/jobs/{request_id}", f"/ui/models/{model}",
                 f"/ui/models/{model}/try", "/ui/keys", "/ui/webhooks", "/ui/audit", "/ui/nodes", "/ui/settings"):  # fmt: skip
        console.at(path)
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert console.page.evaluate(wider) == 0, path
        assert not serious(console.page), path
    assert console.wrong == []


def test_a_model_is_tried_and_its_request_watched_and_run_again(
    live: Live, console: Console
) -> None:
    page = console.page
    page.get_by_role("link", name="Try").first.wait_for()
    page.goto(f"/ui/models/{live.deployment('echo').model_id}/try")
    page.get_by_label("Input (JSON)").fill("{")
    page.get_by_role("button", name="Run", exact=True).click()
    console.see("The input is no JSON")
    page.get_by_label("Input (JSON)").fill('{"said": "hello"}')
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#result pre", has_text="hello").wait_for()
    page.get_by_label("through the queue").check()
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#said .s-succeeded").wait_for()
    page.get_by_role("link", name="Open the request").click()
    page.wait_for_url("**/ui/jobs/*")
    page.locator("h1 .s-succeeded").wait_for()
    first = page.url
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: url != first)
    page.locator("h1 .s-succeeded").wait_for()
    page.get_by_role("link", name="Edit and run").click()
    assert '"said": "hello"' in page.get_by_label("Input (JSON)").input_value()
    assert console.wrong == []


def test_a_waiting_job_says_why_moves_and_is_cancelled_without_a_reload(
    live: Live, console: Console
) -> None:
    page, model = console.page, live.deployment("talker").model_id
    page.goto(f"/ui/models/{model}")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Resume").wait_for()
    try:
        with live.client() as http:
            request_id = submit(http, {}, "/models/talker/production/async_predict", priority=1)
            other = submit(http, {}, "/models/talker/production/async_predict", priority=1)
        console.at(f"/ui/jobs/{request_id}")
        console.see("the model to be resumed")
        page.get_by_role("button", name="Level 2 low").click()
        console.see("2 low")
        page.get_by_role("button", name="Cancel").first.click()
        page.get_by_role("button", name="Go on").click()
        page.locator("h1 .s-canceled").wait_for()
        console.at(f"/ui/jobs?model={model}&status=QUEUED")
        page.locator(f"#r{other}").wait_for()
        page.locator("[data-bulk=cancel]").click()
        console.see("Cancel 1 request?")
        page.get_by_role("button", name="Go on").click()
        console.see("No request matches")
        console.at("/ui")
        page.get_by_text("paused").first.wait_for()
    finally:
        page.goto(f"/ui/models/{model}")
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("button", name="Pause").wait_for()
    assert console.wrong == []


def test_a_queue_is_shown_next_first_and_a_request_moves_in_its_row(
    live: Live, http: httpx.Client, console: Console
) -> None:
    page, model = console.page, live.deployment("talker").model_id
    rows = page.locator("tbody tr")
    http.post(f"/v1/models/{model}/pause").raise_for_status()
    try:
        path = "/models/talker/production/async_predict"
        low, high = (submit(http, {}, path, priority=level) for level in (2, 0))
        last = submit(http, {}, path, priority=2)
        console.at(f"/ui/jobs?model={model}&status=QUEUED")
        page.get_by_text("Next first").wait_for()
        ids = rows.evaluate_all("rows => rows.map(row => row.id.slice(1))")
        assert ids == [high, low, last]
        page.locator(f"#r{last}").get_by_role("button", name="Move").click()
        assert page.locator("#move menu button:visible").all_inner_texts() == ["level 0 high", "level 1 medium", "Back"]  # fmt: skip
        page.keyboard.press("Escape")
        assert http.get(f"/async_request/{last}").json()["priority"] == 2
        page.locator(f"#r{last}").get_by_role("button", name="Move").press("Enter")
        page.get_by_role("button", name="level 1 medium").press("Enter")
        page.locator(f"tr#r{last} + tr#r{low}").wait_for()
        assert not serious(page)
        page.get_by_role("link", name="newest first").click()
        page.locator(f"tr#r{last} + tr#r{high}").wait_for()
        page.get_by_role("link", name="next first").click()
        page.locator(f"tr#r{high} + tr#r{last}").wait_for()
        page.locator("[data-bulk=cancel]").click()  # the order is no part of the filter
        console.see("Cancel 3 requests?")
        page.get_by_role("button", name="Go on").click()
        console.see("No request matches")
    finally:
        http.post(f"/v1/models/{model}/resume").raise_for_status()
    assert console.wrong == []


def test_nothing_that_a_client_or_model_writes_runs(live: Live, console: Console) -> None:
    page = console.page
    with live.client(live.new_key(scope="full", name=HOSTILE)) as http:
        request_id = submit(http, {HOSTILE: HOSTILE}, ECHO)
        failed = submit(
            http,
            {"odd": HOSTILE},
            "/models/talker/production/async_predict",
            inference_retry_config={"max_attempts": 1},
        )
        for known in (request_id, failed):
            http.get(f"/async_request/{known}?wait=30")
    for path in (
        f"/ui/jobs/{request_id}",
        f"/ui/jobs/{failed}",
        "/ui/jobs",
        "/ui/keys",
        "/ui/audit",
    ):
        console.at(path)
        assert "owned" not in page.title(), path
        assert (
            page.evaluate("document.querySelectorAll('main img[src=x], main script').length") == 0
        )
    page.goto(f"/ui/models/{live.deployment('echo').model_id}/try?again={request_id}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#result pre", has_text="onerror").wait_for()
    assert "owned" not in page.title()
    assert console.wrong == []


def test_a_key_is_made_shown_once_and_revoked_and_a_logout_is_one(
    live: Live, console: Console
) -> None:
    page, name = console.page, f"by hand {os.getpid()} {time.monotonic_ns()}"
    page.goto("/ui/keys")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make a key").click()
    secret = page.locator("#secret pre")
    secret.wait_for()
    made = secret.inner_text()
    with live.client(made) as http:
        assert http.get("/async_requests").status_code == 200
    row = page.get_by_role("row", name=name)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Go on").click()
    row.get_by_text("revoked").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/ui/login")
    page.goto("/ui/jobs")
    page.get_by_label("API key").wait_for()
    assert console.wrong == []


@in_both
def test_a_key_with_limits_is_made_and_a_receiver_tested_and_a_secret_made(
    live: Live, console: Console
) -> None:
    page, name = console.page, f"limited {os.getpid()} {time.monotonic_ns()}"
    console.at("/ui/keys")
    page.get_by_label("Name").fill(name)
    page.get_by_text("Limits, models, end").click()
    page.get_by_label("Models").fill("echo, talker")
    page.get_by_label("Running at once").fill("3")
    page.get_by_label("Ends after days").fill("1.5")
    assert not serious(page)
    page.get_by_role("button", name="Make a key").click()
    row = page.get_by_role("row", name=name)
    row.get_by_text("max running: 3").wait_for()
    row.get_by_text("only echo, talker").wait_for()
    row.get_by_text("until").wait_for()
    with live.client() as http:
        path, hook = "/models/echo/production/async_predict", "https://localhost/hook"
        ids = [submit(http, {"a": 1}, path, webhook_endpoint=hook) for _ in range(2)]
        for status in (f"/async_request/{each}" for each in ids):
            wait_until(lambda: http.get(status).json()["webhook_status"] == "FAILED", 30)  # noqa: B023
    console.at("/ui/webhooks")
    page.get_by_role("button", name=re.compile("Send all [0-9]+ again")).click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text(re.compile(r"^[0-9]+ done\.$")).wait_for()
    page.get_by_label("Address of a receiver").fill("https://localhost/hook")
    page.get_by_role("button", name="Send a test").click()
    page.locator("#tested p", has_text="It did not arrive").wait_for()
    page.locator("#tested summary", has_text="What was sent").click()
    page.locator("#tested pre", has_text="request_id").wait_for()
    page.get_by_role("button", name="Make a secret").click()
    if page.get_by_role("button", name="Go on").is_visible():  # there was one before
        page.get_by_role("button", name="Go on").click()
    page.locator("#secret pre", has_text="whsec").wait_for()
    console.see("made")
    assert not serious(page)
    assert console.wrong == []
