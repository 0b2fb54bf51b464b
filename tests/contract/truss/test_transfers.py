"""Uploads as boto3 makes them, and GraphQL as `truss` sends it: what is taken, what is refused, and what stays in the audit log."""

import io
import json
import re
import tarfile
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import boto3
import pytest
from blake3 import blake3
from boto3.exceptions import S3UploadFailedError
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from api.routes.truss.graphql import ANSWERS
from tasks.api_keys import key_id
from tests.api_keys import ApiKeys
from tests.conditions import wait_until
from tests.contract.deployments.rig import KEY, Rig

pytestmark = pytest.mark.stack

ONCE = Config(retries={"total_max_attempts": 1})
CREDENTIALS = "{ model_s3_upload_credentials { s3_bucket s3_key } }"
CREATE = """mutation ($config: String) {{ create_model_from_truss(
    name: "{name}" s3_key: "{key}" config: $config raw_config: $config semver_bump: "MINOR" {more}
) {{ model_version {{ id oracle {{ id name hostname }} instance_type {{ name }} }} }} }}"""
MODEL = "class Model:\n    def predict(self, given):\n        return 1\n"


def address(rig: Rig) -> str:
    return f"http://127.0.0.1:{rig.port}"


def ask(rig: Rig, query: str, key: str = KEY) -> Any:
    """The answer to a query."""
    headers = {"Authorization": f"Api-Key {key}"}
    sent = {"query": query, "variables": {"config": None}}
    answer = rig.http.post("/graphql/", json=sent, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def error(rig: Rig, query: str, key: str = KEY) -> str:
    """The sentence of an error."""
    said = ask(rig, query, key)
    assert said["data"] is None
    return said["errors"][0]["message"]


def credentials(rig: Rig, key: str = KEY) -> dict[str, str]:
    return ask(rig, CREDENTIALS, key)["data"]["model_s3_upload_credentials"]


def bucket(given: dict[str, str]) -> Any:
    """boto3 with these credentials, as truss makes it."""
    more = {name: value for name, value in given.items() if not name.startswith("s3_")}
    return boto3.resource("s3", config=ONCE, **more)  # type: ignore[reportUnknownMemberType]


def upload(given: dict[str, str], archive: bytes) -> None:
    found = bucket(given).Object(given["s3_bucket"], given["s3_key"])
    found.upload_fileobj(io.BytesIO(archive))


def refusal(given: dict[str, str], archive: bytes) -> str:
    try:
        upload(given, archive)
    except (ClientError, S3UploadFailedError) as error:
        return str(error)
    return "it was taken"


def tar(**files: bytes | tarfile.TarInfo) -> bytes:
    """An archive of a package with more files; '__' stands for a slash."""
    out = io.BytesIO()
    known = {"config.yaml": b"{}", "model__model.py": MODEL.encode(), **files}
    with tarfile.open(fileobj=out, mode="w:") as archive:
        for name, content in known.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def pushed(rig: Rig, name: str, archive: bytes, **more: str) -> Any:
    given = credentials(rig)
    upload(given, archive)
    said = " ".join(f"{argument}: {value}" for argument, value in more.items())
    return ask(rig, CREATE.format(name=name, key=given["s3_key"], more=said))


def newest(rig: Rig) -> dict[str, str]:
    """The newest entry of the audit log."""
    plain = ApiKeys(rig.settings).create(scope="admin")
    headers = {"Authorization": f"Api-Key {plain}"}
    return rig.http.get("/v1/audit?limit=1", headers=headers).json()["entries"][0]


def test_a_package_of_many_parts_is_stored_as_it_was_sent(rig: Rig) -> None:
    archive = tar(data__weights=Random(1).randbytes(20 << 20))
    made = pushed(rig, "parts", archive, environment_name='"staging"')
    version = made["data"]["create_model_from_truss"]["model_version"]
    model = version["oracle"]["id"]
    assert version["oracle"]["hostname"] == f"{address(rig)}/models/{model}"
    entry = newest(rig)
    assert (entry["action"], entry["result"]) == ("deployment.push", "done")
    assert entry["target"] == f"parts/{version['id']} to staging" and entry["actor"] == key_id(KEY)
    # what truss does not list is the same package again
    again = pushed(rig, "parts", archive)["data"]["create_model_from_truss"]["model_version"]
    assert again["id"] == version["id"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"link": link("model/../../x")}, "is a link"),
        ({"..__up": b"1"}, "../up leads out of the package."),
        ({"__etc__passwd": b"1"}, "/etc/passwd is an absolute name"),
        ({"model": b"1"}, "model is a file and a folder in the archive."),
        ({"link": link("a" * 8), "big": bytes(9 << 20)}, "aaaaaaaa is a link"),
    ],
)
def test_hostile_archives_are_refused_with_a_sentence(
    rig: Rig, files: dict[str, bytes | tarfile.TarInfo], said: str
) -> None:
    given = credentials(rig)
    assert said in refusal(given, tar(**files))
    entry = newest(rig)
    assert entry["action"] == "package.upload" and said in entry["result"]
    asked = CREATE.format(name="hostile", key=given["s3_key"], more="")
    assert error(rig, asked) == "No package was uploaded under this s3_key; push again."
    assert said in refusal(given, tar())  # a client that asks again is told the same


