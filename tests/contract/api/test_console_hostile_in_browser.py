"""A corpus of what browsers run, in every field that a client or a model can fill, on every page that shows it: nothing runs."""

import json
import time
import uuid
from itertools import cycle
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page

from deployments.registry import keys as registry_keys
from deployments.registry.nodes import Node, NodeDevice, NodeReplica
from deployments.registry.records import Deployment
from tasks.api_keys import key_id
from tasks.job import RequestId, Submission
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.store.keys import keyed, plain
from tasks.webhooks.verbs import delivery
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.contract.api.studio import studio
from tests.contract.api.test_console_attention import reported
from tests.contract.api.test_console_in_browser import WIDE, Console, chromium
from tests.contract.api.test_operators_webhooks import finished
from tests.contract.api.versions import versions

__all__ = ["chromium", "studio", "versions"]  # fixtures
OWN = "document.title='owned'"
CORPUS = (
    f"<script>{OWN}</script>",
    f"</script><script>{OWN}</script>",
    f"</pre></textarea></title></style><script>{OWN}</script>",
    f'<img src=x onerror="{OWN}">',
    f'<svg/onload="{OWN}"><animate onbegin="{OWN}" attributeName=x dur=1s>',
    f"<svg><script>{OWN}</script></svg>",
    f'<iframe srcdoc="<script>parent.{OWN}</script>"></iframe>',
    f"<iframe src=\"javascript:parent.{OWN}\"></iframe>",
    f'<details open ontoggle="{OWN}">',
    f'" autofocus onfocus="{OWN}" x="',
    f"' onmouseover='{OWN}",
    f"javascript:{OWN}",
    f"<a href=\"javascript:{OWN}\">x</a>",
    f'<math><mtext><table><mglyph><style><!--</style><img src onerror="{OWN}">',
    f"<form action=javascript:{OWN}><button autofocus>x</button></form>",
    '<base href="//evil.example/"><meta http-equiv=refresh content="0;url=//evil.example">',
    f'<div hx-get="/ui/api/v1/keys" hx-trigger="load" hx-on:load="{OWN}">',
    "{{ 7*7 }}{% raw %}${7*7}",
    f"\u2028</script>\u2029<script>{OWN}</script>",
    "\x1b[31m\x07\u202e<b>",
)  # fmt: skip
LOUD = " ".join(CORPUS)
# Elements and attributes that only a page of ours may have, and what of ours looks like them.
FOREIGN = """() => [...document.querySelectorAll('body *')].filter(element =>
  ['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'BASE', 'META', 'STYLE', 'MATH', 'animate', 'B'].includes(element.tagName)
    && !(element.tagName === 'B' && element.attributes.length === 0 && element.closest('.story, .log, .deployment > p'))
  || [...element.attributes].some(({ name, value }) => /^on|^hx-on|^style$|^srcdoc$/.test(name)
    || (['href', 'src', 'action'].includes(name) && /^\\s*javascript:/i.test(value)))
  || (element.hasAttribute('hx-get') && !['live'].includes(element.id))
  || (element.tagName === 'IMG' && element.getAttribute('src') === 'x')).map(element => element.outerHTML.slice(0, 200))"""


@pytest.fixture
def console(chromium: Browser, live: Live) -> Console:
    key = live.new_key(scope="admin", name=CORPUS[0])
    return Console(chromium, live, key, WIDE, "light")


def check(page: Page, where: str) -> None:
    assert page.evaluate(FOREIGN) == [], where
    assert page.title() != "owned" and page.url.startswith("http://127."), where


def ended(http: httpx.Client, studio: Deployment, prompt: object, mode: str) -> str:
    path = f"/models/{studio.model_id}/production/async_predict"
    given = {"prompt": prompt, "mode": mode}
    request_id = submit(http, given, path, inference_retry_config={"max_attempts": 1})
    http.get(f"/async_request/{request_id}?wait=30")
    return request_id


def test_nothing_of_a_request_runs(live: Live, console: Console, studio: Deployment) -> None:
    page, key = console.page, live.new_key(scope="full", name=CORPUS[3])
    with live.client(key) as http:
        modes = ("json", "words", "html", "svg", "fail")
        ids = {mode: ended(http, studio, LOUD, mode) for mode in modes}
        echoed = submit(
            http, {part: part for part in CORPUS}, "/models/echo/production/async_predict"
        )
        http.get(f"/async_request/{echoed}?wait=30")
    for mode, request_id in [*ids.items(), ("echo", echoed)]:
        console.at(f"/ui/jobs/{request_id}")
        page.locator("#result .none, #result a[download]").first.wait_for()
        if mode != "echo":
            page.locator(".log > div", has_text="asked for").wait_for()
        page.get_by_role("button", name="Show").click()
        page.locator("#given pre").wait_for()
        check(page, mode)
    console.at(f"/ui/jobs?error_text={quote(CORPUS[0])}")
    page.locator(f"#r{ids['fail']}").wait_for()
    check(page, "jobs")
    for path in ("/ui", "/ui/keys", "/ui/audit", f"/ui/jobs?key={key_id(key)}"):
        console.at(path)
        check(page, path)
    assert console.wrong == []
    console.close()


