"""The versions of a model in Chromium: what changed, what they logged, and the warming of a promotion."""

import httpx

from deployments.registry import keys as registry_keys
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.contract.api.test_console_in_browser import Console, chromium, console, in_both, serious
from tests.contract.api.versions import FILES, versions

__all__ = ["chromium", "console", "versions"]  # fixtures
OWNED = "document.querySelectorAll('main img[src=x], main script').length"


@in_both
def test_what_a_version_changes_is_shown(
    live: Live, console: Console, versions: list[Deployment]
) -> None:
    page, model = console.page, versions[0].model_id
    console.at(f"/ui/models/{model}")
    page.locator(".warming", has_text="0 of 1 replicas ready").wait_for()
    assert not serious(page)
    page.get_by_role("link", name="What it changes").click()
    console.live()
    row = page.get_by_role("row", name="resources.memory")
    assert row.locator("td").all_inner_texts() == ['"1Gi"', '"2Gi"']
    page.locator("summary", has_text="data/").get_by_text("added").wait_for()
    page.locator(".diff .cut", has_text="return 1").wait_for()
    page.locator(".diff .add", has_text="return 2").wait_for()
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wider) == 0 and page.evaluate(OWNED) == 0 and not serious(page)
    page.get_by_label("From").select_option(versions[1].id)
    page.get_by_role("button", name="Compare").click()
    console.see("both have the same files")
    assert page.title() != "owned" and console.wrong == []


@in_both
def test_a_version_has_its_log(live: Live, http: httpx.Client, console: Console) -> None:
    page, echo = console.page, live.deployment("echo")
    submit(http, {"a": 1}, "/models/echo/production/async_predict")
    console.at(f"/ui/models/{echo.model_id}")
    page.get_by_role("link", name="Log", exact=True).first.click()
    console.live()
    page.locator(".log > div:not(.none)").first.wait_for()
    assert not serious(page)
    page.locator(".log > .of-request:visible").first.wait_for()
    box = page.get_by_label("without lines of requests")
    assert (box.bounding_box() or {"width": 0})["width"] < 30
    box.check()
    assert page.locator(".log > .of-request:visible").count() == 0
    page.get_by_label("At least").select_option("critical")
    page.get_by_role("button", name="Show").click()
    page.locator(".log .none").wait_for()
    assert console.wrong == []


def test_who_may_not_deploy_sees_no_packages(
    live: Live, http: httpx.Client, versions: list[Deployment]
) -> None:
    path = f"/v1/models/versions/deployments/{versions[1].id}/package"
    held = http.get(path).json()
    assert [file["path"] for file in held["files"]] == sorted(FILES[1])
    assert held["config"] == FILES[1]["config.yaml"] and held["complete"]
    with live.client(live.new_key(scope="inference")) as other:
        assert other.get(path).status_code == 403
    with live.client(None) as browser:
        browser.post("/ui/login", data={"key": live.new_key(scope="inference")})
        assert browser.get(f"/ui/models/{versions[0].model_id}").status_code == 200
        for page in ("changes", "log"):
            assert browser.get(f"/ui/models/{versions[0].model_id}/{page}").status_code == 403


@in_both
def test_waiting_requests_move_to_another_version_and_are_deleted(
    live: Live, http: httpx.Client, console: Console, versions: list[Deployment]
) -> None:
    (old, new), page = versions, console.page
    path = f"/models/{old.model_id}/deployment/{old.id}/async_predict"
    ids = [submit(http, {"a": 1}, path) for _ in range(2)]
    console.at(f"/ui/jobs?model={old.model_id}&status=QUEUED")
    page.get_by_label("Move to").select_option(label=f"deployment {new.id}")
    assert not serious(page)
    page.locator("[data-bulk=move]").click()
    console.see("Move 2 requests?")
    page.get_by_role("button", name="Go on").click()
    console.see("2 done")
    known = [http.get(f"/async_request/{each}").json()["deployment_id"] for each in ids]
    assert known == [new.id, new.id]
    page.locator("[data-bulk=purge]").click()
    console.see("Delete for good, with input and output, 2 requests?")
    page.get_by_role("button", name="Go on").click()
    console.see("No request matches")
    assert http.get(f"/async_request/{ids[0]}").status_code == 404
    assert console.wrong == []


def test_a_sleeping_deployment_is_woken_and_its_scaling_is_set(
    live: Live, console: Console, versions: list[Deployment]
) -> None:
    page, (old, _) = console.page, versions
    path, store = f"/v1/models/versions/deployments/{old.id}", JobStore(live.settings)

    store.redis.delete(registry_keys.keyed("demand", old.id))  # an earlier wake, as its minute does

    def stays_asleep() -> bool:
        """Whether the autoscaler has left it asleep. A round that began before does not."""
        store.run(registry.scale(old.id, 0, 7.0, False, {"ready"}))
        wait_until(lambda: store.run(registry.deployment(old.id)).load != 7.0, 30)
        return store.run(registry.deployment(old.id)).wanted == 0

    with live.client() as http:
        settings = {"scale_down_delay": 0, "autoscaling_window": 10}
        http.patch(f"{path}/autoscaling_settings", json=settings).raise_for_status()
    wait_until(stays_asleep, 30)
    console.at(f"/ui/models/{old.model_id}")
    article = page.locator(f"#d{old.id}")
    article.locator(".s-scaled_to_zero").wait_for()
    article.locator("summary", has_text="Autoscaling").click()
    rate = article.get_by_label("max scale down rate, %")
    assert rate.get_attribute("max") == "50"
    percent = 21 if rate.input_value() == "20" else 20  # a change in each run
    rate.fill(str(percent))
    with page.expect_response("**/wake") as woken:
        article.get_by_role("button", name="Wake").click()
    assert woken.value.status == 202
    console.see("A replica starts.")
    wait_until(lambda: store.run(registry.deployment(old.id)).wanted == 1, 30)
    article.locator(".s-scaled_to_zero").wait_for(state="detached")
    assert rate.input_value() == str(percent)  # what was filled in stays while the page changes
    article.get_by_role("button", name="Save").click()
    console.see("The settings hold from now on.")
    with live.client() as http:
        said = http.get(path).json()
    assert said["autoscaling_settings"]["max_scale_down_rate"] == percent
    assert console.wrong == []