def test_only_who_was_given_the_credentials_uploads_with_them(rig: Rig) -> None:
    given, other = credentials(rig), credentials(rig)
    wrong: list[tuple[dict[str, str], str]] = [
        (given | {"aws_secret_access_key": "x" * 43}, "SignatureDoesNotMatch"),
        (given | {"aws_session_token": other["aws_session_token"]}, "SignatureDoesNotMatch"),
        (given | {"aws_access_key_id": "0" * 32}, "InvalidAccessKeyId"),
        (given | {"s3_key": other["s3_key"]}, "AccessDenied"),
        (given | {"s3_bucket": "another_bucket"}, "AccessDenied"),
        (given | {"s3_key": "truss/../../etc/passwd"}, "AccessDenied"),
    ]
    for credential, code in wrong:
        assert code in refusal(credential, tar())
    assert rig.http.put("/truss/s3/a/b", content=b"1").status_code == 403
    key = ApiKeys(rig.settings).create(scope="deploy")
    asked = CREATE.format(name="stolen", key=given["s3_key"], more="")
    upload(given, tar())
    assert "No package was uploaded" in error(rig, asked, key)


def test_a_revoked_key_uploads_nothing_more(rig: Rig) -> None:
    keys = ApiKeys(rig.settings)
    plain = keys.create(scope="deploy")
    given = credentials(rig, plain)
    keys.revoke(key_id(plain))
    wait_until(lambda: "not valid any more" in refusal(given, tar()), 10, "the key is valid")


def test_content_that_is_not_what_was_signed_is_refused(rig: Rig) -> None:
    given, archive = credentials(rig), tar()
    signed = _signed(rig, given, archive)
    changed = archive.replace(b"return 1", b"return 2")
    answer = rig.http.put(signed.url, content=changed, headers=dict(signed.headers))
    assert answer.status_code == 400 and "XAmzContentSHA256Mismatch" in answer.text
    late = _signed(rig, given, archive)
    late.headers.replace_header("X-Amz-Date", "20200101T000000Z")
    bare = _signed(rig, given, archive)
    del bare.headers["X-Amz-Security-Token"]  # although the signature names it
    for odd in (late, bare):
        answer = rig.http.put(odd.url, content=archive, headers=dict(odd.headers))
        assert answer.status_code == 403 and "SignatureDoesNotMatch" in answer.text
    answer = rig.http.put(signed.url, content=archive, headers=dict(signed.headers))
    assert answer.status_code == 200, answer.text


