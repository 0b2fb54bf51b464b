"""Requests that are named by ids: found by what people type, and acted on one after the other."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from cli.client.bulk import To
from cli.client.inputs import changed
from kingpost.errors import ApiError, Error
from tasks.outside_text import printable

if TYPE_CHECKING:
    from kingpost import Client, Job
    from kingpost.records import ListedJob

WHOLE = re.compile(r"[0-9a-f]{32}")
BEGINNING = re.compile(r"[0-9a-f]{6,31}")
LATEST = 1000  # requests among which the beginning of an id is looked for: one page of the list
MOST_NAMED = 3  # ids that a refusal names

Done = tuple[bool, Mapping[str, Any], str]  # whether it was done, as JSON, and in words


class NoSuchId(Error):
    """The beginning of an id does not name one request."""


def whole(server: "Client", given: str) -> str:
    """The id of the request that somebody means. Raises NoSuchId."""
    return whole_ids(lambda most: ids_of(server.jobs.list(limit=most)), [given])[0]


def ids_of(jobs: "Iterable[ListedJob]") -> list[str]:
    """The ids of these requests."""
    return [job.request_id for job in jobs]


def whole_ids(latest: Callable[[int], Sequence[str]], given: Sequence[str]) -> list[str]:
    """The ids of these requests. A beginning, as logs and the console show it, is looked for among the latest requests. Raises NoSuchId.

    `latest` gives the ids of so many requests at most, the newest first.
    """
    for each in given:
        if not (WHOLE.fullmatch(each) or BEGINNING.fullmatch(each)):
            raise NoSuchId(
                f"{each!r} is not the id of a request: it has 32 digits 0-9 and a-f, and the first 6 are enough. `kingpost jobs ls` shows the ids."
            )
    if not any(BEGINNING.fullmatch(each) for each in given):
        return list(given)
    known = latest(LATEST)
    return [_whole(each, known) if BEGINNING.fullmatch(each) else each for each in given]


def _whole(beginning: str, latest: Sequence[str]) -> str:
    found = [known for known in latest if known.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(found[:MOST_NAMED]) + (" and others" if found[MOST_NAMED:] else "")
        raise NoSuchId(f"Several requests begin with {beginning}: {names}. Give more of the id.")
    raise NoSuchId(
        f"None of your latest {LATEST:,} requests begins with {beginning}. Give the whole id, which `kingpost jobs ls` shows."
    )


def each(
    server: "Client", given: Sequence[str] | None, as_json: bool, act: Callable[["Job"], Done]
) -> None:
    """Calls `act` for each of the requests. If it fails for one, the others go on, and the exit code is 1.

    If the beginning of an id fits none or several, it raises NoSuchId before anything is done.
    """
    failed, rows = False, list[Mapping[str, Any]]()
    for request_id in whole_ids(lambda most: ids_of(server.jobs.list(limit=most)), given or ()):
        try:
            done, row, words = act(server.jobs.get(request_id))
            if not as_json:
                print(f"{request_id}: {printable(words)}")
        except ApiError as error:
            if error.status in (401, 403):
                raise  # the key may do none of this
            done, row = False, {"request_id": request_id, "error": str(error)}
            print(f"{request_id}: {printable(str(error))}", file=sys.stderr)
        failed |= not done
        rows.append(row)
    if as_json:
        print(json.dumps(rows))
    if failed:
        raise typer.Exit(1)


def canceled(job: "Job") -> Done:
    """Cancels the job, also one that runs."""
    said = job.cancel()
    return said.canceled, said.raw, said.message


def moved(job: "Job", to: To) -> Done:
    """Moves the job there."""
    said = job.move(priority=to.level, deployment=to.deployment)
    where = f"deployment {said.deployment_id}, priority {said.priority}"
    return True, said.raw, f"it waits at {where}."


def retried(job: "Job", change: Any, edit: bool) -> Done:
    """Runs the job again, with its input as the options change it."""
    if change is None and not edit:
        again = job.retry()
    else:
        again = job.retry(changed(job.input(), change, edit))
    said = {"request_id": again.id, "retry_of": job.id}
    return True, said, f"it runs again as {again.id}."


def purged(job: "Job") -> Done:
    """Deletes the job with all that is kept of it."""
    gone = job.purge()
    words = "it is deleted." if gone else "its call is being stopped; then the rest is deleted."
    return True, {"request_id": job.id, "purged": gone}, words
