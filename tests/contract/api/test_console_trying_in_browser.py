"""Trying a model in Chromium: the form of its schema, JSON, files, streams, and a chat."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route

from deployments.registry.records import Deployment
from tests.conditions import wait_until
from tests.contract.api.conftest import KEY, Live
from tests.contract.api.studio import studio
from tests.contract.api.test_console_in_browser import (
    WIDE,
    Console,
    chromium,
    console,
    in_both,
    serious,
)

__all__ = ["chromium", "console", "studio"]  # fixtures
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
OWNED = "document.querySelectorAll('main img[src=x], main script, main svg, main [onfocus]').length"


@pytest.fixture
def wide(live: Live, chromium: object) -> Console:
    return Console(chromium, live, live.new_key(scope="full"), WIDE, "light")  # type: ignore[arg-type]


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def answer(page: Page) -> dict[str, object]:
    return json.loads(page.locator("#result pre").text_content() or "")


@in_both
def test_a_form_is_made_of_what_a_model_declares(
    live: Live, http: httpx.Client, console: Console, studio: Deployment, tmp_path: Path
) -> None:
    page = console.page
    console.at(f"/ui/models/{studio.model_id}/try")
    page.get_by_role("textbox", name="prompt").fill("a cat")
    page.get_by_label("steps", exact=False).first.fill("30")
    assert page.get_by_label("steps, slider").input_value() == "30"
    page.get_by_label("strength, slider").fill("0.25")
    page.get_by_label("odd").select_option(label=HOSTILE)
    page.get_by_label("upscale").check()
    page.get_by_label("width").fill("99")
    page.get_by_label("tags").fill('["a", "b"]')
    file = tmp_path / f"{HOSTILE.replace('/', ' ')[:80]}.txt"
    file.write_bytes(b"x" * 1234)
    page.get_by_label("image").set_input_files(file)
    page.get_by_text("a file is uploaded").wait_for()
    assert page.evaluate(OWNED) == 0 and not serious(page)
    run(page)
    page.locator("#said", has_text="200").wait_for()
    said = answer(page)
    assert said | {"made": None, "mode": "json"} == said | {
        "prompt": "a cat", "steps": 30, "strength": 0.25, "odd": HOSTILE, "upscale": True,
        "size": {"width": 99, "height": 64}, "tags": ["a", "b"], "file": 1234, "seed": None,
    }  # fmt: skip
    page.get_by_label("JSON", exact=True).check()
    given = json.loads(page.get_by_label("Input (JSON)").input_value())
    assert given["image"]["$ref"].startswith("kingpost-file:") and "seed" not in given
    given["seed"] = 7
    page.get_by_label("Input (JSON)").fill(json.dumps(given | {"more": [1]}))
    page.get_by_label("form", exact=True).check()
    assert page.get_by_label("seed").input_value() == "7"
    page.get_by_label("steps", exact=False).first.fill("51")
    run(page)
    page.locator("#input-wrong", has_text="steps").wait_for()
    assert page.evaluate(OWNED) == 0 and page.title() != "owned"
    assert console.wrong == []


def test_a_number_of_many_digits_stays_what_it_is(wide: Console, live: Live) -> None:
    page = wide.page
    wide.at(f"/ui/models/{live.deployment('echo').model_id}/try")
    page.get_by_text("declares no input type").wait_for()
    page.get_by_label("Input (JSON)").fill('{"seed": 12345678901234567890}')
    page.get_by_label("through the queue").check()
    run(page)
    page.locator("#said .s-succeeded").wait_for()
    job = str(page.get_by_role("link", name="Open the request").get_attribute("href"))
    with live.client() as http:
        answered = http.get(f"/async_request/{job.rpartition('/')[2]}/result", headers={"Authorization": f"Api-Key {live.new_key(scope='admin')}"})  # fmt: skip
    assert "12345678901234567890" in answered.text
    assert wide.wrong == []
    wide.close()


def test_an_input_that_nobody_touched_in_the_form_is_sent_as_it_is(wide: Console, studio: Deployment) -> None:  # fmt: skip
    page = wide.page
    wide.at(f"/ui/models/{studio.model_id}/try")
    page.locator("#fields .field").first.wait_for()
    given = '{"prompt": "x", "seed": 12345678901234567890, "sure": null, "image": "/a"}'
    page.get_by_label("JSON", exact=True).check()
    page.get_by_label("Input (JSON)").fill(given)
    page.get_by_label("form", exact=True).check()
    page.locator("[data-where=curl] pre", has_text="12345678901234567890").wait_for(state="attached")  # fmt: skip
    with page.expect_request("**/predict") as sent:
        run(page)
    assert sent.value.post_data == given
    page.locator("#stop").wait_for(state="hidden")
    assert page.get_by_label("sure").input_value() == ""
    page.get_by_role("textbox", name="prompt").fill("y")
    with page.expect_request("**/predict") as sent:
        run(page)
    assert sent.value.post_data_json["sure"] is None
    page.locator("#stop").wait_for(state="hidden")
    page.get_by_label("sure").select_option(label="false")
    with page.expect_request("**/predict") as sent:
        run(page)
    assert sent.value.post_data_json["sure"] is False
    page.locator("#stop").wait_for(state="hidden")
    page.get_by_label("sure").select_option(label="true")
    with page.expect_request("**/predict") as sent:
        run(page)
    assert "sure" not in sent.value.post_data_json  # it is the default
    wide.close()


def test_a_long_number_stays_what_it_is_in_a_form_that_was_touched(wide: Console, studio: Deployment) -> None:  # fmt: skip
    page = wide.page
    wide.at(f"/ui/models/{studio.model_id}/try")
    page.locator("#fields .field").first.wait_for()
    page.get_by_label("JSON", exact=True).check()
    page.get_by_label("Input (JSON)").fill(
        '{"prompt": "x", "seed": 12345678901234567890, "more": [9007199254740993]}'
    )
    page.get_by_label("form", exact=True).check()
    assert page.get_by_label("seed").input_value() == "12345678901234567890"
    page.get_by_role("textbox", name="prompt").fill("y")
    with page.expect_request("**/predict") as sent:
        run(page)
    assert '"seed":12345678901234567890' in str(sent.value.post_data)
    assert '"more":[9007199254740993]' in str(sent.value.post_data)
    page.locator("#stop").wait_for(state="hidden")
    page.get_by_label("seed").fill("98765432109876543210")
    with page.expect_request("**/predict") as sent:
        run(page)
    assert '"seed":98765432109876543210' in str(sent.value.post_data)
    assert wide.wrong == []
    wide.close()


def test_a_tree_holds_no_more_than_is_looked_at(wide: Console, live: Live) -> None:
    page = wide.page
    wide.at(f"/ui/models/{live.deployment('echo').model_id}/try")
    page.get_by_text("declares no input type").wait_for()
    given = {"many": list(range(450)), "branches": [{"n": n} for n in range(30)], "long": "x" * 30000}  # fmt: skip
    page.get_by_label("Input (JSON)").fill(json.dumps(given))
    run(page)
    page.locator("#result .tree").wait_for()
    many = page.locator("#result .tree details", has=page.locator("> summary", has_text="many"))
    leaves = many.last.locator("> .leaf")
    leaves.nth(199).wait_for()
    assert leaves.count() == 200
    many.last.get_by_role("button", name="250 more").click()
    assert leaves.count() == 400
    many.last.get_by_role("button", name="50 more").click()
    assert leaves.count() == 450
    assert many.last.get_by_role("button").count() == 0
    opened = page.locator("#result .tree details[open]").count()
    assert opened <= 1 + 20, "the root, and its first branches"
    closed = page.locator("#result .tree details:not([open])").last
    assert closed.locator(".leaf").count() == 0  # it is made when it is opened
    closed.locator("> summary").click()
    closed.page.locator("#result .tree details[open]").last.locator(".leaf").wait_for()
    page.locator("#result .tree .leaf", has_text="(30000 characters)").wait_for()
    assert wide.wrong == []
    wide.close()


def test_pictures_in_an_answer_are_shown_and_its_long_numbers_are_right(wide: Console, live: Live, studio: Deployment) -> None:  # fmt: skip
    page = wide.page
    wide.at(f"/ui/models/{studio.model_id}/try")
    page.locator("#fields .field").first.wait_for()
    page.get_by_label("mode").select_option(label="picture")
    for how in ("wait for the answer", "as it comes"):
        page.get_by_label(how).check()
        run(page)
        page.locator("#said", has_text="200").wait_for()
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # fmt: skip
        assert page.locator("#result img.output").count() == 1, how
    wide.at(f"/ui/models/{live.deployment('echo').model_id}/try")
    page.get_by_text("declares no input type").wait_for()
    riffs = {name: base64.b64encode(b"RIFF\x24\0\0\0" + name + bytes(90)).decode() for name in (b"WAVE", b"WEBP")}  # fmt: skip
    given = {"wave": riffs[b"WAVE"], "webp": riffs[b"WEBP"], "third": 1 / 3}
    for text, shown in ((json.dumps(given), '"third": 0.3333333333333333\n'), ('{"id": 1234567890123456789}', "1234567890123456789")):  # fmt: skip
        page.get_by_label("Input (JSON)").fill(text)
        run(page)
        page.locator("#result pre", has_text=shown.strip()).wait_for()
        page.locator("#stop").wait_for(state="hidden")
        assert shown in page.locator("#result pre").inner_text()
        assert page.locator("#result img.output[src^='data:image/webp']").count() == ("webp" in text)  # fmt: skip
    assert wide.wrong == []
    wide.close()


def test_a_long_input_has_code_and_a_model_that_knows_no_key_logs_nobody_out(wide: Console, live: Live) -> None:  # fmt: skip
    page = wide.page
    page.route("**/schema", lambda route: route.fulfill(status=401, body="{}"))
    wide.at(f"/ui/models/{live.deployment('echo').model_id}/try")
    page.get_by_text("declares no input type").wait_for()
    page.get_by_label("Input (JSON)").fill(json.dumps({"said": "🦊" * 150_000}))
    page.locator("[data-where=curl] pre", has_text="@input.json").wait_for(state="attached")
    assert wide.wrong == []
    wide.close()


def test_an_answer_appears_as_it_comes_through_the_queue_and_without(
    wide: Console, live: Live, tmp_path: Path
) -> None:
    page = wide.page
    wide.at(f"/ui/models/{live.deployment('talker').model_id}/try")
    page.get_by_text("declares no input type").wait_for()
    for number, how in enumerate(("as it comes", "through the queue")):
        gate = tmp_path / f"gate{number}"
        given = {"stream": ["first ", "second"], "gate": str(gate)}
        page.get_by_label("Input (JSON)").fill(json.dumps(given))
        page.get_by_label(how).check()
        Path(f"{gate}.0").touch()
        run(page)
        page.locator("#result .flow", has_text="first").wait_for()
        Path(f"{gate}.1").touch()
        page.locator("#result pre", has_text="first second").wait_for()
        page.locator("#stop").wait_for(state="hidden")
    assert wide.wrong == []
    wide.close()


def test_what_runs_is_stopped(wide: Console, live: Live, tmp_path: Path) -> None:
    page = wide.page
    wide.at(f"/ui/models/{live.deployment('talker').model_id}/try")
    page.get_by_text("declares no input type").wait_for()
    for number, how in enumerate(("wait for the answer", "through the queue")):
        gate = tmp_path / f"gate{number}"
        page.get_by_label("Input (JSON)").fill(json.dumps({"stream": ["x"], "gate": str(gate)}))
        page.get_by_label(how).check()
        run(page)
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()
        Path(f"{gate}.0").touch()
    assert wide.wrong == []
    wide.close()


def test_what_is_stopped_before_it_is_accepted_is_cancelled(wide: Console, live: Live, tmp_path: Path) -> None:  # fmt: skip
    page, held = wide.page, list[Route]()
    wide.at(f"/ui/models/{live.deployment('talker').model_id}/try")
    page.get_by_text("declares no input type").wait_for()
    page.route("**/async_predict", lambda route: held.append(route))
    given = {"stream": ["x"], "gate": str(tmp_path / "gate")}
    page.get_by_label("Input (JSON)").fill(json.dumps(given))
    page.get_by_label("through the queue").check()
    with page.expect_request("**/async_predict"):
        run(page)
    page.get_by_role("button", name="Stop").click()
    with page.expect_response("**/async_predict") as answered:
        held[0].continue_()
    request = f"/async_request/{answered.value.json()['request_id']}"
    page.get_by_text("Stopped.").wait_for()
    (tmp_path / "gate.0").touch()
    with live.client(live.new_key(scope="admin")) as http:
        wait_until(lambda: http.get(request).json()["status"] == "CANCELED", 20, "it runs on")
    assert wide.wrong == []
    wide.close()


def test_text_stays_when_the_stream_of_a_request_is_opened_again(wide: Console, live: Live) -> None:  # fmt: skip
    page, held = wide.page, list[Route]()
    wide.at(f"/ui/models/{live.deployment('echo').model_id}/try")
    page.get_by_text("declares no input type").wait_for()
    pieces = [f"retry: 1\nid: {n}-0\nevent: output\ndata: {word} \n\n" for n, word in enumerate(("first", "second"))]  # fmt: skip

    def events(route: Route) -> None:
        if not pieces:
            return held.append(route)
        return route.fulfill(content_type="text/event-stream", body=pieces.pop(0))

    page.route("**/events", events)
    page.get_by_label("through the queue").check()
    run(page)
    page.locator("#result .flow", has_text="second").wait_for()
    assert page.locator("#result .flow").inner_text().split() == ["first", "second"]
    assert wide.wrong == []
    wide.close()


def test_the_code_of_a_page_does_the_same(wide: Console, studio: Deployment, live: Live, tmp_path: Path) -> None:  # fmt: skip
    page = wide.page
    wide.at(f"/ui/models/{studio.model_id}/try")
    page.get_by_role("textbox", name="prompt").fill("it's")
    page.get_by_label("as it comes").check()
    page.get_by_label("mode").select_option(label="words")
    page.locator("[data-where=Python] summary").click()
    code = page.locator("[data-where=Python] pre", has_text="'words'")
    code.filter(has_text="client.stream").filter(has_text="it's").wait_for()
    done = subprocess.run(
        [sys.executable, "-c", code.inner_text()],
        env={"KINGPOST_API_KEY": KEY, "HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "it's "
    assert wide.wrong == []
    wide.close()


@in_both
def test_a_chat_streams_keeps_the_conversation_and_stops(
    live: Live, console: Console, tmp_path: Path
) -> None:
    page, gate = console.page, tmp_path / "gate"
    model = live.deployment("talker").model_id
    page.goto(f"/ui/models/{model}/try")
    page.get_by_role("link", name="Chat").click()
    console.live()
    page.get_by_label("Message").fill(HOSTILE)
    page.keyboard.press("Enter")
    page.locator(".said-assistant .words", has_text="Hello there").wait_for()
    page.locator("#stop").wait_for(state="hidden")
    page.get_by_label("Message").fill(f"wait for {gate}")
    page.get_by_role("button", name="Send").click()
    page.locator(".said-assistant .words", has_text="Hello").last.wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("stopped", exact=True).wait_for()
    gate.touch()
    page.locator("summary", has_text="Python").click()
    code = page.locator("#openai").inner_text()
    compile(code, "pasted", "exec")
    assert [role in code for role in ("Hello there", str(gate))] == [True, True]
    assert page.evaluate(OWNED) == 0 and page.title() != "owned" and not serious(page)
    page.get_by_role("button", name="New conversation").click()
    assert page.locator(".talk article").count() == 0
    assert console.wrong == []


def test_a_chat_reads_events_of_a_generator_of_either_type(wide: Console, live: Live) -> None:
    page = wide.page
    for said, kind in (("generate", "text/event-stream"), ("octets", "application/octet-stream")):
        wide.at(f"/ui/models/{live.deployment('talker').model_id}/chat")
        page.get_by_label("Message").fill(said)
        with page.expect_response("**/chat/completions") as answer:
            page.keyboard.press("Enter")
        page.locator(".said-assistant .words", has_text="Hello there").wait_for()
        assert answer.value.headers["content-type"] == kind
    assert wide.wrong == []
    wide.close()


def test_a_conversation_that_is_left_leaves_nothing_in_the_next(wide: Console, live: Live, tmp_path: Path) -> None:  # fmt: skip
    page, gate = wide.page, tmp_path / "gate"
    wide.at(f"/ui/models/{live.deployment('talker').model_id}/chat")
    page.get_by_label("Message").fill(f"wait for {gate}")
    page.keyboard.press("Enter")
    page.locator(".said-assistant .words", has_text="Hello").wait_for()
    page.get_by_role("button", name="New conversation").click()
    gate.touch()
    page.locator("#stop").wait_for(state="hidden")
    page.get_by_label("Message").fill("anew")
    with page.expect_request("**/chat/completions") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data_json["messages"] == [{"role": "user", "content": "anew"}]
    assert sent.value.post_data_json["model"] == "talker"
    page.locator(".said-assistant .words", has_text="Hello there").wait_for()
    assert wide.wrong == []
    wide.close()


def test_an_engine_is_asked_by_the_name_that_it_serves(wide: Console, studio: Deployment) -> None:
    page = wide.page
    wide.at(f"/ui/models/{studio.model_id}/chat")
    page.get_by_label("Message").fill("hello")
    with page.expect_request("**/chat/completions") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data_json["model"] == "org/studio-7b"
    assert 'model="org/studio-7b"' in str(page.locator("#openai").text_content())
    wide.close()


def test_a_page_of_another_site_gets_no_code(live: Live) -> None:
    with live.client(None) as browser:
        browser.post("/ui/login", data={"key": KEY})
        assert browser.post("/ui/code", json={}).status_code == 403
