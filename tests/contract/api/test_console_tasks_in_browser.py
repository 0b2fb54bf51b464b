"""Five tasks of a new user in Chromium: from the overview, by what can be seen and clicked, with at most four clicks each."""

import json
import re
import time
from collections.abc import Iterator
from importlib.metadata import version

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page

from deployments.registry.nodes import Node, NodeDevice, NodeReplica
from deployments.registry.records import Deployment
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.contract.api.studio import studio
from tests.contract.api.test_console_attention import reported
from tests.contract.api.test_console_in_browser import WIDE, Console, chromium
from tests.contract.api.versions import serve, versions

__all__ = ["chromium", "studio", "versions"]  # fixtures
MOST_CLICKS = 4
ONCE = {"max_attempts": 1}


class Newcomer:
    """Somebody who has just logged in, sees the overview, and clicks."""

    def __init__(self, chromium: Browser, live: Live) -> None:
        key = live.new_key(scope="admin", name="newcomer")
        self.console = Console(chromium, live, key, WIDE, "light")
        self.page: Page = self.console.page
        self.clicks = 0

    def click(self, what: Locator) -> None:
        """One click on something that can be seen; never more than MOST_CLICKS."""
        self.clicks += 1
        assert self.clicks <= MOST_CLICKS
        what.click()

    def row(self, model: str) -> Locator:
        """The row of a model on the overview."""
        return self.page.get_by_role("row").filter(
            has=self.page.get_by_role("rowheader", name=model)
        )


@pytest.fixture
def newcomer(chromium: Browser, live: Live) -> Iterator[Newcomer]:
    newcomer = Newcomer(chromium, live)
    yield newcomer
    assert newcomer.console.wrong == []
    newcomer.console.close()


def test_why_does_a_request_wait(live: Live, newcomer: Newcomer) -> None:
    model, page = live.deployment("talker").model_id, newcomer.page
    with live.client(live.new_key(scope="admin")) as http:
        http.post(f"/v1/models/{model}/pause").raise_for_status()
        try:
            request_id = submit(http, {}, "/models/talker/production/async_predict")
            newcomer.click(newcomer.row("talker").locator("[data-label=Queued] a", has_text="1"))
            row = page.locator(f"#r{request_id}")
            row.get_by_text("the model to be resumed").wait_for()
            newcomer.click(row.get_by_role("link", name=request_id[:8]))
            page.get_by_text("It waits for the model to be resumed").wait_for()
            http.delete(f"/async_request/{request_id}").raise_for_status()
        finally:
            http.post(f"/v1/models/{model}/resume").raise_for_status()


def test_the_failed_request_is_run_again_with_another_prompt(
    live: Live, http: httpx.Client, newcomer: Newcomer, studio: Deployment
) -> None:
    given, page = {"prompt": "a dog", "mode": "fail"}, newcomer.page
    path = f"/models/{studio.model_id}/production/async_predict"
    failed = submit(http, given, path, inference_retry_config=ONCE, priority=2)
    http.get(f"/async_request/{failed}?wait=30").raise_for_status()
    row = newcomer.row("studio")
    newcomer.click(row.get_by_role("link", name=re.compile("failed")))
    newcomer.click(page.locator(f"#r{failed}").get_by_role("link", name=failed[:8]))
    page.get_by_text("RuntimeError: a dog").first.wait_for()  # what went wrong
    newcomer.click(page.get_by_role("link", name="Edit and run"))
    page.locator("#fields .field").first.wait_for()
    page.get_by_role("textbox", name="prompt").fill("a cat")
    page.get_by_label("mode").select_option(label="json")
    with page.expect_response("**/async_predict") as sent:
        newcomer.click(page.get_by_role("button", name="Run", exact=True))
    page.locator("#said .s-succeeded").wait_for()
    asked, target = sent.value.request, f"/deployment/{studio.id}/async_predict"
    assert asked.url.endswith(target)  # where the failed one ran, and by the queue at its level
    assert asked.post_data_json["priority"] == 2
    assert asked.post_data_json["model_input"]["prompt"] == "a cat"
    page.locator("#result", has_text="a cat").wait_for()
    assert json.loads(http.get(f"/v1/jobs/{failed}/input").text) == given  # it stays as it was


