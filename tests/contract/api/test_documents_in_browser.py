"""The pages that show the OpenAPI document, in a Chromium: they ask nobody but this service."""

import pytest
from playwright.sync_api import Browser

from tests.contract.api.conftest import Live
from tests.contract.api.test_console_in_browser import CHROMIUM, chromium

__all__ = ["chromium"]  # fixture
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


# Where a page shows the path of a call.
SHOWN = {
    "/docs": "[data-path='/models/{model}/production/async_predict']",
    "/redoc": "text='/models/{model}/production/async_predict'",
}


@pytest.mark.parametrize("path", SHOWN)
def test_a_page_shows_calls_and_asks_no_other_host(
    live: Live, chromium: Browser, path: str
) -> None:
    page = chromium.new_page()
    got: list[str] = []
    page.on("requestfinished", lambda request: got.append(request.url))
    page.goto(live.url + path)
    page.locator(SHOWN[path]).first.wait_for(state="attached")
    assert f"{live.url}/openapi.json" in got
    assert [url for url in got if not url.startswith((live.url, "data:", "blob:"))] == []
    page.close()


def test_a_call_can_be_tried_on_the_page(live: Live, chromium: Browser) -> None:
    page = chromium.new_page()
    page.goto(f"{live.url}/docs")
    operation = page.locator("#operations-health-live_health_live_get")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    operation.locator(".live-responses-table .response-col_status").get_by_text(
        "200"
    ).first.wait_for()
    page.close()