def test_nothing_that_is_tried_runs(live: Live, console: Console, studio: Deployment) -> None:
    page = console.page
    with live.client(live.new_key(scope="full")) as http:
        again = ended(http, studio, LOUD, "json")
    console.at(f"/ui/models/{studio.model_id}/try?again={again}")
    page.locator("#fields .field").first.wait_for()
    assert page.get_by_role("textbox", name="prompt").input_value().startswith(CORPUS[0])
    for mode in ("json", "words", "html", "svg", "fail"):
        page.get_by_label("mode").select_option(label=mode)
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator("#stop").wait_for(state="hidden")
        page.locator("#result").locator(".tree, pre, p").first.wait_for()
        check(page, mode)
    page.get_by_role("button", name="Take the example").click()
    page.locator("[data-where=curl] pre", has_text="/textarea").wait_for(state="attached")
    check(page, "example")
    for path in ("", "/log", "/changes", "/chat"):
        console.at(f"/ui/models/{studio.model_id}{path}")
        check(page, path)
    assert [said for said in console.wrong if "status of 500" not in said] == []  # the model raised
    console.close()


def test_nothing_that_is_said_in_a_chat_runs(console: Console, live: Live) -> None:
    page = console.page
    console.at(f"/ui/models/{live.deployment('talker').model_id}/try")
    page.get_by_role("link", name="Chat").click()
    console.live()
    for text in CORPUS:
        page.get_by_label("Message").fill(f"say {text}")
        page.get_by_role("button", name="Send").click()
        page.locator("#stop").wait_for(state="hidden")
        assert page.locator(".said-assistant .words").last.text_content() == text
        check(page, text)
    page.locator("summary", has_text="Python").click()
    compile(page.locator("#openai").inner_text(), "pasted", "exec")
    page.get_by_role("button", name="New conversation").click()
    page.locator("summary", has_text="Instructions").click()
    page.get_by_label("Instructions for the model").fill(LOUD)
    page.get_by_label("Message").fill(f"refuse {LOUD}")
    page.get_by_role("button", name="Send").click()
    page.locator(".said-error .words", has_text="onerror").wait_for()
    assert (
        page.get_by_label("Message").input_value().startswith("refuse <script>")
    )  # to be sent again
    check(page, "a refusal")
    assert [said for said in console.wrong if "status of 400" not in said] == []
    console.close()


def test_nothing_of_an_environment_runs(
    live: Live, console: Console, versions: list[Deployment]
) -> None:
    """No such name can be made, so they are seeded, as an earlier version or somebody at the store may have left them."""
    old, new = versions
    page, model, store = console.page, f"/ui/models/{old.model_id}", JobStore(live.settings)
    with live.client(live.new_key(scope="admin")) as http:
        for text in CORPUS:
            made = http.post(f"/v1/models/{old.model_id}/environments", json={"name": text})
            assert made.status_code == 400, text
            path = f"/v1/models/{old.model_id}/environments/{quote(text, safe='')}/promote"
            assert http.post(path, json={"deployment_id": new.id}).status_code // 100 == 4, text
        body = {
            "scope": "inference",
            "name": LOUD[:200],
            "environments": [*CORPUS],
            "models": [*CORPUS],
        }
        made = http.post("/v1/keys", json=body)
        assert made.status_code == 201, made.text
    for number, text in enumerate(CORPUS):
        store.redis.hset(
            registry_keys.keyed("environments", old.model_id),
            text,
            (old.id, new.id, "")[number % 3],
        )
        if number % 2:
            candidate = {"candidate": new.id, "previous": old.id}
            store.redis.hset(
                registry_keys.keyed("environment", f"{old.model_id}:{text}"), mapping=candidate
            )
    log, changes = f"{model}/log?deployment={old.id}", f"{model}/changes?new={new.id}"
    for path in (model, f"{model}/try", f"{model}/chat", log, changes, "/ui", "/ui/keys"):
        console.at(path)
        check(page, path)
    console.at(model)
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=CORPUS[0], exact=True))  # fmt: skip
    row.get_by_role("button", name="Delete").click()
    page.get_by_text(f"Forget the environment {CORPUS[0]}?").wait_for()
    check(page, "a question")
    page.get_by_role("button", name="Back").click()
    console.at(f"/ui/jobs?model={old.model_id}&environment={quote(CORPUS[0])}")
    check(page, "a filter")
    for text in CORPUS:
        store.redis.hdel(registry_keys.keyed("environments", old.model_id), text)
        store.redis.delete(registry_keys.keyed("environment", f"{old.model_id}:{text}"))
    assert console.wrong == []
    console.close()


