"""What single pages of the console say, over real HTTP: what is compared, who sits where, what a button would do, and why not."""

import html
import json
import time
from importlib.metadata import version

import pytest

from deployments.registry import verbs as registry
from deployments.registry.nodes import Node, NodeReplica
from deployments.registry.records import Deployment
from tasks.api_keys import key_id
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.contract.api.test_console import ECHO, Browser, Page
from tests.contract.api.test_console_attention import reported
from tests.contract.api.versions import serve, versions

__all__ = ["versions"]  # a fixture


@pytest.fixture(scope="module")
def admin(live: Live) -> Browser:
    return Browser(live, live.new_key(scope="admin", name="operator"))


def chosen(page: str) -> list[str | None]:
    return [option["value"] for option in Page(page).all("option") if "selected" in option]


def links(browser: Browser, path: str) -> set[str | None]:
    return {link.get("href") for link in Page(browser.get(path).text).all("a")}


def test_what_changed_is_told_against_production(
    live: Live, admin: Browser, versions: list[Deployment]
) -> None:
    old, new = versions
    path = f"/ui/models/{new.model_id}/changes"
    assert chosen(admin.get(path).text) == [old.id, new.id]  # the newest, against production
    assert "What it changes" in admin.get(f"/ui/models/{new.model_id}").text
    serve(live, new)
    for query in ("", f"?new={new.id}"):  # production, against what was there before
        assert chosen(admin.get(path + query).text) == [old.id, new.id], query
    assert chosen(admin.get(f"{path}?new={old.id}").text) == [new.id, old.id]
    assert admin.get(f"{path}?new=nope").status_code == 404


def test_edit_and_run_has_the_deployment_and_the_level_of_the_request(
    live: Live, admin: Browser
) -> None:
    echo, key = live.deployment("echo"), live.new_key(scope="admin")
    with live.client(key) as http:
        request_id = submit(http, {"a": 1}, ECHO, priority=2)
    page = admin.get(f"/ui/models/echo/try?again={request_id}").text
    assert chosen(page) == [echo.id, "2"]
    ways = [field for field in Page(page).all("input") if "checked" in field]
    assert [field["value"] for field in ways if field["name"] == "how"] == ["async"]


def test_a_replica_has_the_name_of_its_machine(live: Live, admin: Browser) -> None:
    echo, store = live.deployment("echo"), JobStore(live.settings)
    (replica,) = [
        each.id for each in store.run(registry.replicas()) if each.deployment_id == echo.id
    ]
    seat = NodeReplica(replica, echo.id, "echo", (), 1.0)
    node = Node("far-2", "machine-in-the-cellar", 1, int(time.time() * 1000), 8, 7, (), (seat,), version("kingpost"))  # fmt: skip
    assert "started by hand" in admin.get(f"/ui/models/{echo.model_id}").text
    with reported(store, node):
        assert "machine-in-the-cellar" in admin.get(f"/ui/models/{echo.model_id}").text
        user = Browser(live, live.new_key(scope="inference"))
        assert "machine-in-the-cellar" not in user.get(f"/ui/models/{echo.model_id}").text
    store.close()


def test_only_a_model_that_chats_has_a_link_to_the_chat(live: Live, admin: Browser) -> None:
    for name, chats in (("talker", True), ("echo", False)):
        model = live.deployment(name).model_id
        for path in (f"/ui/models/{model}", f"/ui/models/{model}/try"):
            assert (f"/ui/models/{model}/chat" in links(admin, path)) == chats, path


def test_a_deactivation_says_first_what_it_stops(live: Live, admin: Browser) -> None:
    echo = live.deployment("echo")
    buttons = Page(admin.get(f"/ui/models/{echo.model_id}").text).all("button")
    (ask,) = [str(button["data-ask"]) for button in buttons if str(button.get("data-address")).endswith("/deactivate")]  # fmt: skip
    assert f"Stop the replicas of {echo.id}?" in ask
    assert "It serves development and production of echo: calls of them are refused with 503" in ask
    assert "or another version is promoted" in ask


def test_the_filter_of_a_key_shows_its_requests_alone(live: Live, admin: Browser) -> None:
    mine, other = live.new_key(), live.new_key()
    ids = list[str]()
    for key in (mine, other):
        with live.client(key) as http:
            ids.append(submit(http, {"a": 1}, ECHO))
    text = admin.get(f"/ui/jobs?key={key_id(mine)}").text
    assert ids[0] in text
    assert ids[1] not in text
    (field,) = [field for field in Page(text).all("input") if field.get("name") == "key"]
    assert field["value"] == key_id(mine)
    user = Browser(live, mine)
    assert not [field for field in Page(user.get("/ui/jobs").text).all("input") if field.get("name") == "key"]  # fmt: skip
    assert 'role="alert"' in user.get(f"/ui/jobs?key={key_id(other)}").text


def test_a_filter_that_a_link_has_set_stays_when_the_form_is_sent(admin: Browser) -> None:
    both, since = "QUEUED,IN_PROGRESS", "2026-01-01T00:00:00Z"
    page = admin.get(f"/ui/jobs?status={both}&created_after={since}").text
    assert chosen(page) == [both]
    fields = {field["name"]: field.get("value") for field in Page(page).all("input")}
    assert fields["created_after"] == since
    assert chosen(admin.get("/ui/jobs?status=QUEUED").text) == ["QUEUED"]


