"""`kingpost jobs` on many requests: filters, a count before a change, retries with another input, moves."""

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kingpost import Client, NotFound
from tests.conditions import wait_until
from tests.contract.client.conftest import Shell, Stack

pytestmark = pytest.mark.stack


@pytest.fixture
def asleep(stack: Stack) -> Iterator[list[str]]:
    """Three requests of the painter, whose deployment is inactive; the third has the level 2."""
    with Client(stack.url, stack.key) as client:
        client.deployments.deactivate("painter", "production")
        wait_until(lambda: client.deployments.get("painter").status == "INACTIVE", 60)
        jobs = [client.submit("painter", {"what": "json"}, priority=level) for level in (0, 0, 2)]
        yield [job.id for job in jobs]
        for job in jobs:
            with contextlib.suppress(NotFound):  # deleted meanwhile
                job.cancel()
        client.deployments.activate("painter", "production")


def rows(shell: Shell, options: str) -> list[str]:
    listed = json.loads(shell.type(f"kingpost jobs ls --json {options}"))
    return [row["request_id"] for row in listed]


def test_a_list_is_filtered_and_fits_into_80_columns(
    stack: Stack, logged_in: Shell, asleep: list[str]
) -> None:
    queued = "--model painter --status queued"
    assert rows(logged_in, queued) == asleep  # as they will run
    assert rows(logged_in, f"{queued} --order newest") == asleep[::-1]
    assert rows(logged_in, "--model painter --order next") == asleep
    wrong = logged_in.refused("kingpost jobs ls --status FAILED --order next")
    assert "order=next is for queued requests" in wrong
    assert rows(logged_in, f"{queued} --level 2 --since 1h -e production") == asleep[2:]
    assert rows(logged_in, f"{queued} --before 1h") == []
    assert rows(logged_in, f"{queued} --text nothing") == []
    head, *lines = logged_in.type(f"kingpost jobs ls {queued}").splitlines()
    assert head.split() == ["request", "status", "level", "age", "model"]
    assert [line.split()[0] for line in lines] == asleep
    assert all(len(line) <= 80 and line.endswith("painter") for line in lines)
    assert "There is no model 'nobody'" in logged_in.refused("kingpost jobs ls --model nobody")
    assert "is not an age such as" in logged_in.refused("kingpost jobs ls --since yesterday")


def test_what_matches_is_counted_before_it_is_changed(
    stack: Stack, logged_in: Shell, asleep: list[str]
) -> None:
    which = "--model painter --status QUEUED"
    assert logged_in.type(f"kingpost jobs cancel {which} --dry-run") == (
        "3 requests match; nothing was changed.\n"
    )
    said = logged_in.refused(f"kingpost jobs cancel {which}")
    assert said == "3 requests match; add --yes to cancel them."
    assert logged_in.type(f"kingpost jobs move {which} --to-level 1 -y") == "3 requests moved.\n"
    assert rows(logged_in, f"{which} --level 1") == asleep
    named = f"kingpost jobs cancel {which} --level 1 --operation mine --json --yes"
    said = json.loads(logged_in.type(named))
    assert (said["operation"], said["matched"], said["done"]) == ("mine", 3, 3)
    assert logged_in.type(f"kingpost jobs cancel {which} --yes") == "No request matches.\n"
    assert "ids or a filter, not both" in logged_in.refused(f"kingpost jobs cancel x {which}")
    assert "or --all" in logged_in.refused("kingpost jobs cancel --yes")