def test_content_in_chunks_of_its_own_is_taken_as_over_tls(rig: Rig) -> None:
    archive = tar()
    framed = b"".join(
        b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (archive[:1000], archive[1000:])
    )
    for checksum, status in ((crc32(archive), 200), (crc32(archive) ^ 1, 400)):
        given = credentials(rig)
        signed = _signed(rig, given, b"", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        trailer = b64encode(checksum.to_bytes(4)).decode()
        body = framed + f"0\r\nx-amz-checksum-crc32:{trailer}\r\n\r\n".encode()
        answer = rig.http.put(signed.url, content=body, headers=dict(signed.headers))
        assert answer.status_code == status, answer.text


def _signed(rig: Rig, given: dict[str, str], body: bytes, payload: str = "") -> Any:
    url = f"{address(rig)}/truss/s3/{given['s3_bucket']}/{given['s3_key']}"
    request: Any = AWSRequest("PUT", url, data=body)
    if payload:
        request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    S3SigV4Auth(Credentials(*(given[name] for name in names)), "s3", "us-east-1").add_auth(request)
    if payload:
        assert request.headers["X-Amz-Content-SHA256"] == payload
    return request


def test_what_would_have_no_effect_is_refused(rig: Rig) -> None:
    for more, said in {
        'version_name: "x"': "Kingpost's deployments have no names; push without --deployment-name.",
        "deploy_timeout_minutes: 10": "push without --deploy-timeout-minutes.",
        'user_deploy_metadata: "{}"': "Kingpost's deployments have no labels; push without --labels.",
        'environment_name: "development"': "The environment development follows a folder",
        'environment_name: "Not A Name"': "An environment's name has",
    }.items():
        given = credentials(rig)
        upload(given, tar())
        assert said in error(rig, CREATE.format(name="odd", key=given["s3_key"], more=more)), more


def test_an_unknown_operation_is_refused_with_what_there_is(rig: Rig) -> None:
    for query, said in {
        "{ training_jobs { id } }": "Kingpost has no query 'training_jobs'; it knows teams,",
        "mutation { drop_all { id } }": "Kingpost has no mutation 'drop_all'; it knows create_model",
        "subscription { a }": "it knows none.",
        "{ teams { id password } }": "teams has no field 'password' here.",
        "query A { teams { id } } query B { teams { id } }": "Send one query or mutation.",
        "{ teams { ...all } } fragment all on Team { id }": "Send one query or mutation.",
        "{ teams { ... on Team { id } } }": "Fragments are not supported.",
        "{ teams { id }": "The query cannot be read: Syntax Error: Expected Name, found <EOF>.",
        "{a" * 9000: "The query",
        "{ " + "teams { id } " * 21 + "}": "Ask for 20 fields at most.",
        '{ model(id: "zzzzzzzz") { id } }': "zzzzzzzz",
        "{ model(id: 5) { id } }": "The argument id must be a string.",
        "{ model { id } }": "The argument name is missing.",
        'mutation { create_model_from_truss(name: "a", s3_key: "../a") { id } }': "push again.",
    }.items():
        assert said in error(rig, query), query


def test_models_are_listed_with_their_versions(rig: Rig) -> None:
    made = pushed(rig, "listed", tar())["data"]["create_model_from_truss"]["model_version"]
    model = made["oracle"]["id"]
    found = ask(rig, "{ models(all: true) { id, name team { id name } } teams { id default } }")
    listed = {known["name"]: known["id"] for known in found["data"]["models"]}
    assert listed["listed"] == model and found["data"]["teams"] == [
        {"id": "kingpost", "default": True}
    ]
    who = ask(rig, "query{organization{workspace_name}user{email}}")["data"]
    assert who["user"]["email"].endswith(f"({key_id(KEY)})")
    asked = f"""{{ m: model(id: "{model}") {{ id primary_version {{ id is_draft }} versions {{
        id semver truss_hash is_draft is_primary current_model_deployment_status {{ status }} }} }} }}"""
    known = ask(rig, asked)["data"]["m"]
    assert known["primary_version"] == {"id": made["id"], "is_draft": False}
    (version,) = known["versions"]
    assert (version["is_primary"], version["id"]) == (True, made["id"])
    assert version["current_model_deployment_status"]["status"].isupper()


DRAFT = """mutation {{ deploy_draft_truss(name: "drafted" s3_key: "{key}" user_deploy_metadata: null)
    {{ model_version {{ id is_draft oracle {{ id }} }} }} }}"""
STATE = """{{ truss_watch_state(id: "{model}") {{ is_container_built_from_push
    django_patch_state {{ current_hash current_signature }} }} }}"""
STAGE = """mutation {{ stage_patch_for_draft_truss(id: "{model}" patch: "{patch}")
    {{ version_id succeeded needs_full_deploy error }} }}"""


def test_a_draft_is_patched_file_by_file(rig: Rig) -> None:
    given = credentials(rig)
    upload(given, tar(data__big=b"1" * 5000, packages__old=b"1"))
    made = ask(rig, DRAFT.format(key=given["s3_key"]))["data"]["deploy_draft_truss"]
    first = made["model_version"]
    model = first["oracle"]["id"]
    assert first["is_draft"] is True
    state = ask(rig, STATE.format(model=model))["data"]["truss_watch_state"]["django_patch_state"]
    signature = json.loads(state["current_signature"])
    assert signature["config"] == "{}" and signature["requirements_file_requirements"] == []
    assert signature["content_hashes_by_path"] == {
        "config.yaml": blake3(b"{}").hexdigest(),
        "model": None,
        "model/model.py": blake3(MODEL.encode()).hexdigest(),
        "data": None,
        "data/big": blake3(b"1" * 5000).hexdigest(),
        "packages": None,
        "packages/old": blake3(b"1").hexdigest(),
    }

    def stage(*operations: Any, before: str = "", config: str = "{}") -> Any:
        patch = {
            "prev_hash": before or state["current_hash"],
            "next_signature": {"config": config},
            "patch_ops": [{"type": kind, "body": body} for kind, body in operations],
        }
        encoded = b64encode(json.dumps(patch).encode()).decode()
        asked = STAGE.format(model=model, patch=encoded)
        return ask(rig, asked)["data"]["stage_patch_for_draft_truss"]

    def file(path: str, **more: str) -> dict[str, Any]:
        return {"action": "UPDATE", "path": path, "content": None, **more}

    for operation, said in [
        (("model_code", file("../../up", content="")), "model/../../up leads out of the package."),
        (("model_code", file("/etc/passwd", content="")), "is not a valid name of a file."),
        (("model_code", file("model.py", content="class Model(")), "model.py"),
        (("model_code", file("x", content_bytes="?")), "has a file that cannot be read."),
    ]:
        refused = stage(operation)
        assert not refused["succeeded"] and said in refused["error"], refused
    assert stage(("data", file("big", content="")))["needs_full_deploy"] is True
    assert "Somebody else changed" in stage(before="0" * 64)["error"]
    done = stage(
        ("package", {"action": "REMOVE", "path": "old", "content": None}),
        ("package", file("new", content_bytes=b64encode(b"\xff").decode())),
        ("config", {"config": {}}),
        config="model_metadata: {a: b}",
    )
    assert done["succeeded"] and done["version_id"] != first["id"], done
    state = ask(rig, STATE.format(model=model))["data"]["truss_watch_state"]["django_patch_state"]
    signature = json.loads(state["current_signature"])
    hashes = signature["content_hashes_by_path"]
    assert set(hashes) >= {"packages/new", "data/big"} and "packages/old" not in hashes
    assert signature["config"] == "model_metadata: {a: b}"
    versions = ask(rig, f'{{ model(id: "{model}") {{ versions {{ id is_draft }} }} }}')["data"]
    drafts = [known["id"] for known in versions["model"]["versions"] if known["is_draft"]]
    assert drafts == [done["version_id"]]


def test_the_page_lists_every_operation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "truss.md").read_text()
    listed = {
        (kind, name)
        for kind, names in re.findall(r"^\| (query|mutation) \| (.*) \|$", page, re.M)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert listed == set(ANSWERS)


TALKING = """class Model:
    def predict(self, given):
        print("given", given)
        return 1 / given
"""


def test_the_logs_of_a_deployment_are_those_of_baseten_s_route(rig: Rig) -> None:
    made = pushed(rig, "talking", tar(**{"model__model.py": TALKING.encode()}))
    version = made["data"]["create_model_from_truss"]["model_version"]
    for given in (7, 0):
        rig.http.post("/models/talking/production/predict", json=given)
    path = f"/v1/models/{version['oracle']['id']}/deployments/{version['id']}/logs"

    def lines(**asked: Any) -> list[str]:
        answer = rig.http.post(path, json=asked)
        assert answer.status_code == 200, answer.text
        return [line["message"] for line in answer.json()["logs"]]

    wait_until(lambda: any("ZeroDivisionError" in line for line in lines()), 20, "no traceback")
    found = rig.http.post(path, json={"includes": ["given"]}).json()["logs"]
    said = [line["message"] for line in found if line["message"].startswith("given")]
    assert said == ["given 0", "given 7"]  # the latest first
    assert abs(int(found[0]["timestamp"]) / 1e9 - datetime.now(UTC).timestamp()) < 600
    assert "given 7" not in lines(min_level="ERROR") and "given 7" not in lines(excludes=["7"])
    assert lines(end_epoch_millis=1) == [] == lines(replica="another")
    for asked, sentence in (
        ({"search_pattern": "(a+)+"}, "regular"),
        ({"min_level": "loud"}, "one of"),
    ):
        answer = rig.http.post(path, json=asked)
        assert answer.status_code == 400 and sentence in answer.json()["error"]
