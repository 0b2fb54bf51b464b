"""The console over real HTTP: who gets in, what a page may do, and what nobody can do to it. test_console*_in_browser.py drive it."""

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api.app import CONSOLE, create_app
from api.console.rendering import SECURITY, STATIC, TEMPLATES, asset
from tasks.api_keys import GRANTS, SCOPES, Need, Scope, key_id
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit

ECHO = "/models/echo/production/async_predict"
ADMIN_PAGES = ("/ui/keys", "/ui/webhooks", "/ui/audit", "/ui/settings")
DEPLOY_PAGES = ("/ui/nodes",)
DEPLOY_PARTS = ("/changes", "/log")  # of a model
HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"><svg onload=document.title='owned'>",
    "'-document.title-'",
    "{{ 7*7 }}{% raw %}",
    "javascript:document.title='owned'",
    "\x1b[31mred\x07\u202etxt",
)


class Page(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def csrf(self) -> str:
        (meta,) = [meta for meta in self.all("meta") if meta.get("name") == "csrf"]
        return str(meta["content"])


class Browser:
    """A client with cookies that follows no redirect, and shows the session's token with each change."""

    def __init__(self, live: Live, key: str | None = None) -> None:
        self.http = live.client(None)
        self.csrf = ""
        if key:
            assert self.login(key).status_code == 303
            self.csrf = Page(self.get("/ui").text).csrf

    def login(self, key: str, then: str = "/ui") -> httpx.Response:
        return self.http.post("/ui/login", data={"key": key, "next": then})

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers=headers)

    def change(self, method: str, path: str, json: object = None, **headers: str) -> httpx.Response:
        shown = {"x-kingpost-csrf": self.csrf} | headers
        return self.http.request(method, f"/ui/api{path}", json=json, headers=shown)


@pytest.fixture(scope="module")
def admin(live: Live) -> Iterator[Browser]:
    browser = Browser(live, live.new_key(scope="admin", name="operator"))
    yield browser
    browser.http.close()


def pages(live: Live) -> list[str]:
    """Every page of the console that anybody may see, new ones too, with parameters that exist."""
    with live.client() as http:
        request_id = submit(http, {"a": 1}, ECHO)
    values = {"model": live.deployment("echo").model_id, "request_id": request_id}
    found: list[str] = []
    for route in (route for part in CONSOLE for route in part.router.routes):
        template = str(getattr(route, "path", ""))
        if "GET" in getattr(route, "methods", ()) and not re.search(
            "static|login|pulse|rest", template
        ):
            found.append(re.sub(r"\{(\w+)\}", lambda name: values[name[1]], template))
    assert len(found) >= 8
    return found


def test_without_a_login_every_page_leads_there_and_back(live: Live) -> None:
    browser = Browser(live)
    for path in [*pages(live), "/ui/pulse", "/ui/jobs?status=QUEUED"]:
        answer = browser.get(path)
        assert answer.status_code == 303, path
        login = browser.get(answer.headers["location"])
        (then,) = [
            field["value"] for field in Page(login.text).all("input") if field["name"] == "next"
        ]
        assert then == path
        part = browser.get(path, **{"hx-request": "true"})  # what an open page asks for
        assert part.headers["hx-redirect"].startswith("/ui/login?next=")
    assert browser.change("GET", "/async_requests").status_code == 401


@pytest.mark.parametrize("scope", SCOPES)
def test_a_page_shows_what_the_scope_may_see(live: Live, scope: Scope) -> None:
    key = live.new_key(scope=scope)
    if scope == "metrics":
        refused = Browser(live).login(key)
        assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
        return
    browser = Browser(live, key)
    for path in pages(live):
        if "/jobs/" in path:
            continue  # of another key
        answer = browser.get(path)
        deploys = path in DEPLOY_PAGES or path.endswith(DEPLOY_PARTS)
        need: Need = "admin" if path in ADMIN_PAGES else "deploy" if deploys else "inference"
        allowed = need in GRANTS[scope]
        assert answer.status_code == (200 if allowed else 403), path
        linked = {link.get("href") for link in Page(answer.text).all("a")}
        assert (set(ADMIN_PAGES) <= linked) == (scope == "admin")
        assert (set(DEPLOY_PAGES) <= linked) == ("deploy" in GRANTS[scope])


def test_every_answer_forbids_scripts_frames_and_caches(live: Live, admin: Browser) -> None:
    for path in [*pages(live), "/ui/login", "/ui/nowhere", "/ui/models/nope"]:
        answer = admin.get(path)
        if answer.status_code == 303:
            continue
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy and "unsafe" not in policy, path
        assert "frame-ancestors 'none'" in policy and answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        page = Page(answer.text)
        assert all(script.get("src", "").startswith("/ui/static/") for script in page.all("script"))
        inline = [
            name
            for _, found in page.found
            for name in found
            if name.startswith("on") or name == "style"
        ]
        assert not inline, path
        for link in page.all("link") + page.all("script") + page.all("img"):
            address = str(link.get("href") or link.get("src"))
            assert address.startswith(("/ui/", "data:")), address