def test_an_operation_that_is_cut_off_says_how_it_goes_on(
    stack: Stack, logged_in: Shell, asleep: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cli.client import bulk

    def cut(*_: Any) -> None:
        raise NotFound("The server is gone.", 404)

    with monkeypatch.context() as patched:
        patched.setattr(bulk, "show_progress", cut)
        said = logged_in.refused("kingpost jobs cancel --model painter --since 1h --yes")
    (command,) = re.findall(r"^The server is gone. To go on: (kingpost jobs cancel .*)$", said)
    since = re.findall(r"--since (\S+)", command)[0]  # a time, so that it is the same operation
    assert datetime.fromisoformat(since) < datetime.now(UTC) - timedelta(minutes=59)
    assert logged_in.type(f"{command} --yes").endswith("requests canceled.\n")


def test_requests_run_again_with_the_same_and_with_another_input(
    stack: Stack, logged_in: Shell
) -> None:
    with Client(stack.url, stack.key) as client:
        old = client.submit("hello", {"name": "Ada", "more": 1})
        old.wait()
        assert json.loads(logged_in.type(f"kingpost jobs input {old.id}")) == old.input()

        def again(line: str, **more: str) -> Any:
            said = json.loads(logged_in.type(f"kingpost jobs retry {old.id} --json {line}", **more))
            assert said[0]["retry_of"] == old.id
            return client.jobs.get(said[0]["request_id"])

        assert again("").result() == {"text": "Hello, Ada!"}
        changed = again("-i name=Eva")
        assert changed.result() == {"text": "Hello, Eva!"}
        assert changed.input() == {"name": "Eva", "more": 1}
        assert again("--edit", EDITOR="sed -i s/Ada/Ed/").result() == {"text": "Hello, Ed!"}
        assert old.status().retried_as is not None
        assert old.retry({"name": "Bob"}).result() == {"text": "Hello, Bob!"}
        refused = logged_in.run(f"kingpost jobs retry {'0' * 32} {old.id}")
        assert refused.returncode == 1 and "There is no such async request" in refused.stderr
        assert f"{old.id}: it runs again as" in refused.stdout
    said = logged_in.refused(f"kingpost jobs retry {old.id} --edit", EDITOR="true")
    assert said == "The input was not saved, so nothing runs."
    said = logged_in.refused(f"kingpost jobs retry {old.id} --edit", EDITOR="sed -i s/:/=/")
    assert "The input is not JSON" in said
    said = logged_in.refused("kingpost jobs retry --model hello -i name=x")
    assert "--edit are for ids" in said


def test_requests_are_moved_by_their_ids(stack: Stack, logged_in: Shell, asleep: list[str]) -> None:
    said = logged_in.type(f"kingpost jobs move {asleep[0]} {asleep[1]} --to-level 2")
    assert said.count("priority 2.") == 2
    assert "Say --to-level" in logged_in.refused(f"kingpost jobs move {asleep[0]}")
    with Client(stack.url, stack.key) as client:
        assert client.jobs.counts(model="painter", status="QUEUED", priority=2) == {"QUEUED": 3}
        foreign = client.deployments.get("hello").id
    refused = logged_in.run(f"kingpost jobs move {asleep[0]} --to-deployment {foreign}")
    assert refused.returncode == 1 and "is not of the request's model" in refused.stderr


def test_the_beginning_of_an_id_is_enough(stack: Stack, logged_in: Shell) -> None:
    with Client(stack.url, stack.key) as client:
        job = client.submit("hello", {"name": "Ada"})
        assert job.result() == {"text": "Hello, Ada!"}
    short = job.id[:8]
    assert logged_in.type(f"kingpost jobs show {short}").startswith(job.id)
    assert json.loads(logged_in.type(f"kingpost jobs input {short}")) == {"name": "Ada"}
    said = logged_in.run(f"kingpost jobs cancel {short} {job.id}")
    assert said.stdout.count(f"{job.id}: The request is already SUCCEEDED.") == 2
    assert "Give the whole id" in logged_in.refused(f"kingpost jobs show {'0' * 31}")
    assert "the first 6 are enough" in logged_in.refused("kingpost jobs show 12345")


def test_requests_are_deleted_by_ids_and_by_a_filter(
    stack: Stack, logged_in: Shell, asleep: list[str]
) -> None:
    said = logged_in.type(f"kingpost jobs purge {asleep[0]}")
    assert said == f"{asleep[0]}: it is deleted.\n"
    assert "no such async request" in logged_in.refused(f"kingpost jobs show {asleep[0]}")
    which = "--model painter --status QUEUED"
    refused = logged_in.refused(f"kingpost jobs purge {which}")
    assert refused == "2 requests match; add --yes to purge them."
    assert logged_in.type(f"kingpost jobs purge {which} --yes") == "2 requests deleted.\n"
    assert rows(logged_in, which) == []
