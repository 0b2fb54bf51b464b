"""Packages over HTTP: resumed after every cut, bounded, and hostile ones refused with nothing kept."""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import redis

from deployments.packages import uploads as uploads_module
from deployments.packages.store import package_ref
from deployments.packages.uploads import Uploads
from tasks.api_keys import key_id
from tasks.errors import StoreUnavailable
from tasks.files import receiving
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore
from tests.conditions import wait_until, wait_until_async
from tests.contract.api.conftest import KEY, Live
from tests.unit.deployments import archives
from tests.valkey import Valkey

AWAY = 200_000  # bytes that a broken connection may still hold, in the server's own buffers
BIG = Random(5).randbytes(11_000_000)  # more than two pieces


@pytest.fixture
def key(live: Live) -> str:
    return live.new_key()


@pytest.fixture
def http(live: Live, key: str) -> Iterator[httpx.Client]:
    with live.client(key) as client:
        yield client


def package(salt: str, big: bytes = b"") -> tuple[str, bytes]:
    """A package of this test's own: its content hash and its archive."""
    files = {**archives.FILES, "salt": salt.encode(), "big": big}
    return archives.content_hash(files), archives.good(files)


def offer(http: httpx.Client, content_hash: str, archive: bytes) -> Any:
    answer = http.post("/v1/packages", json={"content_hash": content_hash, "size": len(archive)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def send(http: httpx.Client, upload: str, offset: int, piece: bytes) -> httpx.Response:
    headers = {"Upload-Offset": str(offset)}
    return http.patch(f"/v1/packages/uploads/{upload}", content=piece, headers=headers)


def offset_of(http: httpx.Client, upload: str) -> int:
    return int(http.head(f"/v1/packages/uploads/{upload}").headers["Upload-Offset"])


def settled(http: httpx.Client, content_hash: str, archive: bytes, sent: int) -> bool:
    """Whether the server has noticed a cut, and kept what had arrived."""
    upload = offer(http, content_hash, archive)["upload"]
    return not upload["active"] and sent - AWAY <= upload["offset"] <= sent


def cut(live: Live, key: str, upload: str, offset: int, rest: bytes, after: int) -> None:
    """Announces all the rest, sends so many bytes of it and hangs up."""
    host, port = live.url.removeprefix("http://").split(":")
    head = f"PATCH /v1/packages/uploads/{upload} HTTP/1.1\r\nHost: x\r\nUpload-Offset: {offset}\r\n"
    head += f"Authorization: Api-Key {key}\r\nContent-Length: {len(rest)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + rest[:after])


def payloads(live: Live, folder: str) -> list[Path]:
    return sorted((live.settings.state_dir / "payloads" / folder).rglob("*"))


def is_stored(live: Live, content_hash: str) -> bool:
    return (live.settings.state_dir / "payloads" / package_ref(content_hash)).exists()


def test_what_a_cut_connection_brought_is_not_sent_again(
    live: Live, key: str, http: httpx.Client
) -> None:
    content_hash, archive = package("cut", BIG)
    said = offer(http, content_hash, archive)
    assert said["stored"] is False
    upload = said["upload"]["id"]
    offset = 0
    for after in (3_000_000, 100, 2_000_000, 1_500_000, 2_500_000):
        cut(live, key, upload, offset, archive[offset:], after)
        most = offset + after
        wait_until(lambda most=most: settled(http, content_hash, archive, most), 30)
        again = offer(http, content_hash, archive)["upload"]
        assert again["id"] == upload
        offset = again["offset"]
    assert offset > 8_000_000
    done = send(http, upload, offset, archive[offset:])
    assert (done.status_code, done.json()["stored"]) == (200, True), done.text
    stored = live.settings.state_dir / "payloads" / package_ref(content_hash)
    assert stored.read_bytes() == archive
    assert offer(http, content_hash, archive) == {
        "content_hash": content_hash, "stored": True, "upload": None
    }  # fmt: skip
    assert not [path for path in payloads(live, "uploads") if upload in path.name]


@pytest.mark.parametrize("kind", archives.HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_is_kept(
    live: Live, http: httpx.Client, kind: str
) -> None:
    archive, sentence = archives.HOSTILE[kind]
    content_hash = sha256(kind.encode()).hexdigest() if "other" in kind else archives.content_hash()
    upload = offer(http, content_hash, archive)["upload"]["id"]
    refused = send(http, upload, 0, archive)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "client_error")
    assert sentence in refused.json()["error"]
    assert http.head(f"/v1/packages/uploads/{upload}").status_code == 404
    assert not [path for path in payloads(live, "uploads") if upload in path.name]
    assert not is_stored(live, content_hash)


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_very_many_entries_are_refused(live: Live, http: httpx.Client, count: int) -> None:
    """The archive is made while it is sent: a million entries are half a gigabyte."""
    size, blocks = 512 * count + len(archives.END), archives.many(count)
    asked = {"content_hash": "f" * 64, "size": size}
    upload = http.post("/v1/packages", json=asked).json()["upload"]["id"]
    pieces = (b"".join(islice(blocks, 2000)) for _ in range(count // 2000 + 1))
    headers = {"Upload-Offset": "0"}
    refused = http.patch(
        f"/v1/packages/uploads/{upload}", content=pieces, headers=headers, timeout=120
    )
    assert refused.status_code == 400
    assert "more than 20000 files and folders" in refused.json()["error"]
    assert not is_stored(live, "f" * 64)


def test_gaps_overlaps_and_too_many_bytes_are_refused_and_nothing_is_lost(
    http: httpx.Client,
) -> None:
    content_hash, archive = package("gaps")
    upload = offer(http, content_hash, archive)["upload"]["id"]
    assert send(http, upload, 0, archive[:600]).json()["upload"]["offset"] == 600
    for wrong in (0, 599, 601, len(archive)):
        refused = send(http, upload, wrong, archive[wrong:])
        assert (refused.status_code, refused.headers["Upload-Offset"]) == (409, "600")
        assert "goes on at offset 600" in refused.json()["error"]
    for wrong in ("-1", "x", "²", ""):
        headers = {"Upload-Offset": wrong.encode()}
        answer = http.patch(f"/v1/packages/uploads/{upload}", content=b"x", headers=headers)
        assert answer.status_code == 400
    assert send(http, upload, 600, archive[600:] + b"x").status_code == 413
    assert offset_of(http, upload) == 600
    assert send(http, upload, 600, archive[600:]).json()["stored"] is True


def test_an_upload_is_its_key_s_alone(live: Live, http: httpx.Client) -> None:
    content_hash, archive = package("mine")
    upload = offer(http, content_hash, archive)["upload"]["id"]
    with live.client(live.new_key()) as other:
        path = f"/v1/packages/uploads/{upload}"
        assert other.head(path).status_code == 404
        assert send(other, upload, 0, archive).status_code == 404
        assert other.delete(path).status_code == 404
        theirs = offer(other, content_hash, archive)["upload"]["id"]
        assert theirs != upload
        assert send(http, upload, 0, archive).json()["stored"] is True
        assert send(other, theirs, 0, archive).json()["stored"] is True  # harmless
    assert http.delete(path).status_code == 404


async def test_two_who_send_one_upload_do_not_mix(live: Live, key: str, http: httpx.Client) -> None:
    """The second takes it from where the first was seen; one of them may be told to look again."""
    content_hash, archive = package("both", BIG)
    upload = offer(http, content_hash, archive)["upload"]["id"]
    headers = {"Authorization": f"Api-Key {key}"}
    async with httpx.AsyncClient(base_url=live.url, headers=headers, timeout=60) as client:

        async def push() -> None:
            path = f"/v1/packages/uploads/{upload}"
            while (seen := await client.head(path)).status_code == 200:
                offset = int(seen.headers["Upload-Offset"])
                said = {"Upload-Offset": str(offset)}
                sent = await client.patch(path, content=archive[offset:], headers=said)
                assert sent.status_code in (200, 404, 409), sent.text

        await asyncio.gather(push(), push())
    stored = live.settings.state_dir / "payloads" / package_ref(content_hash)
    assert stored.read_bytes() == archive


def test_unfinished_uploads_are_bounded_and_can_be_dropped(http: httpx.Client) -> None:
    mine = [offer(http, *package(f"bound {number}"))["upload"]["id"] for number in range(8)]
    content_hash, archive = package("one more")
    body = {"content_hash": content_hash, "size": len(archive)}
    refused = http.post("/v1/packages", json=body)
    assert (refused.status_code, refused.json()["error_code"]) == (429, "rate_limited")
    assert "too many unfinished uploads (at most 8" in refused.json()["error"]
    send(http, mine[0], 0, b"x" * 100)
    assert http.delete(f"/v1/packages/uploads/{mine[0]}").json()["offset"] == 100
    assert http.post("/v1/packages", json=body).status_code == 200


def test_what_cannot_be_a_package_is_refused_before_it_is_sent(http: httpx.Client) -> None:
    too_large = http.post("/v1/packages", json={"content_hash": "a" * 64, "size": 10**11})
    assert (too_large.status_code, too_large.json()["error_code"]) == (413, "payload_too_large")
    assert "more than 20000000000 bytes" in too_large.json()["error"]
    for wrong in ({"content_hash": "x", "size": 1}, {"content_hash": "a" * 64, "size": 0}, {}):
        assert http.post("/v1/packages", json=wrong).status_code == 400


def test_only_who_may_deploy_may_upload(live: Live) -> None:
    with live.client(live.new_key(scope="inference")) as client:
        body = {"content_hash": "a" * 64, "size": 1}
        assert client.post("/v1/packages", json=body).status_code == 403


def test_a_package_that_is_not_stored_is_not_deployed(live: Live) -> None:
    with live.client(KEY) as http:
        answer = http.post("/v1/deployments", json={"content_hash": "b" * 64})
        assert answer.status_code == 404
        assert "is not stored; upload it first: POST /v1/packages." in answer.json()["error"]


def test_the_audit_log_tells_of_a_package_that_is_stored_or_refused(
    live: Live, http: httpx.Client, key: str
) -> None:
    content_hash, archive = package("audited")
    upload = offer(http, content_hash, archive)["upload"]["id"]
    send(http, upload, 0, archive[:512])
    send(http, upload, 512, archive[512:])
    refused = offer(http, "c" * 64, archive)["upload"]["id"]
    send(http, refused, 0, archive)
    with live.client(live.new_key(scope="admin")) as admin:
        query = {"actor": key_id(key), "action": "package.upload"}
        entries = admin.get("/v1/audit", params=query).json()["entries"]
    assert [entry["target"] for entry in entries] == [refused, content_hash]
    assert entries[0]["result"].startswith("400: The files have the content hash")
    assert entries[1]["result"] == "done"


async def test_a_stall_of_the_store_does_not_end_the_signs_of_life_of_a_check(
    settings: Settings, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them, another connection could take the upload while its archive is checked."""
    checking, checked = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        checking.set()
        checked.wait(10)

    monkeypatch.setattr(uploads_module, "verify", slow)
    monkeypatch.setattr(receiving, "ALIVE_SECONDS", 0.02)
    store = AsyncJobStore(settings.model_copy(update={"store_timeout_seconds": 0.2}))
    uploads = Uploads(store, settings)
    content_hash, archive = package("stall")

    async def whole() -> AsyncGenerator[bytes]:
        yield archive

    upload = await uploads.open("a key", content_hash, len(archive))
    sending = asyncio.create_task(uploads.append("a key", upload.id, 0, whole()))
    with redis.Redis(port=valkey.port) as client:

        def alive_until() -> int:
            found = client.hget(f"{{kingpost}}:upload:{upload.id}", "sending_until")
            assert isinstance(found, bytes)
            return int(found)

        async def sign_after(before: int) -> bool:
            return alive_until() > before

        await asyncio.to_thread(checking.wait, 60)
        client.client_pause(60_000, all=False)  # scripts are not answered
        for _ in range(3):  # longer than any sign of life that was on its way
            with pytest.raises(StoreUnavailable):
                await uploads.find("a key", upload.id)
        before = alive_until()
        client.client_unpause()
        await wait_until_async(lambda: sign_after(before))
        before = alive_until()
        await wait_until_async(lambda: sign_after(before))
    checked.set()
    assert (await sending).offset == len(archive)
    await store.close()
