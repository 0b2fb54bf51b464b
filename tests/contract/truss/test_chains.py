"""Chains as `truss chains push` deploys them: all chainlets or none, apart from those of the push before, and deleted with their chain."""

from typing import Any

import pytest

from tests.contract.deployments.rig import Rig
from tests.contract.truss.test_transfers import ask, credentials, error, newest, tar, upload

pytestmark = pytest.mark.stack

DEPLOY = """mutation ($trussUserEnv: String) {{ deploy_chain_atomic({more}
    entrypoint: {entrypoint} dependencies: [{dependencies}] truss_user_env: $trussUserEnv
) {{ chain_deployment {{ id chain {{ id hostname }} }} }} }}"""
CHAINLETS = """{{ chain_deployment(id: "{id}") {{ chain {{ id }} chainlets {{ id name is_entrypoint
    oracle {{ id name hostname }} oracle_version {{ id is_draft current_model_deployment_status {{ status }} }} }} }} }}"""


def sent(rig: Rig, name: str, model: str, model_py: str = "") -> str:
    """A chainlet that was uploaded, as an argument."""
    given = credentials(rig)
    more = {"model__model.py": model_py.encode()} if model_py else {}
    upload(given, tar(note=model.encode(), **more))
    oracle = f'model_name: "{model}", s3_key: "{given["s3_key"]}", encoded_config_str: "e30="'
    return f'{{ name: "{name}", oracle: {{ {oracle} }} }}'


def deploy(more: str, entrypoint: str, *dependencies: str) -> str:
    """The mutation."""
    return DEPLOY.format(entrypoint=entrypoint, dependencies=", ".join(dependencies), more=more)


def deployed(rig: Rig, query: str) -> Any:
    said = ask(rig, query)
    assert said["data"], said
    return said["data"]["deploy_chain_atomic"]["chain_deployment"]


def test_a_chain_has_chainlets_of_its_own_and_takes_them_along(rig: Rig) -> None:
    more = 'chain_name: "duo" is_draft: false'
    first = deployed(rig, deploy(more, sent(rig, "Duo", "Duo-1"), sent(rig, "Low", "Low-1")))
    chain = first["chain"]["id"]
    assert first["chain"]["hostname"].endswith(f"/chains/{chain}")
    entry = newest(rig)
    assert (entry["action"], entry["target"]) == ("deployment.push", f"duo/{first['id']}")
    more = f'chain_id: "{chain}" environment: "staging" is_draft: false'
    second = deployed(rig, deploy(more, sent(rig, "Duo", "Duo-2"), sent(rig, "Low", "Low-2")))
    assert second["chain"] == first["chain"] and second["id"] != first["id"]
    assert newest(rig)["target"] == f"duo/{second['id']} to staging"
    models: list[str] = []
    for made, low in ((first, "duo.Low-1"), (second, "duo.Low-2")):
        found = ask(rig, CHAINLETS.format(id=made["id"]))["data"]["chain_deployment"]
        assert found["chain"]["id"] == chain
        entrypoint, other = found["chainlets"]
        assert (entrypoint["name"], entrypoint["is_entrypoint"]) == ("duo", True)
        assert (other["name"], other["is_entrypoint"]) == ("Low", False)
        assert other["oracle"]["name"] == low
        models.append(other["oracle"]["id"])
    listed = ask(rig, "{ chains(all: true) { id name team { id } } }")["data"]["chains"]
    assert {"id": chain, "name": "duo", "team": {"id": "kingpost"}} in listed
    asked = f'{{ chain(id: "{chain}") {{ deployments {{ id created is_draft }} }} }}'
    ids = [known["id"] for known in ask(rig, asked)["data"]["chain"]["deployments"]]
    assert ids == [first["id"], second["id"]]
    refused = rig.http.delete(f"/v1/models/{models[0]}")
    assert refused.status_code == 409
    assert refused.json()["error"] == "duo.Low-1 is a chainlet; delete its chain."
    gone = rig.http.delete(f"/v1/models/{chain}/deployments/{second['id']}?force=true")
    assert gone.status_code == 200, gone.text
    assert [rig.http.get(f"/v1/models/{model}").status_code for model in models] == [200, 404]
    assert rig.http.delete(f"/v1/models/{chain}?force=true").status_code == 200
    assert rig.http.get(f"/v1/models/{models[0]}").status_code == 404


def test_a_chain_is_deployed_as_a_whole_or_not_at_all(rig: Rig) -> None:
    good, bad = sent(rig, "Good", "Good-1"), sent(rig, "Bad", "Bad-1", "class Model(")
    whole = 'chain_name: "whole" '
    for query, said in [
        (deploy(whole, good, bad), "model.py"),
        (deploy(whole, good, sent(rig, "Good", "Good-2")), "names of their own"),
        (deploy('chain_name: "../up"', good), "Names of chains and chainlets have"),
        (deploy(whole + "is_draft: true", good), "no drafts of chains"),
        (deploy(whole + 'deployment_name: "a"', good), "--deployment-name"),
        (deploy(whole + 'environment: "A B"', good), "environment's name"),
        (deploy(whole, "{ name: 5 }"), "A chainlet has a name"),
        (deploy(whole, good.replace("truss/", "../")), "push again"),
    ]:
        assert said in error(rig, query), query
    assert rig.http.get("/v1/models/whole").status_code == 404
    deployed(rig, deploy(whole, good))
    given = credentials(rig)
    upload(given, tar())
    taken = f'name: "whole" s3_key: "{given["s3_key"]}"'
    asked = f"mutation {{ create_model_from_truss({taken}) {{ model_version {{ id }} }} }}"
    assert error(rig, asked) == "There is a chain with the name whole; use another name."
