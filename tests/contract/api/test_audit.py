"""Every route that changes something makes an entry in the audit log; who may read it, and how."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tasks.api_keys import key_id
from tests.contract.api.all_routes import MISSING, Route, every_route
from tests.contract.api.conftest import Live

CHANGING = ("POST", "PUT", "PATCH", "DELETE")
# These change nothing of the service: they run models, or bring pieces of a package, whose entry is made when it is stored
# or refused (test_packages.py), or files for the key's own requests, or may be a query (tests/contract/truss has the mutations).
NO_CHANGES = (
    r"/v1/packages(/uploads/\{upload_id\})?",
    r"/v1/uploads(/\{upload_id\})?",
    r"/v1/files(/file-\{file_id\})?|/v1/(messages/)?batches",  # the key's own, like its requests
    r"/graphql/?",
    r"/v1/models/\{model\}/deployments/\{which\}/logs",
    r"/(production|development|environments/\{environment\}|deployment/\{deployment_id\})/.+",
    r"/v1/(chat/completions|completions|embeddings|messages|responses|rerank|images/\w+|audio/\w+)",
)
Client = tuple[httpx.Client, str]  # and the id of its key


@pytest.fixture(scope="module")
def admin(live: Live) -> Iterator[Client]:
    key = live.new_key(scope="admin", name="the auditor")
    with live.client(key) as client:
        yield client, key_id(key)


def changing() -> list[Route]:
    """Every route that must make an entry."""
    return [
        route
        for route in every_route()
        if route.method in CHANGING
        and not any(re.fullmatch(pattern, route.template) for pattern in NO_CHANGES)
    ]


def newest(client: httpx.Client, **query: Any) -> dict[str, Any]:
    entries = client.get("/v1/audit", params={"limit": 1, **query}).json()["entries"]
    return entries[0] if entries else {"id": None}


def test_the_exceptions_are_routes_and_few() -> None:
    templates = {route.template for route in every_route() if route.method in CHANGING}
    for pattern in NO_CHANGES:
        assert any(re.fullmatch(pattern, template) for template in templates), pattern
    assert len(changing()) >= 9


@pytest.mark.parametrize("route", changing(), ids=str)
def test_a_route_that_changes_something_makes_an_entry(admin: Client, route: Route) -> None:
    client, identity = admin
    before = newest(client)["id"]
    answer = client.request(route.method, route.path, json={})
    entry = newest(client)
    assert entry["id"] != before, f"{route} made no entry: see api/audit.py"
    assert (entry["actor"], entry["name"]) == (identity, "the auditor")
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", entry["action"])
    expected = "done" if answer.is_success else f"{answer.status_code}: "
    assert entry["result"].startswith(expected), (entry, answer.text)
    named = re.findall(f"zzzzzzzz|{MISSING}", route.path)
    assert named[:1] == re.findall(f"zzzzzzzz|{MISSING}", entry["target"])[:1]


def test_a_key_that_changes_nothing_cannot_fill_the_log(live: Live, admin: Client) -> None:
    client, _ = admin
    before = newest(client)["id"]
    with live.client(live.new_key(scope="inference")) as plain:
        refused = plain.post("/v1/webhooks/test", json={"url": "https://127.0.0.1/"})
        assert refused.status_code in (200, 400)
        for route in changing():
            plain.request(route.method, route.path, json={})
    assert newest(client)["id"] == before


def test_an_entry_says_who_what_when_on_what_and_with_which_result(
    live: Live, admin: Client
) -> None:
    deployment = live.deployment("echo")
    path = f"/v1/models/echo/deployments/{deployment.id}/autoscaling_settings"
    began = datetime.now(UTC) - timedelta(seconds=1)
    plain = live.new_key(scope="deploy", name="CI")
    with live.client(plain) as ci:
        assert ci.patch(path, json={"max_replica": 3}).json()["status"] == "ACCEPTED"
        assert ci.patch(path, json={"min_replica": 9}).status_code == 400
    changed, refused = reversed(
        admin[0].get("/v1/audit", params={"actor": key_id(plain)}).json()["entries"]
    )
    assert changed["action"] == refused["action"] == "deployment.configure"
    assert (changed["name"], changed["result"]) == ("CI", "done")
    assert changed["target"] == f"echo/{deployment.id} max_replica=3"
    assert refused["result"].startswith("400: ") and "min_replica" in refused["result"]
    assert began <= datetime.fromisoformat(changed["at"]) <= datetime.now(UTC)


def test_the_log_is_filtered_paged_and_exported(live: Live, admin: Client) -> None:
    client, _ = admin
    keys = [live.new_key(scope="deploy", name=name) for name in ("one", "two")]
    for number in range(5):
        with live.client(keys[number % 2]) as deployer:
            deployer.post("/v1/models/echo/environments", json={"name": f"page-{number}"})
            deployer.delete(f"/v1/models/echo/environments/page-{number}")
    query: dict[str, Any] = {"action": "environment", "actor": key_id(keys[0]), "limit": 4}
    pages: list[list[dict[str, Any]]] = []
    while query.get("cursor", "") is not None:
        page = client.get("/v1/audit", params=query).json()
        pages.append(page["entries"])
        query["cursor"] = page["cursor"]
    whole = [entry for page in pages for entry in page]
    assert [len(page) for page in pages] == [4, 2]
    targets = [f"echo/page-{number}" for number in (4, 4, 2, 2, 0, 0)]
    assert [entry["target"] for entry in whole] == targets
    kinds = ["environment.delete", "environment.create"]
    assert [entry["action"] for entry in whole] == kinds * 3
    query = {"actor": key_id(keys[0])}
    for ask in ({"params": query | {"format": "jsonl"}}, {"params": query, "headers": LINES}):
        answer = client.get("/v1/audit", **ask)  # type: ignore[arg-type]
        assert answer.headers["content-type"] == LINES["Accept"]
        assert [json.loads(line) for line in answer.text.splitlines()] == whole
    between = query | {"since": whole[3]["at"], "until": whole[2]["at"]}
    found = client.get("/v1/audit", params=between).json()["entries"]
    assert whole[2] in found and whole[3] in found and whole[0] not in found[1:]
    assert newest(client, action="environment.delete", actor=key_id(keys[1]))["target"] == (
        "echo/page-3"
    )


LINES = {"Accept": "application/x-ndjson"}


def test_what_cannot_be_asked_is_refused_with_a_sentence(admin: Client) -> None:
    for query in (
        {"cursor": "(1-1"},
        {"cursor": "0-0"},
        {"limit": 0},
        {"since": "yesterday"},
        {"until": 0.5},
        {"format": "xml"},
    ):
        answer = admin[0].get("/v1/audit", params=query)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "client_error")
        assert next(iter(query)) in answer.json()["error"]