def test_nothing_of_a_receiver_or_a_running_model_or_a_node_runs(
    live: Live, console: Console
) -> None:
    """Seeded, because no receiver is reachable from a stack of tests, and no node of it has such a name."""
    store, page = JobStore(live.settings), console.page
    ids = [finished(store, f"https://nowhere.invalid/{LOUD}") for _ in range(2)]
    said = {"at": "2026-01-01T00:00:00Z", "status": 500, "ms": 1.0, "answer": LOUD, "error": LOUD}
    wait_until(lambda: all(store.run(delivery(each)).attempts for each in ids), 30)  # type: ignore[union-attr]
    far = store.redis.time()[0] * 1000 + 10**9  # type: ignore[index]
    for each in ids:
        store.redis.hset(
            keyed("delivery", each), mapping={"log": json.dumps(said), "status": "PENDING"}
        )
    store.redis.zadd(plain("exhausted"), {ids[0]: far})
    store.redis.zrem(plain("outbox"), ids[0])
    store.redis.zadd(plain("outbox"), {ids[1]: far})
    running = RequestId(uuid.uuid4().hex)
    store.run(verbs.submit([Submission(running, "elsewhere", LOUD[:200], b"{}")], "k", 10))
    claim = store.run(verbs.claim("elsewhere", "r:0", uuid.uuid4().hex[:16], LOUD))
    assert claim
    store.run(verbs.progress(claim.lease, 0.5, LOUD))
    gpu = NodeDevice("0", 24 << 30, 0.0, LOUD, 6 << 30, 0.75)
    seat = NodeReplica(LOUD, "elsewhere", LOUD, ("0",), 1.0)
    node = Node("hostile", LOUD, 1, int(time.time() * 1000), 8, 8, (gpu,), (seat,), LOUD)
    with reported(store, node):
        paths = [f"/ui/jobs/{each}" for each in (*ids, running)]
        for path in (
            "/ui/webhooks",
            "/ui/jobs",
            "/ui/jobs?status=IN_PROGRESS",
            "/ui/nodes",
            "/ui",
            *paths,
        ):
            console.at(path)
            check(page, path)
    console.at("/ui/webhooks")
    page.locator(f"#tries-{ids[0]} summary").click()
    page.locator(f"#tries-{ids[0]} pre", has_text="onerror").wait_for()
    check(page, "attempts")
    store.run(verbs.cancel(running))
    for each in ids:
        store.run(verbs.purge(each))
    assert console.wrong == []
    console.close()


def test_no_address_runs(console: Console) -> None:
    page = console.page
    paths = cycle(("/ui/login?next=", "/ui/jobs?model=", "/ui/jobs/", "/ui/models/", "/ui/"))
    for text, path in zip(CORPUS, paths, strict=False):
        page.goto(path + quote(text, safe=""), wait_until="domcontentloaded")
        check(page, path + text)
    console.close()


def _framed(page: Page) -> str:
    """The address of what the frame shows; the question lets Playwright hear of it."""
    page.evaluate("0")
    return page.frames[-1].url


def test_no_page_is_shown_in_a_frame_of_another_site(console: Console, live: Live) -> None:
    page = console.page
    page.goto("about:blank")
    for path in ("/ui", "/ui/keys", "/ui/login"):
        page.set_content(f'<iframe src="{live.url}{path}"></iframe>')
        wait_until(lambda: _framed(page).startswith("chrome-error:"), 20, path)
    console.close()


def test_a_logout_leads_the_pages_of_every_browser_to_the_login(
    chromium: Browser, live: Live
) -> None:
    key = live.new_key(scope="full")
    here, there = (Console(chromium, live, key, WIDE, "light") for _ in range(2))
    there.at("/ui/jobs")
    here.page.get_by_role("button", name="Log out").click()
    here.page.wait_for_url("**/ui/login")
    with live.client(key) as http:
        submit(http, {"a": 1}, "/models/echo/production/async_predict")  # a change to be shown
    there.page.wait_for_url("**/ui/login?next=*")
    for console in (here, there):
        console.page.go_back()
        console.page.get_by_label("API key").wait_for()
        console.close()