def test_which_version_serves_production_and_what_changed(
    live: Live, newcomer: Newcomer, versions: list[Deployment]
) -> None:
    old, new = versions
    serve(live, new)
    page = newcomer.page
    newcomer.click(newcomer.row("versions").get_by_role("link", name="versions"))
    serving = page.locator("article", has=page.locator(".environment", has_text="production"))
    assert serving.get_attribute("id") == f"d{new.id}"
    newcomer.click(serving.get_by_role("link", name="What changed"))
    row = page.get_by_role("row", name="resources.memory")
    assert row.locator("td").all_inner_texts() == ['"1Gi"', '"2Gi"']
    page.locator(".diff .add", has_text="return 2").wait_for()
    assert page.get_by_label("From").input_value() == old.id


def test_why_did_the_webhook_not_arrive(live: Live, http: httpx.Client, newcomer: Newcomer) -> None:
    page, echo = newcomer.page, "/models/echo/production/async_predict"
    given_up = submit(http, {"a": 1}, echo, webhook_endpoint="https://localhost/hook")
    status = f"/async_request/{given_up}"
    wait_until(lambda: http.get(status).json()["webhook_status"] == "FAILED", 30, "it is tried")
    newcomer.click(page.get_by_role("link", name=re.compile("webhooks? given up")))
    article = page.locator("article", has=page.get_by_role("link", name=given_up[:8]))
    article.get_by_text("is not a public address").first.wait_for()
    article.get_by_text("KINGPOST_WEBHOOK_ALLOW_PRIVATE=1 on the server").first.wait_for()
    newcomer.click(article.get_by_role("link", name=given_up[:8]))
    page.get_by_text("attempt 1: not sent").wait_for()


def test_why_did_a_webhook_that_is_still_tried_not_arrive(
    live: Live, http: httpx.Client, newcomer: Newcomer
) -> None:
    page, echo = newcomer.page, "/models/echo/production/async_predict"
    tried = submit(http, {"a": 1}, echo, webhook_endpoint="https://nowhere.invalid/hook")
    webhook = f"/async_request/{tried}/webhook"
    wait_until(lambda: http.get(webhook).json()["attempts"], 30, "it is tried")
    newcomer.click(page.get_by_role("link", name="Jobs", exact=True))
    newcomer.click(page.locator(f"#r{tried}").get_by_role("link", name=tried[:8]))
    page.get_by_text("attempt 1: no connection: its name is not known here").wait_for()
    page.get_by_text("The next attempt is due").wait_for()


def test_the_gpu_of_a_model_is_freed(
    live: Live, http: httpx.Client, newcomer: Newcomer, studio: Deployment
) -> None:
    gpu = NodeDevice("0", 24 << 30, 0.0, "NVIDIA L4", 6 << 30, 0.75)
    seat = NodeReplica("r1", studio.id, "the studio", ("0",), 1.0)
    node = Node("far-3", "far", 1, int(time.time() * 1000), 8, 8, (gpu,), (seat,), version("kingpost"))  # fmt: skip
    path = f"/v1/models/{studio.model_id}/deployments/{studio.id}"
    with reported(JobStore(live.settings), node):
        page = newcomer.page
        page.reload()
        newcomer.click(page.get_by_role("link", name="the studio"))
        article = page.locator(f"#d{studio.id}")
        newcomer.click(article.get_by_role("button", name="Deactivate"))
        page.get_by_text(f"Stop the replicas of {studio.id}?").wait_for()
        newcomer.click(page.get_by_role("button", name="Go on"))
        article.get_by_role("button", name="Activate", exact=True).wait_for()
    assert http.get(path).json()["status"] in ("DEACTIVATING", "INACTIVE")
    http.post(f"{path}/activate").raise_for_status()
