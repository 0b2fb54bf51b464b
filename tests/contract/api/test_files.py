"""Files by reference: uploaded once, given to the model as a path, never as a whole in memory, and gone when nothing needs them."""

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import redis

from deployments.attached import MOST, PREFIX
from tasks.files.files import file_ref
from tests.conditions import wait_until
from tests.contract.api.conftest import Live, custom_server, submit
from tests.memory import MEGABYTE, rss

SMALL = b"\x89PNG\r\n\x1a\n" + b"a small picture"
BIG = Random(7).randbytes(11_000_000)  # more than two pieces
SERVER = """
import http.server, sys
class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    do_POST = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Server).serve_forever()
"""


@pytest.fixture
def key(live: Live) -> str:
    return live.new_key(scope="inference")


@pytest.fixture
def http(live: Live, key: str) -> Iterator[httpx.Client]:
    with live.client(key) as client:
        yield client


def opened(http: httpx.Client, size: int, **more: object) -> dict[str, Any]:
    answer = http.post("/v1/uploads", json={"size": size, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def send(http: httpx.Client, upload: str, offset: int, piece: bytes) -> httpx.Response:
    headers = {"Upload-Offset": str(offset)}
    return http.patch(f"/v1/uploads/{upload}", content=piece, headers=headers)


def uploaded(http: httpx.Client, content: bytes, **more: object) -> dict[str, str]:
    """A reference to a file with that content."""
    upload = opened(http, len(content), **more)
    said = send(http, upload["id"], 0, content)
    assert said.status_code == 200 and said.json()["stored"], said.text
    return {"$ref": said.json()["ref"]}


def id_of(reference: dict[str, str]) -> str:
    return reference["$ref"].removeprefix(PREFIX)


def stored(live: Live, reference: dict[str, str]) -> Path:
    return live.folder / "payloads" / file_ref(id_of(reference))


def call_folders(live: Live) -> list[Path]:
    return [path for path in (live.folder / "call-files").glob("*/*") if path.is_dir()]


def final(http: httpx.Client, request_id: str) -> dict[str, Any]:
    return http.get(f"/async_request/{request_id}?wait=30").json()


def asked(http: httpx.Client, given: object, way: str) -> Any:
    """The output of the talker, over the queue or at once."""
    if way == "sync":
        answer = http.post("/models/talker/production/predict", json=given)
        assert answer.status_code == 200, answer.text
        return answer.json()
    request_id = submit(http, given, "/models/talker/production/async_predict")
    said = final(http, request_id)
    assert said["status"] == "SUCCEEDED", said
    return http.get(f"/async_request/{request_id}/result").json()


def age(live: Live, reference: dict[str, str]) -> None:
    """Lets the file expire now."""
    with redis.Redis.from_url(live.settings.redis_url) as store:
        store.hset(f"{{kingpost}}:file:{id_of(reference)}", "expires", 1)
        if store.zscore("{kingpost}:files", id_of(reference)):
            store.zadd("{kingpost}:files", {id_of(reference): 1})


@pytest.mark.parametrize("way", ["async", "sync"])
def test_a_model_gets_a_read_only_path_that_is_gone_after_the_call(
    live: Live, http: httpx.Client, way: str
) -> None:
    small, big = uploaded(http, SMALL, name="../../etc/a.PNG"), uploaded(http, BIG)
    said = asked(http, {"files": [small, big, {"$ref": "#/definitions/x"}, small]}, way)
    assert [entry["sha256"] for entry in (said[0], said[1])] == [
        sha256(SMALL).hexdigest(),
        sha256(BIG).hexdigest(),
    ]
    assert {entry["mode"] for entry in (said[0], said[1])} == {"0o400"}
    assert said[2] == {"$ref": "#/definitions/x"}  # of a JSON schema, say
    assert said[3] == said[0]
    path = Path(said[0]["path"])
    assert path.is_relative_to(live.folder / "call-files") and path.name.endswith(".png")
    assert Path(said[1]["path"]).parent == path.parent
    wait_until(lambda: not path.parent.exists())


def test_an_upload_goes_on_where_it_ended_and_its_content_is_checked(
    live: Live, http: httpx.Client
) -> None:
    digest = sha256(BIG).hexdigest()
    upload = opened(http, len(BIG), sha256=digest)
    assert (upload["stored"], upload["offset"], upload["ref"]) == (False, 0, PREFIX + upload["id"])
    assert send(http, upload["id"], 0, BIG[:5_000_000]).json()["offset"] == 5_000_000
    again = opened(http, len(BIG), sha256=digest)
    assert (again["id"], again["offset"]) == (upload["id"], 5_000_000)
    wrong = send(http, upload["id"], 4, BIG[4:])
    assert (wrong.status_code, wrong.headers["upload-offset"]) == (409, "5000000")
    path = f"/v1/uploads/{upload['id']}"
    assert http.head(path).headers["upload-offset"] == "5000000"
    done = send(http, upload["id"], 5_000_000, BIG[5_000_000:]).json()
    assert (done["stored"], done["size"]) == (True, len(BIG))
    assert http.get(path).json() | {"expires_at": None} == done | {"expires_at": None}
    assert http.head(path).status_code == 404  # nothing is on its way
    lie = opened(http, 3, sha256=digest)
    refused = send(http, lie["id"], 0, b"lie")
    assert refused.status_code == 400 and "has the sha256" in refused.json()["error"]
    assert http.get(f"/v1/uploads/{lie['id']}").status_code == 404
    stored = live.folder / "payloads" / file_ref(lie["id"])
    assert not stored.exists()  # nobody's limit counts it


def test_who_may_not_use_a_file_is_told_at_the_submission(live: Live, http: httpx.Client) -> None:
    with live.client(live.new_key(scope="admin")) as other:
        foreign, expired = uploaded(other, SMALL), uploaded(http, SMALL)
        age(live, expired)
        half = {"$ref": opened(http, 100)["ref"]}
        missing = {"$ref": f"{PREFIX}{'0' * 32}"}
        for ref in (foreign, expired, half, missing):
            for path, body in (
                ("async_predict", {"model_input": {"a": [{"b": ref}]}}),
                ("predict", {"files": [ref]}),
            ):
                answer = http.post(f"/models/talker/production/{path}", json=body)
                assert answer.status_code == 400, (ref, answer.text)
                assert answer.json()["error"] == (
                    f"There is no file {id_of(ref)} of this key, or it has expired; "
                    "upload it again: POST /v1/uploads."
                )
        for path in (f"/v1/uploads/{id_of(foreign)}", f"/v1/uploads/{opened(other, 9)['id']}"):
            assert http.get(path).status_code == http.head(path).status_code == 404
            assert (
                http.delete(path).status_code == send(http, path[12:], 0, b"x").status_code == 404
            )


@pytest.mark.parametrize(
    "text", ["", "x", "../../x", "A" * 32, "0" * 33, "0" * 32 + ":1", "²" * 32]
)
def test_what_is_no_id_is_refused(http: httpx.Client, text: str) -> None:
    ref = {"$ref": PREFIX + text}
    answer = http.post("/models/talker/production/predict", json={"files": [ref]})
    assert answer.status_code == 400 and "refers to no file" in answer.json()["error"]


def test_an_input_that_is_edited_refers_to_files_of_its_own(live: Live, http: httpx.Client) -> None:
    first, second = uploaded(http, SMALL), uploaded(http, BIG)
    old = submit(http, {"files": [first]}, "/models/talker/production/async_predict")
    plain = submit(http, {"files": []}, "/models/talker/production/async_predict")
    assert [final(http, each)["status"] for each in (old, plain)] == ["SUCCEEDED"] * 2
    age(live, first)  # what the request has, its next run has too
    for again, files in ((old, [second]), (old, [first, second]), (plain, [second])):
        answer = http.post(f"/async_request/{again}/retry", json={"model_input": {"files": files}})
        new = answer.json()["request_id"]
        assert final(http, new)["status"] == "SUCCEEDED", final(http, new)
        said = http.get(f"/async_request/{new}/result").json()
        contents = {id_of(first): SMALL, id_of(second): BIG}
        assert [entry["sha256"] for entry in said] == [
            sha256(contents[id_of(each)]).hexdigest() for each in files
        ]
    with live.client(live.new_key()) as other:
        foreign = {"model_input": {"files": [uploaded(other, SMALL)]}}
    assert http.post(f"/async_request/{old}/retry", json=foreign).status_code == 400


def test_many_references_and_references_of_references(http: httpx.Client) -> None:
    many = [{"$ref": f"{PREFIX}{number:032x}"} for number in range(MOST + 1)]
    for path, body in (("async_predict", {"model_input": many}), ("predict", many)):
        answer = http.post(f"/models/talker/production/{path}", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"] == f"An input may refer to {MOST} files at most."
    inner = uploaded(http, SMALL)
    content = json.dumps({"$ref": inner["$ref"]}).encode()
    outer = uploaded(http, content, name="loop.json")
    told = asked(http, {"files": [outer, {"$ref": {"$ref": {"x": 1}}}] + [inner] * 800}, "sync")
    assert told[0]["size"] == len(content)  # what a file says is never looked into
    assert told[1] == {"$ref": {"$ref": {"x": 1}}}
    assert len({entry["path"] for entry in told[2:]}) == 1


def test_a_reference_that_is_too_late_to_be_found_is_refused_and_not_passed_as_it_is(
    http: httpx.Client,
) -> None:
    given = {"more": "x" * 70_000, "files": [uploaded(http, SMALL)]}
    answer = http.post("/models/talker/production/predict", json=given)
    assert answer.status_code == 400, answer.text
    assert "they did not come along" in answer.text and "async_predict" in answer.text
    given["files"] = [{"$ref": "#/definitions/kingpost-file:"}]  # no reference of ours
    assert (
        "did not come along" not in http.post("/models/talker/production/predict", json=given).text
    )


def test_sizes_are_bounded(live: Live, http: httpx.Client) -> None:
    for size in (10**13, live.settings.max_file_bytes + 1):
        answer = http.post("/v1/uploads", json={"size": size})
        assert (answer.status_code, answer.json()["error_code"]) == (413, "payload_too_large")
    for wrong in ({"size": 0}, {"size": -1}, {"size": 10**17}, {}, {"size": 1, "path": "/etc"}):
        assert http.post("/v1/uploads", json=wrong).status_code == 400
    upload = opened(http, 4)
    assert send(http, upload["id"], 0, b"12345").status_code == 413
    mine = [opened(http, live.settings.max_file_bytes) for _ in range(7)]
    full = http.post("/v1/uploads", json={"size": 1})
    assert full.status_code == 429 and "too many unfinished uploads" in full.json()["error"]
    for entry in mine:
        assert http.delete(f"/v1/uploads/{entry['id']}").status_code == 204
    with redis.Redis.from_url(live.settings.redis_url) as store:
        name = "{kingpost}:files_of:" + key_of(live, http)
        store.hset(name, mapping={"bytes": live.settings.max_file_bytes_per_key, "count": 1})
        refused = http.post("/v1/uploads", json={"size": 1})
        store.delete(name)
    assert refused.status_code == 413 and "too many files" in refused.json()["error"]


def key_of(live: Live, http: httpx.Client) -> str:
    return http.headers["authorization"].removeprefix("Api-Key kp_").partition(".")[0]


def test_requests_keep_a_file_alive_and_their_deletion_lets_it_go(
    live: Live, http: httpx.Client, tmp_path: Path
) -> None:
    ref, gate = uploaded(http, BIG), tmp_path / "gate"
    path = "/models/talker/production/async_predict"
    first = submit(http, {"files": [ref], "gate": str(gate)}, path)
    age(live, ref)  # it has expired, and is used
    assert http.post(path, json={"model_input": {"files": [ref]}}).status_code == 400
    gate.touch()
    assert final(http, first)["status"] == "SUCCEEDED"
    again = http.post(f"/async_request/{first}/retry").json()["request_id"]
    assert final(http, again)["status"] == "SUCCEEDED"
    assert http.get(f"/async_request/{again}/result").json()[0]["size"] == len(BIG)
    http.post(f"/async_request/{first}/purge")
    age(live, ref)
    third = http.post(f"/async_request/{again}/retry").json()["request_id"]
    assert final(http, third)["status"] == "SUCCEEDED"
    for request_id in (again, third):
        assert stored(live, ref).exists()
        assert http.post(f"/async_request/{request_id}/purge").json()["purged"]
    wait_until(lambda: not stored(live, ref).exists(), 10, "the file is left")
    with redis.Redis.from_url(live.settings.redis_url) as store:
        assert not store.exists(f"{{kingpost}}:file:{id_of(ref)}")
        assert not store.exists("{kingpost}:files_of:" + key_of(live, http))


def test_a_file_that_nobody_uses_goes_when_it_expires_or_is_deleted(
    live: Live, http: httpx.Client
) -> None:
    left, deleted = uploaded(http, SMALL), uploaded(http, SMALL)
    assert stored(live, left).read_bytes() == SMALL
    age(live, left)
    assert http.delete(f"/v1/uploads/{id_of(deleted)}").status_code == 204
    wait_until(lambda: not stored(live, left).exists() and not stored(live, deleted).exists())


def test_a_file_that_vanished_is_an_error_of_the_request_with_a_code(
    live: Live, http: httpx.Client
) -> None:
    ref, there = uploaded(http, SMALL), uploaded(http, BIG)
    stored(live, ref).unlink()
    path = "/models/talker/production"
    request_id = submit(http, {"files": [there, ref]}, f"{path}/async_predict")
    said = final(http, request_id)
    assert (said["status"], said["attempt"]) == ("FAILED", 1)
    assert [error["code"] for error in said["errors"]] == ["FILE_NOT_FOUND"]
    assert id_of(ref) in said["errors"][0]["message"]
    answer = http.post(f"{path}/predict", json={"files": [there, ref]})
    assert answer.status_code == 410 and id_of(ref) in answer.json()["error"]
    wait_until(lambda: not call_folders(live))


def test_a_server_of_its_own_gets_no_paths_and_says_so(live: Live, http: httpx.Client) -> None:
    ref = uploaded(http, BIG)
    with custom_server(live, "own", SERVER, "/predict"):
        refused = http.post("/models/own/production/predict", json={"files": [ref]})
        assert refused.status_code == 400
        assert "a server of its own (docker_server), which gets no paths" in refused.json()["error"]
        request_id = submit(http, {"files": [ref]}, "/models/own/production/async_predict")
        said = final(http, request_id)
        assert [error["code"] for error in said["errors"]] == ["MODEL_INVALID_INPUT"]
        assert "which gets no paths" in said["errors"][0]["message"]
        assert http.post("/models/own/production/predict", json={}).status_code == 200


def test_a_large_file_is_never_in_the_memory_of_api_or_worker(
    live: Live, http: httpx.Client, tmp_path: Path
) -> None:
    size, piece = 300 * MEGABYTE, os.urandom(MEGABYTE)
    pids = [live.processes[name].pid for name in ("api", "talker")]
    pids.append(live.host_pid("talker"))
    asked(http, {"files": [uploaded(http, SMALL)]}, "async")  # all is imported
    before = [rss(pid) for pid in pids]
    upload = opened(http, size)
    headers = {"Upload-Offset": "0", "Content-Length": str(size)}
    sent = http.patch(
        f"/v1/uploads/{upload['id']}",
        content=(piece for _ in range(300)),
        headers=headers,
        timeout=120,
    )
    assert sent.status_code == 200, sent.text
    for way in ("async", "sync"):
        (told,) = asked(http, {"files": [{"$ref": upload["ref"]}]}, way)
        assert told["size"] == size
    grown = [rss(pid) - was for pid, was in zip(pids, before, strict=True)]
    assert max(grown) <= 50 * MEGABYTE, grown
    http.delete(f"/v1/uploads/{upload['id']}")