def test_what_is_no_page_forbids_the_same(live: Live) -> None:
    browser, stranger = Browser(live, live.new_key(scope="full")), Browser(live)
    part, token = {"hx-request": "true"}, {"x-kingpost-csrf": browser.csrf}
    seen = browser.get("/ui/jobs", **part).headers["x-kingpost-seen"]
    asked = {"name": "echo", "deployment": live.deployment("echo").id, "text": "{}", "how": "sync", "level": 0}  # fmt: skip
    answers = {
        "a part": browser.get("/ui/jobs", **part),
        "a shared part": browser.get("/ui/jobs", **part, **{"x-kingpost-pulse": "0"}),
        "nothing new": browser.get("/ui/jobs", **part, **{"x-kingpost-seen": seen}),
        "code": browser.http.post("/ui/code", json=asked, headers=token),
        "a script": browser.get(asset("console.js")),
        "no script": browser.get("/ui/static/x/nope.js"),
        "the way to the login": stranger.get("/ui"),
        "that of a part": stranger.get("/ui", **part),
        "a refused login": stranger.login("kp_00000000.wrong"),
        "a login": Browser(live).login(live.new_key()),
        "a forged logout": browser.http.post("/ui/logout"),
    }
    with browser.http.stream("GET", "/ui/pulse") as answers["pulse"]:
        pass
    answers["a logout"] = browser.http.post("/ui/logout", headers=token)
    statuses = {what: answer.status_code for what, answer in answers.items()}
    assert statuses == {
        "a part": 200, "a shared part": 200, "nothing new": 204, "code": 200, "a script": 200, "no script": 404,
        "the way to the login": 303, "that of a part": 204, "a refused login": 401, "a login": 303,
        "a forged logout": 403, "pulse": 200, "a logout": 204,
    }  # fmt: skip
    wanted = SECURITY | {"x-content-type-options": "nosniff"}
    for what, answer in answers.items():
        own = {"cache-control": answer.headers["cache-control"]} if what == "a script" else {}
        assert {name: answer.headers.get(name) for name in wanted} == wanted | own, what


def test_over_https_the_cookie_goes_nowhere_else(live: Live) -> None:
    with TestClient(create_app(live.settings), "https://kingpost.example", follow_redirects=False) as browser:  # fmt: skip
        login = browser.post("/ui/login", data={"key": live.new_key()})
        assert "Secure" in login.headers["set-cookie"].split("; ")
        assert browser.get("/ui").status_code == 200
    assert "Secure" not in Browser(live).login(live.new_key()).headers["set-cookie"].split("; ")


def test_the_cookie_is_for_the_console_alone_and_no_script_reads_it(live: Live) -> None:
    cookie = Browser(live).login(live.new_key(scope="inference")).headers["set-cookie"]
    assert {"HttpOnly", "Path=/ui", "SameSite=strict"} <= set(cookie.split("; "))
    wrong = Browser(live).login("kp_00000000.wrong")
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert "unknown, revoked or expired" in wrong.text
    assert Browser(live).http.post("/ui/login", content=b"key=" + b"x" * 5000).status_code == 413
    key, own = live.new_key(), {"origin": live.url}
    # Over plain HTTP to another machine, a browser sends no Sec-Fetch-Site.
    attempts: list[tuple[dict[str, str], int]] = [
        ({"sec-fetch-site": "cross-site"} | own, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        (own, 303),
        ({"sec-fetch-site": "same-origin", "origin": "https://before.a.proxy"}, 303),
    ]
    for said, status in attempts:
        answer = Browser(live).http.post("/ui/login", data={"key": key}, headers=said)
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, status == 303), said


@pytest.mark.parametrize(
    "then", ["//evil.example", "https://evil.example", "/uix", "/models/echo", "/ui//../x"]
)
def test_a_login_leads_nowhere_else(live: Live, then: str) -> None:
    answer = Browser(live).login(live.new_key(), then)
    assert httpx.URL(live.url).join(answer.headers["location"]).path.startswith("/ui")
    assert answer.headers["location"].startswith(("/ui/", "/ui"))
    assert "evil" not in answer.headers["location"]


