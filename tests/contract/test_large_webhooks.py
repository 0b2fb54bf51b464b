"""Webhooks of outputs that are in the payload store, and the list of those that were given up."""

import json

from tasks.job import Outcome, RequestId, Submission
from tasks.payloads import Payloads
from tasks.settings import Settings
from tasks.state import Status
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.webhooks.sender import Sender
from tasks.webhooks.verbs import outbox_status
from tests.contract.test_webhooks import (
    DEPLOYMENT,
    Receiver,
    finished,
    hook_settings,
    receiver,
    send,
    sender,
    status,
    webhook_status,
)

__all__ = ["hook_settings", "receiver", "sender"]  # fixtures


async def spilled(
    store: JobStore, settings: Settings, url: str, output: bytes, size: int | None = None
) -> RequestId:
    request_id = RequestId("f" * 32)
    job = Submission(request_id, DEPLOYMENT, "model001", b"{}", webhook=url)
    store.run(verbs.submit([job], "k", 10))
    claim = store.run(verbs.claim(DEPLOYMENT, "r:0", "fence", "r"))
    assert claim
    await Payloads(settings).write("outputs/ff/f", output)
    outcome = Outcome(
        Status.SUCCEEDED, 1.0, b"", "application/json",
        output_ref="outputs/ff/f", output_bytes=size or len(output),
    )  # fmt: skip
    store.run(verbs.finish(claim.lease, outcome))
    return request_id


async def test_an_output_from_the_payload_store_is_sent_like_any_other(
    store: JobStore, hook_settings: Settings, sender: Sender, receiver: Receiver
) -> None:
    output = json.dumps({"text": "x" * 100_000}).encode()
    request_id = await spilled(store, hook_settings, receiver.url, output)
    assert await send(sender) == 1
    said = json.loads(receiver.got[0][1])
    assert said["data"] == json.loads(output)
    assert "result_url" not in said
    assert webhook_status(store, request_id) == "SUCCEEDED"


async def test_an_output_above_the_cap_is_named_instead(
    store: JobStore, hook_settings: Settings, sender: Sender, receiver: Receiver
) -> None:
    too_large = hook_settings.webhook_max_data_bytes + 1
    request_id = await spilled(store, hook_settings, receiver.url, b"1", too_large)
    assert await send(sender) == 1
    said = json.loads(receiver.got[0][1])
    assert (said["data"], said["errors"]) == (None, [])
    assert list(said)[-1] == "result_url"
    assert said["result_url"] == f"/async_request/{request_id}/result"


async def test_a_webhook_that_was_given_up_is_listed_with_its_attempts(
    store: JobStore, sender: Sender, receiver: Receiver
) -> None:
    receiver.answers = [status(404)]
    request_id = finished(store, receiver.url)
    assert await send(sender) == 1
    said = store.run(outbox_status(10))
    assert (said.pending, said.exhausted) == (0, 1)
    (given_up,) = said.latest
    assert (given_up.request_id, given_up.url) == (request_id, receiver.url)
    assert [attempt["status"] for attempt in given_up.attempts] == [404]
