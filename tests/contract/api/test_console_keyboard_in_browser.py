"""The console by the keyboard alone, in Chromium: every element of every page is reached, focus can be seen, actions are done."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import Browser, Locator
from starlette.testclient import TestClient

from api.app import create_app
from deployments.registry.records import Deployment
from tasks.settings import Settings
from tests.api_keys import ApiKeys
from tests.contract.api.conftest import Live, submit
from tests.contract.api.test_console import pages
from tests.contract.api.test_console_in_browser import ECHO, WIDE, Console, chromium
from tests.contract.api.versions import versions

__all__ = ["chromium", "versions"]  # fixtures
USABLE = "a[href], button, input, select, textarea, summary, [tabindex]"
TALKER = "/models/talker/production/async_predict"
# The focused element, with what is wrong with how it is shown, if anything is.
FOCUSED = """() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  const faults = [];
  if (at === document.body) return { html: "", faults };
  if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) faults.push("no outline");
  if (!box.width || !box.height || box.bottom <= 0 || box.right <= 0 || box.top >= innerHeight || box.left >= innerWidth) faults.push("out of sight");
  return { html: at.outerHTML.slice(0, 200), faults };
}"""
WATCH = "() => { window.visited = new Set(); addEventListener('focusin', ({ target }) => window.visited.add(target)); }"
# What can be used on the page but was never in focus. Of radio buttons only the chosen one is a stop.
MISSED = """() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter((element) => element.checkVisibility() && !element.disabled && element.type !== "hidden" && !window.visited.has(element)
    && !(element.type === "radio" && !element.checked))
  .map((element) => element.outerHTML.slice(0, 200))"""


class Keyboard:
    """Somebody without a mouse. Each step asserts that the focus can be seen."""

    def __init__(self, console: Console) -> None:
        self.console, self.page = console, console.page

    def tab(self) -> str:
        """Goes on to the next element, and gives its HTML: '' at the end of the page."""
        self.page.keyboard.press("Tab")
        focused = self.page.evaluate(FOCUSED)
        assert focused["faults"] == [], (self.page.url, focused)
        return focused["html"]

    def most_tabs(self) -> int:
        """More than go once through the page; other tests have left keys and requests on some."""
        return self.page.locator(USABLE).count() + 20

    def to(self, what: Locator) -> None:
        """Goes on until this is in focus."""
        what.wait_for()
        for _ in range(self.most_tabs()):
            if what.evaluate("element => element === document.activeElement"):
                return
            self.tab()
        raise AssertionError(f"{what} is not reached on {self.page.url}")

    def enter(self, what: Locator) -> None:
        self.to(what)
        self.page.keyboard.press("Enter")

    def type(self, what: Locator, text: str) -> None:
        self.to(what)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def button(self, name: str) -> None:
        self.enter(self.page.get_by_role("button", name=name, exact=True))

    def go_on(self, question: str) -> None:
        """Answers the question of a dialog, in which the harmless answer has the focus."""
        self.page.get_by_role("dialog", name=question).wait_for()
        assert self.page.evaluate("document.activeElement.textContent") == "Back"
        self.button("Go on")

    def tour(self) -> None:
        """Goes through the page once: everything that can be used is on the way."""
        self.page.evaluate(WATCH)
        assert "To the content" in self.tab()
        for _ in range(self.most_tabs()):
            if not self.tab():
                break
        assert self.page.evaluate(MISSED) == [], self.page.url


@pytest.fixture
def keyboard(chromium: Browser, live: Live) -> Iterator[Keyboard]:
    console = Console(chromium, live, live.new_key(scope="admin", name="no mouse"), WIDE, "light")
    yield Keyboard(console)
    assert console.wrong == []
    console.close()


def test_everything_on_every_page_is_reached(
    live: Live, http: httpx.Client, keyboard: Keyboard, versions: list[Deployment]
) -> None:
    running = submit(http, {"a": 1}, ECHO)
    http.get(f"/async_request/{running}?wait=30")
    model = f"/ui/models/{versions[0].model_id}"
    for path in (*pages(live), f"/ui/jobs/{running}", model, f"{model}/changes", f"{model}/log"):
        keyboard.console.at(path)
        keyboard.tour()


def test_a_login_a_page_and_a_logout(chromium: Browser, live: Live, keyboard: Keyboard) -> None:
    page = keyboard.page
    for name, title in (("Jobs", "Jobs"), ("Keys", "API keys"), ("Overview", "Overview")):
        keyboard.enter(page.get_by_role("link", name=name, exact=True))
        page.get_by_role("heading", name=title, level=1).wait_for()
        keyboard.console.live()
    keyboard.enter(page.get_by_role("link", name="To the content"))
    keyboard.tab()
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    keyboard.enter(page.get_by_role("link", name="echo", exact=True).first)
    page.get_by_role("heading", name="echo").wait_for()
    keyboard.button("Log out")
    page.get_by_label("API key").wait_for()
    assert page.evaluate("document.activeElement.id") == "key"
    page.keyboard.type(live.new_key())
    page.keyboard.press("Enter")
    keyboard.console.live()


def test_a_request_is_found_run_again_edited_and_deleted(
    live: Live, http: httpx.Client, keyboard: Keyboard
) -> None:
    page = keyboard.page
    first = submit(http, {"said": "by hand"}, ECHO)
    http.get(f"/async_request/{first}?wait=30")
    keyboard.console.at("/ui/jobs")
    keyboard.to(page.get_by_label("Status"))
    page.keyboard.type("succ")
    keyboard.enter(page.get_by_role("button", name="Filter"))
    page.wait_for_url("**status=SUCCEEDED*")
    keyboard.console.live()
    keyboard.enter(page.locator(f"#r{first} th a"))
    page.wait_for_url(f"**/ui/jobs/{first}")
    keyboard.console.live()
    keyboard.button("Run again")
    page.wait_for_url(lambda url: "/ui/jobs/" in url and first not in url)
    page.locator("h1 .s-succeeded").wait_for()
    keyboard.enter(page.get_by_role("link", name="Edit and run"))
    page.wait_for_url("**/try?again=*")
    keyboard.console.live()
    keyboard.type(page.get_by_label("Input (JSON)"), '{"said": "anew"}')
    keyboard.to(page.get_by_label("through the queue"))
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.get_by_label("wait for the answer").is_checked()
    keyboard.button("Run")
    page.locator("#result pre", has_text="anew").wait_for()
    page.wait_for_function("document.activeElement.textContent === 'Run'")
    keyboard.console.at(f"/ui/jobs/{first}")
    keyboard.button("Delete")
    keyboard.go_on("Delete this request for good, with its input and output?")
    page.wait_for_url("**/ui/jobs")
    assert http.get(f"/async_request/{first}").status_code == 404


def test_the_input_of_another_key_is_shown(live: Live, keyboard: Keyboard) -> None:
    page = keyboard.page
    with live.client(live.new_key()) as other:
        request_id = submit(other, {"said": "by another"}, ECHO)
    keyboard.console.at(f"/ui/jobs/{request_id}")
    keyboard.button("Show")
    page.locator("#given pre", has_text="by another").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "PRE"  # it can be scrolled


def test_a_queue_is_held_back_moved_and_cancelled(live: Live, keyboard: Keyboard) -> None:
    page, model = keyboard.page, live.deployment("talker").model_id
    focused = "document.activeElement.textContent"
    keyboard.console.at(f"/ui/models/{model}")
    keyboard.button("Pause")
    keyboard.go_on("Hold back all queued requests of talker? Running ones go on.")
    page.get_by_role("button", name="Resume").wait_for()
    assert page.evaluate(focused) == "Resume"  # who pressed it is still there
    try:
        with live.client() as http:
            ids = [submit(http, {}, TALKER, priority=1) for _ in range(3)]
        keyboard.console.at(f"/ui/jobs?model={model}&status=QUEUED")
        rows = [page.locator(f"#r{each}") for each in ids]
        keyboard.enter(rows[2].get_by_role("button", name="Move"))
        keyboard.enter(page.get_by_role("button", name="level 0 high"))
        page.locator(f"tr#r{ids[2]} + tr#r{ids[0]}").wait_for()
        assert page.evaluate(focused) == "Move"
        keyboard.enter(rows[0].get_by_role("button", name="Cancel"))
        rows[0].wait_for(state="detached")
        assert "To the content" not in keyboard.tab()  # the next one is near, not at the beginning
        keyboard.enter(page.locator("[data-bulk=cancel]"))
        keyboard.go_on("Cancel 2 requests?")
        page.get_by_role("heading", name="No request matches").wait_for()
        assert page.evaluate(focused) == "Cancel"
    finally:
        keyboard.console.at(f"/ui/models/{model}")
        keyboard.button("Resume")
        page.get_by_role("button", name="Pause").wait_for()


def test_a_model_is_scaled_and_gets_and_loses_an_environment(
    http: httpx.Client, keyboard: Keyboard, versions: list[Deployment]
) -> None:
    old, new = versions
    page, model = keyboard.page, f"/ui/models/{old.model_id}"
    keyboard.console.at(model)
    article = page.locator(f"#d{old.id}")
    keyboard.enter(article.locator("summary", has_text="Autoscaling"))
    keyboard.type(article.get_by_label("max replica"), "3")
    page.keyboard.press("Enter")
    page.locator("#notes p").wait_for()
    settings = f"/v1/models/{old.model_id}/deployments/{old.id}"
    assert http.get(settings).json()["autoscaling_settings"]["max_replica"] == 3
    keyboard.type(page.get_by_label("New environment"), "by-hand")
    page.keyboard.press("Enter")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="by-hand"))
    keyboard.enter(article.get_by_role("button", name="Promote to by-hand"))
    keyboard.go_on(f"Switch by-hand of versions to {old.id} as soon as it is warm?")
    row.get_by_text(old.id).wait_for()
    keyboard.enter(row.get_by_role("button", name="Delete"))
    keyboard.go_on("Forget the environment by-hand? Its deployment stays.")
    row.wait_for(state="detached")
    keyboard.enter(page.locator(f"#d{new.id}").get_by_role("link", name="What changed"))
    page.get_by_role("row", name="resources.memory").wait_for()
    keyboard.console.live()
    keyboard.enter(page.locator("summary", has_text="model/model.py"))
    page.locator(".diff .add", has_text="return 2").wait_for(state="hidden")
    keyboard.console.at(f"{model}/log?deployment={old.id}")
    keyboard.to(page.get_by_label("without lines of requests"))
    page.keyboard.press("Space")
    assert page.get_by_label("without lines of requests").is_checked()


def test_a_key_is_made_copied_and_revoked_and_a_receiver_tested(
    live: Live, keyboard: Keyboard
) -> None:
    page = keyboard.page
    page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    )  # as over plain HTTP
    keyboard.console.at("/ui/keys")
    keyboard.type(page.get_by_label("Name"), "made by hand")
    page.keyboard.press("Enter")
    secret = page.locator("#secret pre")
    secret.wait_for()
    page.get_by_text("It is made.").wait_for()
    keyboard.button("Copy")
    page.get_by_text("Copied.").wait_for()
    made = secret.inner_text()
    row = page.get_by_role("row", name="made by hand")
    keyboard.enter(row.get_by_role("button", name="Revoke"))
    keyboard.go_on(
        f"Revoke the key {made[3:].split('.')[0]} made by hand for good? Clients that use it get 401."
    )
    row.get_by_text("revoked").wait_for()
    keyboard.to(page.get_by_label("Name"))
    page.keyboard.press("Control+v")
    assert page.get_by_label("Name").input_value() == made
    keyboard.console.at("/ui/webhooks")
    keyboard.type(page.get_by_label("Address of a receiver"), "https://localhost/hook")
    page.keyboard.press("Enter")
    page.locator("#tested p", has_text="It did not arrive").wait_for()
    keyboard.enter(page.locator("#tested summary", has_text="What was sent"))
    page.locator("#tested pre", has_text="request_id").wait_for()


def test_a_conversation(live: Live, keyboard: Keyboard) -> None:
    page = keyboard.page
    keyboard.console.at(f"/ui/models/{live.deployment('talker').model_id}/chat")
    keyboard.type(page.get_by_label("Message"), "hello")
    page.keyboard.press("Enter")
    page.locator(".said-assistant .words", has_text="Hello there").wait_for()
    page.wait_for_function("document.activeElement.id === 'message'")
    keyboard.button("New conversation")
    assert page.locator(".talk article").count() == 0
    assert page.evaluate("document.activeElement.id") == "message"


def test_an_empty_page_says_what_to_do_next(settings: Settings) -> None:
    key = ApiKeys(settings).create(scope="admin")
    with TestClient(create_app(settings)) as browser:
        browser.post("/ui/login", data={"key": key})
        for path, word in {
            "/ui": "kingpost push",
            "/ui/jobs": "kingpost predict",
            "/ui/jobs?status=FAILED": 'href="/ui/jobs"',
            "/ui/nodes": "kingpost node",
            "/ui/webhooks": 'href="/ui/jobs"',
        }.items():
            empty = re.search(r'<section class="empty">.*?</section>', browser.get(path).text, re.S)
            assert empty and word in empty[0], path


def test_an_empty_model_says_what_to_do_next(live: Live, http: httpx.Client) -> None:
    with live.client(None) as browser:
        browser.post("/ui/login", data={"key": live.new_key(scope="admin")})
        model = live.deployment("echo").model_id
        only = browser.get(f"/ui/models/{model}/changes").text
        assert "There is only one version" in only and "kingpost push" in only


def test_times_are_those_of_the_reader_s_zone(
    chromium: Browser, live: Live, versions: list[Deployment]
) -> None:
    zone, new = "Pacific/Kiritimati", versions[1]
    context = chromium.new_context(base_url=live.url, timezone_id=zone, locale="en-GB")
    page = context.new_page()
    page.goto(f"/ui/login?next=/ui/models/{new.model_id}/changes")
    page.get_by_label("API key").fill(live.new_key(scope="admin"))
    page.keyboard.press("Enter")
    page.locator("#link.live").wait_for()
    there = datetime.fromtimestamp(new.created / 1000, UTC).astimezone(ZoneInfo(zone))
    option = page.locator(f"select[name=new] option[value='{new.id}']").inner_text()
    assert f"{there:%-d }" in option and f"{there:%H:%M}" in option and "UTC" not in option
    page.goto("/ui/keys")
    page.locator("#link.live").wait_for()
    assert "UTC" not in page.locator("main").inner_text()
    context.close()
