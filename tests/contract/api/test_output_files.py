"""Files of outputs by URL: only if the request asks, fetched without a key until they expire, and harmless in a browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.output_files import Link
from tasks.files.verbs import file_secret
from tasks.store.job_store import JobStore
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, submit
from tests.contract.api.test_files import id_of, stored
from tests.memory import MEGABYTE, rss

TALKER = "/models/talker/production"
ASK = {"X-Kingpost-Output-Files": "true"}
MODEL = (Path(__file__).parent / "models" / "talker" / "model" / "model.py").read_bytes()
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


@pytest.fixture
def key(live: Live) -> str:
    return live.new_key(scope="inference")


@pytest.fixture
def http(live: Live, key: str) -> Iterator[httpx.Client]:
    with live.client(key) as client:
        yield client


@pytest.fixture
def stranger(live: Live) -> Iterator[httpx.Client]:
    with live.client(None) as client:
        yield client


def asked(http: httpx.Client, way: str, **make: object) -> Any:
    """The output of the talker, over the queue or at once."""
    given = {"make": {"kind": "all", **make}}
    if way == "sync":
        answer = http.post(f"{TALKER}/predict", json=given, headers=ASK)
        assert answer.status_code == 200, answer.text
        assert "x-kingpost-output-sizes" not in answer.headers
        return answer.json()
    path = f"{TALKER}/async_predict"
    request_id = submit(http, given, path, output_files=True)
    said = http.get(f"/async_request/{request_id}?wait=30").json()
    assert said["status"] == "SUCCEEDED", said
    return http.get(f"/async_request/{request_id}/result").json()


@pytest.mark.parametrize("way", ["async", "sync"])
def test_files_of_an_output_are_fetched_by_their_urls(
    http: httpx.Client, stranger: httpx.Client, way: str
) -> None:
    said = asked(http, way)
    assert said["number"] == 7
    html, (svg,), empty = said["deep"][0]["html"], said["deep"][1], said["deep"][2]
    for entry, content, content_type, shown in (
        (said["image"], IMAGE, "image/png", "inline"),
        (html, b"<html><script>alert(1)</script>", "application/octet-stream", "attachment"),
        (svg, b"<svg onload='x()'/>", "application/octet-stream", "attachment"),
        (said["path"], MODEL, "application/octet-stream", "attachment"),
        (empty, b"", "application/octet-stream", "attachment"),
    ):
        assert entry["size"] == len(content)
        answer = stranger.get(entry["url"])
        assert (answer.status_code, answer.content) == (200, content), answer.text
        assert answer.headers["content-type"] == content_type
        assert answer.headers["content-disposition"].startswith(f"{shown}; filename=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        head = stranger.head(entry["url"])
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
    again = http.post(f"{TALKER}/predict", json={"files": [{"$ref": said["image"]["$ref"]}]})
    assert again.json()[0]["size"] == len(IMAGE)  # an output is an input of the next model


def test_a_part_of_a_file(http: httpx.Client, stranger: httpx.Client) -> None:
    url, size = asked(http, "sync")["image"]["url"], len(IMAGE)
    for asked_for, status, content in (
        ("bytes=0-9", 206, IMAGE[:10]),
        ("bytes=200-", 206, IMAGE[200:]),
        ("bytes=-5", 206, IMAGE[-5:]),
        ("bytes=5-100000", 206, IMAGE[5:]),
        (f"bytes=0-{size - 1}", 200, IMAGE),
        (f"bytes={size}-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=9-5", 200, IMAGE),
        ("bytes=0-1,3-4", 200, IMAGE),
        ("lines=1-2", 200, IMAGE),
        (f"bytes={'9' * 30}-", 200, IMAGE),
    ):
        answer = stranger.get(url, headers={"Range": asked_for})
        assert (answer.status_code, answer.content) == (status, content), asked_for
        if status == 206:
            start = IMAGE.index(content)
            whole = f"bytes {start}-{start + len(content) - 1}/{size}"
            assert answer.headers["content-range"] == whole


def test_tampered_and_expired_urls_open_nothing(
    live: Live, http: httpx.Client, stranger: httpx.Client
) -> None:
    said = asked(http, "async")
    token = said["image"]["url"].rpartition("/")[2]
    file_id, expires, signature = token.split(".")
    for wrong in (
        f"{file_id}.{int(expires) + 1}.{signature}",
        f"{'0' * 32}.{expires}.{signature}",
        f"{file_id}.{expires}.{'0' * 32}",
        f"{file_id}.{expires}.{signature[:-1]}",
        f"{file_id}.{expires}",
        f"{file_id[:30]}ff.{expires}.{signature}",  # signed, but the answer has no such file
        token.upper(),
        "x",
    ):
        answer = stranger.get(f"/v1/files/{wrong}")
        assert (answer.status_code, answer.json()["error"]) == (404, "There is no such file.")
    assert stranger.get("/v1/files/..%2F..%2Fetc%2Fpasswd").status_code == 404
    secret = JobStore(live.settings).run(file_secret())
    old = Link.signed(secret, file_id[:30], 1_700_000_000)
    answer = stranger.get(old.url_of(0))
    assert answer.status_code == 410 and "has expired" in answer.json()["error"]


def test_without_asking_the_output_is_as_truss_has_it(http: httpx.Client) -> None:
    given = {"make": {"kind": "all"}}
    for headers in ({}, {"X-Kingpost-Output-Files": "false"}):
        answer = http.post(f"{TALKER}/predict", json=given, headers=headers)
        assert answer.status_code == 500
        assert "not JSON serializable" in answer.json()["error"]
    request_id = submit(
        http, given, f"{TALKER}/async_predict", inference_retry_config={"max_attempts": 1}
    )
    assert http.get(f"/async_request/{request_id}?wait=30").json()["status"] == "FAILED"
    odd = {
        "odd": {"status": 200, "headers": [["x-kingpost-output-sizes", "9"]]},
        "tally": os.devnull,
    }
    forged = http.post(f"{TALKER}/predict", json=odd)
    assert (forged.status_code, forged.text) == (200, "odd")
    assert "x-kingpost-output-sizes" not in forged.headers
    lies = http.post(f"{TALKER}/predict", json=odd, headers=ASK)
    assert lies.status_code == 502 and "lacks files" in lies.json()["error"]
    many = http.post(f"{TALKER}/predict", json={"make": {"kind": "many"}}, headers=ASK)
    assert many.status_code == 500 and "100 files at most" in many.json()["error"]


def test_the_files_of_a_request_go_with_it(live: Live, http: httpx.Client) -> None:
    path = f"{TALKER}/async_predict"
    request_id = submit(http, {"make": {"kind": "all"}}, path, output_files=True)
    http.get(f"/async_request/{request_id}?wait=30")
    said = http.get(f"/async_request/{request_id}/result").json()
    url = said["image"]["url"]
    assert stored(live, said["image"]).read_bytes() == IMAGE
    assert http.get(url).status_code == 200
    assert http.post(f"/async_request/{request_id}/purge").json()["purged"]
    wait_until(lambda: not stored(live, said["image"]).exists(), 10, "the file is left")
    assert http.get(url).status_code == 404
    assert http.get(f"/v1/uploads/{id_of(said['image'])}").status_code == 404


def test_a_large_output_file_is_never_in_memory(
    live: Live, http: httpx.Client, stranger: httpx.Client, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 * MEGABYTE)
    pids = [live.processes[name].pid for name in ("api", "talker")]
    pids.append(live.host_pid("talker"))
    asked(http, "async")
    asked(http, "sync")
    before = [rss(pid) for pid in pids]
    for way in ("async", "sync"):
        said = asked(http, way, kind="large", path=str(large))
        with stranger.stream("GET", said["file"]["url"]) as answer:
            assert sum(len(piece) for piece in answer.iter_raw()) == 300 * MEGABYTE
        http.delete(f"/v1/uploads/{id_of(said['file'])}")
    grown = [rss(pid) - was for pid, was in zip(pids, before, strict=True)]
    assert max(grown) <= 50 * MEGABYTE, grown
