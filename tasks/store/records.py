"""Converts between Redis' replies and the domain types. Only this module knows the fields of a record."""

import json
from collections.abc import Mapping, Sequence
from typing import cast

from tasks.job import Job, JobError, RequestId, Retry
from tasks.outside_text import text_of, utf8
from tasks.state import Status

# Defaults, for which a record has no fields.
JSON = "application/json"
DEFAULT_RETRY = Retry()
Reply = bytes | int | list["Reply"] | None


def text(reply: Reply) -> str:
    """A reply that is a string."""
    return cast(bytes, reply).decode()


def items(reply: Reply) -> list[Reply]:
    """A reply that is a list."""
    return cast("list[Reply]", reply)


def number(reply: Reply) -> int:
    """A reply that is a whole number, as an integer or as text."""
    return int(cast("bytes | int", reply))


def error_json(error: JobError | None) -> str:
    """One entry of `errors` as the scripts append it, '' if there is none."""
    if error is None:
        return ""
    fields = {"code": str(error.code), "message": utf8(error.message)}
    if error.detail:
        fields["detail"] = utf8(error.detail)
    return json.dumps(fields, ensure_ascii=False)


def retry_arguments(retry: Retry) -> list[str | int]:
    """Three arguments of `submit`. All are '' for the default."""
    if retry == DEFAULT_RETRY:
        return ["", "", ""]
    return [retry.max_attempts, retry.initial_delay_ms, retry.max_delay_ms]


def errors(raw: str) -> tuple[JobError, ...]:
    """The entries of a record's field `errors`."""
    entries = json.loads(f"[{raw}]") if raw else ()
    return tuple(JobError(e["code"], e["message"], e.get("detail", "")) for e in entries)


def _retry(f: Mapping[str, str]) -> Retry:
    if "max_attempts" not in f:
        return DEFAULT_RETRY
    return Retry(int(f["max_attempts"]), int(f["initial_delay_ms"]), int(f["max_delay_ms"]))


def _milliseconds(raw: str | None) -> int | None:
    return int(raw) if raw else None


def _load(f: Mapping[str, str]) -> tuple[int | None, int | None]:
    """When the load began and ended that the job waited for; the record has ms after the submission."""
    if "load" not in f:
        return None, None
    began, ended = f["load"].split()
    return int(f["created"]) + int(began), int(f["created"]) + int(ended)


# What a final job has in its field `ended`, see record.lua. The rest of it is for the scripts alone.
ENDED = (
    "deployment", "model", "level", "attempt", "created", "started", "finished", "predict_ms", "replica",
)  # fmt: skip


def unpacked(ended: str) -> dict[str, str]:
    """The fields that `ended` stands for."""
    words = zip(ENDED, ended.split(" "), strict=False)
    f = {name: word for name, word in words if word != "-"}
    at = int(f["created"])
    for name in ("started", "finished"):
        if name in f:
            at += int(f[name])
            f[name] = str(at)
    if f.get("replica", "").startswith("~"):
        f["replica"] = f"{f['deployment']}-{f['replica'][1:]}"
    return f | {"status_at": f["finished"]}


def job(request_id: str, flat: Sequence[Reply]) -> Job:
    """The job of a flat HGETALL reply."""
    words = [text_of(word) for word in cast("Sequence[bytes]", flat)]
    f = dict(zip(words[::2], words[1::2], strict=True))
    if "ended" in f:
        f |= unpacked(f["ended"])
    load_began, load_ended = _load(f)
    return Job(
        request_id=RequestId(request_id),
        status=Status(f["status"]),
        deployment_id=f["deployment"],
        model_id=f["model"],
        api_key=f["key"],
        level=int(f["level"]),
        attempt=int(f["attempt"]),
        retry=_retry(f),
        created=int(f["created"]),
        status_at=int(f["status_at"]),
        errors=errors(f.get("errors", "")),
        webhook=f.get("webhook", ""),
        content_type=f.get("content_type", JSON),
        traceparent=f.get("trace", ""),
        path=f.get("path", ""),
        chain_id=f.get("chain", ""),
        not_before=_milliseconds(f.get("not_before")) or None,
        started=_milliseconds(f.get("started")),
        finished=_milliseconds(f.get("finished")),
        predict_ms=float(f["predict_ms"]) if "predict_ms" in f else None,
        fraction=float(f["fraction"]) if f.get("fraction") else None,
        message=f.get("message") or None,
        stopping="stopping" in f,
        stopped_at=_milliseconds(f.get("stopped_at")),
        stopped_by=f.get("stopped_by"),
        output_type=f.get("output_type", JSON if "output_bytes" in f else None),
        output_bytes=_milliseconds(f.get("output_bytes")),
        input_ref=f.get("input_ref", ""),
        output_ref=f.get("output_ref", ""),
        replica=f.get("replica", ""),
        load_began=load_began,
        load_ended=load_ended,
        deaths=int(f.get("deaths", 0)),
        max_time_in_queue_ms=int(f.get("queue_ms", 600_000)),
        retry_of=f.get("retry_of", ""),
        retried_as=f.get("retried_as", ""),
        files=f.get("files", ""),
        output_files="output_files" in f,
        story=f.get("story", ""),
        story_cut=int(f.get("story_cut", 0)),
        chunks_end=f.get("chunks_end", ""),
    )