def test_what_a_request_tells_of_leads_there(live: Live, admin: Browser) -> None:
    talker, ids = live.deployment("talker"), list[str]()
    with live.client() as http:
        http.post(f"/v1/models/{talker.model_id}/pause").raise_for_status()
        path = "/models/talker/production/async_predict"
        try:
            ids += [submit(http, {}, path, priority=2) for _ in range(2)]
            key = http.get("/v1/key").json()["id"]
            wait_until(lambda: "1 before it" in admin.get(f"/ui/jobs/{ids[1]}").text, 10)
            assert links(admin, f"/ui/jobs/{ids[1]}") >= {
                f"/ui/jobs?deployment={talker.id}&status=QUEUED",
                f"/ui/models/{talker.model_id}#d{talker.id}",
                f"/ui/jobs?key={key}",
            }
            assert f"/ui/models/{talker.model_id}" in links(admin, "/ui/jobs")
        finally:
            for request_id in ids:
                http.delete(f"/async_request/{request_id}")
            http.post(f"/v1/models/{talker.model_id}/resume").raise_for_status()


def test_a_webhook_that_is_refused_names_the_setting(live: Live) -> None:
    private, http = "KINGPOST_WEBHOOK_ALLOW_PRIVATE=1", "KINGPOST_WEBHOOK_ALLOW_HTTP=1"
    refused = {"http://example.com/": http, "https://10.0.0.1/": private, "https://example.com:81/": private}  # fmt: skip
    with live.client() as client:
        for url, setting in refused.items():
            body = {"model_input": 1, "webhook_endpoint": url}
            answer = client.post(ECHO, json=body)
            assert (answer.status_code, setting in answer.text) == (400, True), url
        answer = client.post(ECHO, json={"model_input": 1, "webhook_endpoint": "https://1.2.3/"})
        assert (answer.status_code, "KINGPOST" in answer.text) == (400, False)


def test_every_page_says_why_a_webhook_did_not_arrive(live: Live, admin: Browser) -> None:
    with live.client() as http:
        hook = "https://localhost/hook"  # only its address is private, so it is accepted
        request_id = submit(http, {"a": 1}, ECHO, webhook_endpoint=hook)
        status = f"/async_request/{request_id}"
        wait_until(lambda: http.get(status).json()["webhook_status"] == "FAILED", 30, "it is tried")
    for path in ("/ui", "/ui/webhooks", f"/ui/jobs/{request_id}"):
        text = html.unescape(admin.get(path).text)
        assert "is not a public address" in text, path
        assert "KINGPOST_WEBHOOK_ALLOW_PRIVATE=1 on the server allows" in text, path


def test_a_waiting_request_can_be_moved_to_another_version(
    live: Live, admin: Browser, versions: list[Deployment]
) -> None:
    old, new = versions
    path = f"/models/{old.model_id}/deployment/{old.id}/async_predict"
    with live.client() as http:
        request_id = submit(http, {"a": 1}, path)
    address = f"/async_request/{request_id}"
    buttons = Page(admin.get(f"/ui/jobs/{request_id}").text).all("button")
    (body,) = [str(each["data-body"]) for each in buttons if "deployment_id" in str(each.get("data-body"))]  # fmt: skip
    assert json.loads(body) == {"deployment_id": new.id}
    assert admin.change("PATCH", address, json.loads(body)).status_code == 200
    assert admin.change("GET", address).json()["deployment_id"] == new.id
    assert admin.change("DELETE", address).status_code == 200


def test_a_version_is_promoted_to_an_environment_that_a_page_made(
    live: Live, admin: Browser, versions: list[Deployment]
) -> None:
    model, new = versions[0].model_id, versions[1]
    page = Page(admin.get(f"/ui/models/{model}").text)
    (form,) = [form for form in page.all("form") if form.get("aria-label") == "Make an environment"]
    assert admin.change("POST", str(form["data-address"]), {"name": "staging"}).status_code == 200
    buttons = Page(admin.get(f"/ui/models/{model}").text).all("button")
    address = f"/v1/models/{model}/environments/staging"
    bodies = [json.loads(str(each["data-body"])) for each in buttons if each.get("data-address") == f"{address}/promote"]  # fmt: skip
    assert {"deployment_id": new.id} in bodies
    assert admin.change("POST", f"{address}/promote", bodies[0]).status_code == 200
    assert [each for each in buttons if each.get("data-address") == address and each["data-method"] == "DELETE"]  # fmt: skip
    assert admin.change("DELETE", address).status_code == 200
    user = Browser(live, live.new_key(scope="inference"))
    changing = [each for each in Page(user.get(f"/ui/models/{model}").text).all("button") if each.get("data-method")]  # fmt: skip
    assert changing == []


def test_all_webhooks_that_were_given_up_are_sent_again(live: Live, admin: Browser) -> None:
    with live.client() as http:
        for _ in range(2):
            request_id = submit(http, {"a": 1}, ECHO, webhook_endpoint="https://localhost/hook")
            status = f"/async_request/{request_id}"
            wait_until(lambda: http.get(status).json()["webhook_status"] == "FAILED", 30)  # noqa: B023
    buttons = Page(admin.get("/ui/webhooks").text).all("button")
    (button,) = [each for each in buttons if each.get("data-said") == "steps"]
    said = admin.change(str(button["data-method"]), str(button["data-address"]), {}).json()
    assert said["finished"] and said["done"] == said["matched"] >= 2


def test_a_request_that_is_done_can_be_deleted(live: Live, admin: Browser) -> None:
    with live.client() as http:
        request_id = submit(http, {"a": 1}, ECHO)
        http.get(f"/async_request/{request_id}?wait=30")
    buttons = Page(admin.get(f"/ui/jobs/{request_id}").text).all("button")
    (button,) = [each for each in buttons if str(each.get("data-address")).endswith("/purge")]
    assert button["data-said"] == "/ui/jobs"
    assert admin.change("POST", str(button["data-address"])).json()["purged"]
    assert admin.get(f"/ui/jobs/{request_id}").status_code == 404