def test_a_change_needs_the_token_of_the_session(live: Live) -> None:
    browser, other = (Browser(live, live.new_key(scope="full")) for _ in range(2))
    path = "/models/echo/production/async_predict"
    for shown in ("", "wrong", other.csrf):
        forged = browser.change("POST", path, {"model_input": 1}, **{"x-kingpost-csrf": shown})
        assert (forged.status_code, "not asked for by a page" in forged.text) == (403, True)
        assert (
            browser.http.post("/ui/logout", headers={"x-kingpost-csrf": shown}).status_code == 403
        )
    assert browser.change("POST", path, {"model_input": 1}).status_code == 201
    # The cookie means nothing to the API itself, and a key in a header means nothing to the console.
    token = browser.http.cookies["kingpost_session"]
    assert (
        live.client(None, cookies={"kingpost_session": token}).post(path, json={}).status_code
        == 401
    )
    with live.client() as http:
        assert http.get("/ui/api/async_requests").status_code == 401


def test_a_page_does_what_its_key_may_do_by_the_rest_api(live: Live, admin: Browser) -> None:
    browser = Browser(live, live.new_key(scope="inference"))
    deployment = live.deployment("echo")
    manage = f"/v1/models/{deployment.model_id}/deployments/{deployment.id}/autoscaling_settings"
    assert browser.change("PATCH", manage, {"max_replica": 2}).status_code == 403
    made = admin.change("POST", "/v1/keys", {"scope": "inference", "name": "from a page"})
    assert made.status_code == 201
    assert "from a page" in admin.get("/ui/keys").text
    entry = admin.change("GET", "/v1/audit?limit=1").json()["entries"][0]
    assert (entry["action"], entry["name"]) == ("key.create", "operator")


def test_a_logout_and_a_revoked_key_end_every_session(live: Live) -> None:
    key = live.new_key(scope="full")
    first, second = Browser(live, key), Browser(live, key)
    left = first.http.post("/ui/logout", headers={"x-kingpost-csrf": first.csrf})
    assert left.status_code == 204
    for browser in (first, second):
        assert browser.get("/ui").status_code == 303
        assert browser.change("GET", "/async_requests").status_code == 401
    third = Browser(live, key)
    with live.client(live.new_key(scope="admin")) as http:
        http.delete(f"/v1/keys/{key_id(key)}").raise_for_status()
    wait_until(lambda: third.get("/ui").status_code == 303, 10, "the session outlives its key")


def test_a_logout_ends_the_streams_that_are_open(live: Live, tmp_path: Path) -> None:
    browser = Browser(live, live.new_key(scope="full"))
    gate, path = tmp_path / "gate", "/models/talker/production/async_predict"
    given = {"stream": ["first ", "second"], "gate": str(gate)}
    request_id = browser.change("POST", path, {"model_input": given}).json()["request_id"]
    (tmp_path / "gate.0").touch()
    with browser.http.stream("GET", f"/ui/api/async_request/{request_id}/events") as events:
        lines = events.iter_lines()
        wait_until(lambda: "first" in next(lines))
        left = browser.http.post("/ui/logout", headers={"x-kingpost-csrf": browser.csrf})
        assert left.status_code == 204
        (tmp_path / "gate.1").touch()
        rest = "".join(lines)  # the stream ends
    assert "second" not in rest and "done" not in rest


def test_a_logout_ends_the_streams_that_have_no_end(live: Live) -> None:
    browser, ended, lines = Browser(live, live.new_key(scope="full")), set[str](), list[str]()

    def follow(path: str) -> None:
        with contextlib.suppress(httpx.HTTPError), browser.http.stream("GET", path) as events:
            for line in events.iter_lines():
                lines.append(line)
            ended.add(path)

    model = live.deployment("talker").id
    paths = {"/ui/pulse", f"/ui/api/v1/logs/events?deployment={model}"}
    readers = [threading.Thread(target=follow, args=(path,), daemon=True) for path in paths]
    for reader in readers:
        reader.start()
    wait_until(lambda: {"retry: 3000", ": following"} <= set(lines), 20)
    token = {"x-kingpost-csrf": browser.csrf}
    assert browser.http.post("/ui/logout", headers=token).status_code == 204
    with live.client() as http:  # a change to be told, and a line to be logged
        failing = submit(http, {"odd": 1}, "/models/talker/production/async_predict")
    wait_until(lambda: ended == paths, 30, "a stream outlives the logout")
    assert not any(failing in line for line in lines)


def test_a_request_is_shown_with_its_story_and_only_to_who_may(live: Live, admin: Browser) -> None:
    mine, other = Browser(live, live.new_key()), Browser(live, live.new_key())
    path = "/models/echo/production/async_predict"
    request_id = mine.change("POST", path, {"model_input": {"a": "my input"}}).json()["request_id"]
    mine.change("GET", f"/async_request/{request_id}?wait=30")
    page = mine.get(f"/ui/jobs/{request_id}").text
    assert "succeeded" in page and "my input" in page
    assert request_id in mine.get("/ui/jobs").text
    assert other.get(f"/ui/jobs/{request_id}").status_code == 404
    assert request_id not in other.get("/ui/jobs").text
    seen = admin.get(f"/ui/jobs/{request_id}").text
    assert "noted in the audit log" in seen
    assert admin.get(f"/ui/models/echo/try?again={request_id}").text.count("my input") == 1
    entry = admin.change("GET", "/v1/audit?limit=1").json()["entries"][0]
    assert (entry["action"], entry["target"]) == ("request.read_input", request_id)


