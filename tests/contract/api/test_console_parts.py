"""Parts of pages that many look at: rendered once, sent only when they differ, and never shown to whom they are not for."""

from typing import Any

from tasks.api_keys import key_id
from tasks.store.job_store import JobStore
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.contract.api.test_console import ECHO, Browser, Page

PART = {"hx-request": "true"}
JOBS = "/ui/jobs"


class Looking(Browser):
    """A browser that remembers its key."""

    def __init__(self, live: Live, **key: Any) -> None:
        self.key = live.new_key(**key)
        super().__init__(live, self.key)


def digest(browser: Browser, path: str = JOBS) -> str:
    return browser.get(path, **PART).headers["x-kingpost-seen"]


def shared(browser: Browser, number: int = 0, path: str = JOBS) -> str:
    """The part as a page asks for it after a change with that number."""
    return browser.get(path, **PART, **{"x-kingpost-pulse": str(number)}).text


def queued(live: Live, key: str) -> str:
    with live.client(key) as http:
        return submit(http, {"a": 1}, ECHO)


def calls(live: Live) -> int:
    stats: Any = JobStore(live.settings).redis.info("commandstats")
    return stats["cmdstat_fcall"]["calls"]


def test_a_page_that_shows_the_part_already_gets_nothing(live: Live) -> None:
    browser = Looking(live)
    for path in (JOBS, "/ui/models/echo"):
        wait_until(lambda path=path: digest(browser, path) == digest(browser, path))
        seen = digest(browser, path)
        answer = browser.get(path, **PART, **{"x-kingpost-seen": seen})
        assert (answer.status_code, answer.text) == (204, "")
        assert answer.headers["x-kingpost-seen"] == seen
    seen = digest(browser)
    request_id = queued(live, browser.key)
    answer = browser.get(JOBS, **PART, **{"x-kingpost-seen": seen})
    assert answer.status_code == 200
    assert request_id in answer.text
    assert browser.get(JOBS, **{"x-kingpost-seen": answer.headers["x-kingpost-seen"]}).text


def test_who_sees_the_same_shares_a_part_and_nobody_else(live: Live) -> None:
    admins = [Looking(live, scope="admin") for _ in range(2)]
    mine, others = (Looking(live, scope="inference") for _ in range(2))
    request_id = queued(live, mine.key)
    wait_until(lambda: digest(admins[0]) == digest(admins[0]))  # it is done
    first = shared(admins[0], 10**9)  # of a change that has not been: rendered now
    assert shared(admins[1]) == first
    assert request_id in first
    assert request_id in shared(mine)
    assert request_id not in shared(others)
    assert f"key={key_id(mine.key)}" not in shared(mine)  # the column of keys is for admins
    for browser in (*admins, mine, others):
        assert browser.csrf
        assert browser.csrf not in shared(browser)
        assert not Page(shared(browser)).all("meta")


def test_what_follows_an_action_is_not_what_was_rendered_for_others(live: Live) -> None:
    browser = Looking(live)
    before = shared(browser)
    request_id = queued(live, browser.key)
    assert shared(browser) == before  # nobody has looked since, so there was no other change
    assert request_id in browser.get(JOBS, **PART).text
    assert request_id in shared(browser, 10**9)


def test_a_key_that_was_revoked_gets_no_part_that_others_have(live: Live) -> None:
    browsers = [Looking(live, scope="admin") for _ in range(2)]
    assert shared(browsers[0]) == shared(browsers[1])
    ApiKeys(live.settings).revoke(key_id(browsers[1].key))
    wait_until(
        lambda: browsers[1].get(JOBS, **PART, **{"x-kingpost-pulse": "0"}).status_code == 204
    )
    answer = browsers[1].get(JOBS, **PART, **{"x-kingpost-pulse": "0"})
    assert answer.headers["hx-redirect"].startswith("/ui/login")
    assert shared(browsers[0])


def test_a_shared_part_costs_the_store_only_the_login(live: Live) -> None:
    browser = Looking(live, scope="admin")
    shared(browser)
    before = calls(live)
    for _ in range(20):
        shared(browser)
    assert calls(live) - before < 20 * 4
