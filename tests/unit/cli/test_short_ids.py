"""Commands take the beginning of a request's id, as they and the console show it, on the store of the machine as over HTTP."""

import pytest

from cli.client.each import NoSuchId
from tasks.job import RequestId, Submission
from tasks.settings import Settings
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tests.typed import typed

HOOK = "https://example.com/hook"
FIRST, LIKE_IT, OTHER = "abcdef12" + "0" * 24, "abcdef13" + "0" * 24, "fedcba98" + "0" * 24


@pytest.fixture(autouse=True)
def stack_of_this_machine(
    settings: Settings, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINGPOST_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("KINGPOST_STATE_DIR", str(settings.state_dir))
    jobs = [
        Submission(RequestId(each), "dep00001", "model001", b"{}", webhook=HOOK)
        for each in (FIRST, LIKE_IT, OTHER)
    ]
    store.run(verbs.submit(jobs, "alice", 10**6))
    for each in (FIRST, OTHER):
        store.run(verbs.cancel(RequestId(each)))


def test_a_webhook_is_sent_again_by_the_beginning_of_the_requests_id() -> None:
    said = typed(["webhooks", "resend", OTHER[:8], FIRST[:8]])
    assert said.stdout.splitlines() == [
        f"The webhook of {each} is on its way." for each in (OTHER, FIRST)
    ]


def test_a_beginning_of_several_ids_is_refused_with_the_ids() -> None:
    refused = typed(["webhooks", "resend", OTHER[:8], FIRST[:7]])
    assert isinstance(refused.exception, NoSuchId) and not refused.stdout
    assert str(refused.exception) == (
        f"Several requests begin with abcdef1: {LIKE_IT}, {FIRST}. Give more of the id."
    )