def test_the_time_of_a_request_is_from_end_to_end_and_says_its_attempts(
    live: Live, admin: Browser
) -> None:
    twice = {"max_attempts": 2, "initial_delay_ms": 0, "max_delay_ms": 0}
    path = "/models/talker/production/async_predict"
    with live.client() as http:
        failing = submit(http, {"odd": 1}, path, inference_retry_config=twice)
        once = submit(http, {}, ECHO)
        for request_id in (failing, once):
            http.get(f"/async_request/{request_id}?wait=30")
    page = admin.get(f"/ui/jobs/{failing}").text
    assert re.search(r"<dt>Done in</dt><dd>[^<]+, 2 attempts</dd>", page)
    assert "<dt>The last attempt ran for</dt>" in page
    page = admin.get(f"/ui/jobs/{once}").text
    assert re.search(r"<dt>Done in</dt><dd>[^<,]+</dd>\s*<dt>Ran for</dt>", page)
    assert admin.get("/ui/jobs").text.count("<small>2 attempts</small>") >= 1


def test_what_sleeps_is_called_asleep() -> None:
    status = TEMPLATES.get_template("parts.html").module.status  # type: ignore[attr-defined]
    assert ">asleep</span>" in status("SCALED_TO_ZERO")
    assert ">in progress</span>" in status("IN_PROGRESS")


def test_the_address_of_the_console_may_end_with_a_slash(admin: Browser) -> None:
    assert admin.get("/ui/").headers["location"] == "/ui"


def test_a_filter_is_in_the_address_and_a_wrong_one_is_said(admin: Browser) -> None:
    page = Page(admin.get("/ui/jobs?status=FAILED&priority=2").text)
    chosen = [option["value"] for option in page.all("option") if "selected" in option]
    assert chosen == ["FAILED", "2"]
    for query in ("status=NOPE", "priority=9", "nonsense=1", "cursor=x", "model=none.such"):
        answer = admin.get(f"/ui/jobs?{query}")
        assert answer.status_code == 200
        assert 'role="alert"' in answer.text, query


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_client_or_model_writes_is_text(live: Live, admin: Browser, text: str) -> None:
    key = live.new_key(scope="full", name=text)
    browser = Browser(live, key)
    path = "/models/echo/production/async_predict"
    sent: dict[str, Any] = {"model_input": {text: text}, "webhook_endpoint": None}
    request_id = browser.change("POST", path, sent).json()["request_id"]
    browser.change("GET", f"/async_request/{request_id}?wait=30")
    shown = [browser.get(f"/ui/jobs/{request_id}"), admin.get("/ui/keys"), browser.get("/ui")]
    shown.append(browser.http.get("/ui/jobs", params={"error_text": text}))
    shown.append(browser.http.get("/ui/login", params={"next": text}))
    shown.append(browser.http.get(f"/ui/models/{text.encode().hex()}"))
    for answer in shown:
        page = Page(answer.text)
        assert "\x1b" not in answer.text and "\x07" not in answer.text
        assert not any(name.startswith("on") for _, found in page.found for name in found)
        assert all(drawn.get("class") == "spark" for drawn in page.all("svg"))  # ours
        assert all(str(script["src"]).startswith("/ui/static/") for script in page.all("script"))
        assert not [link for link in page.all("a") if str(link.get("href")).startswith("java")]


def test_an_answer_of_a_model_cannot_touch_the_page_s_origin(live: Live) -> None:
    browser = Browser(live, live.new_key(scope="full"))
    answer = browser.change("POST", "/models/talker/production/predict", {"cookie": 1})
    assert answer.text == "none"  # the model sees no cookie
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("sandbox")
    odd = {"status": 200, "headers": [["content-type", "text/javascript"]]}
    answer = browser.change(
        "POST", "/models/talker/production/predict", {"odd": odd, "tally": "/dev/null"}
    )
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_static_file_is_kept_and_nothing_else_is_served(live: Live) -> None:
    browser = Browser(live)
    page = Page(browser.get("/ui/login").text)
    for script in page.all("script"):
        answer = browser.get(str(script["src"]))
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"].startswith("text/javascript")
    for name in ("..%2fpages.py", "%2e%2e", ".hidden", "nope.js", "a" * 300):
        assert browser.get(f"/ui/static/x/{name}").status_code in (303, 404), name


def test_vendored_files_are_what_their_licences_are_for() -> None:
    listed = (STATIC / "vendored.txt").read_text()
    for name in ("htmx.min.js", "idiomorph-ext.min.js"):
        digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
        assert digest in listed and name in listed
