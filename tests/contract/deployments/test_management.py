"""The management client of the `baseten` package against our subset of its API."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from baseten.client import ManagementClient
from baseten.client import managementapi as api

from cli.log_lines import LogFolder, Wanted
from deployments.registry import verbs as registry
from tasks.access.audit import read_audit
from tests.conditions import wait_until
from tests.contract.deployments.rig import KEY, Rig

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        rig.node()
        yield rig


@pytest.fixture(scope="module")
def client(rig: Rig) -> Iterator[api.ApiClient]:
    url = f"http://127.0.0.1:{rig.port}"
    with ManagementClient(api_key=KEY, base_url_override=url) as client:
        yield client.api


def test_models_and_deployments_are_listed(rig: Rig, client: api.ApiClient) -> None:
    pushed = rig.push("listed", "one")
    (entry,) = rig.store.run(read_audit(1, action="deployment.push")).entries
    assert (entry.target, entry.result) == (f"listed/{pushed.id}", "done")
    rig.until_ready(pushed)
    (model,) = [entry for entry in client.get_models().models if entry.name == "listed"]
    assert (model.id, model.production_deployment_id) == (pushed.model_id, pushed.id)
    assert client.get_models_model_id(model_id=model.id) == model
    (deployment,) = client.get_models_deployments(model_id=model.id).deployments
    assert (deployment.id, deployment.status, deployment.is_production) == (
        pushed.id,
        "ACTIVE",
        True,
    )
    assert deployment.active_replica_count == 1
    by_id = client.get_models_deployments_deployment_id(model_id=model.id, deployment_id=pushed.id)
    assert by_id == deployment == client.get_models_deployments_production(model_id=model.id)


def test_autoscaling_settings_change_and_unknown_ones_are_refused(
    rig: Rig, client: api.ApiClient
) -> None:
    pushed = rig.push("scaled", "one")
    change = api.UpdateAutoscalingSettings(min_replica=1, max_replica=3, scale_down_delay=60)
    for expected in ("ACCEPTED", "UNCHANGED"):
        answer = client.patch_models_deployments_production_autoscaling_settings(
            model_id=pushed.model_id, request=change
        )
        assert answer.status == expected
    knobs = client.get_models_deployments_production(model_id="scaled").autoscaling_settings
    assert knobs and (knobs.min_replica, knobs.max_replica, knobs.scale_down_delay) == (1, 3, 60)
    url = "/v1/models/scaled/deployments/production/autoscaling_settings"
    for wrong in ({"colour": 1}, {"min_replica": 9}, {"max_scale_down_rate": 51}):
        refused = rig.http.patch(url, json=wrong)
        assert (refused.status_code, refused.json()["error_code"]) == (400, "client_error")
        assert next(iter(wrong)) in refused.json()["error"]


def test_an_environment_is_made_promoted_to_changed_and_deleted(
    rig: Rig, client: api.ApiClient
) -> None:
    first, second = rig.push("envs", "one"), rig.push("envs", "two")
    model_id = first.model_id
    made = client.post_models_environments(
        model_id=model_id, request=api.CreateEnvironmentRequest(name="staging")
    )
    assert (made.name, made.current_deployment) == ("staging", None)
    empty = rig.http.post("/models/envs/environments/staging/predict", json=1)
    assert empty.status_code == 404
    client.post_models_environments_promote(
        model_id=model_id,
        env_name="staging",
        request=api.PromoteToEnvironmentRequest(deployment_id=second.id),
    )
    found = client.get_models_environments_env_name(model_id=model_id, env_name="staging")
    assert found.current_deployment and found.current_deployment.id == second.id
    assert rig.http.post("/models/envs/environments/staging/predict", json=1).json() == "two"
    names = [
        environment.name
        for environment in client.get_models_environments(model_id=model_id).environments
    ]
    assert names == ["production", "staging"]
    client.patch_models_environments(
        model_id=model_id,
        env_name="staging",
        request=api.UpdateEnvironmentRequest(
            autoscaling_settings=api.UpdateAutoscalingSettings(max_replica=2)
        ),
    )
    assert rig.store.run(registry.deployment(second.id)).autoscaling.max_replica == 2
    client.delete_models_environments(model_id=model_id, env_name="staging")
    wait_until(
        lambda: (
            rig.http.post("/models/envs/environments/staging/predict", json=1).status_code == 404
        )
    )


def test_a_promotion_shows_its_candidate_until_it_is_warm(rig: Rig, client: api.ApiClient) -> None:
    first, second = rig.push("moving", "one"), rig.push("moving", "two")
    rig.until_ready(first)
    client.post_models_deployments_promote(
        model_id="moving", deployment_id=second.id, request=api.PromoteRequest()
    )

    def production() -> api.Environment:
        return client.get_models_environments_env_name(model_id="moving", env_name="production")

    def switched() -> bool:
        now = production()
        if now.in_progress_promotion:
            assert now.candidate_deployment and now.candidate_deployment.id == second.id
        return bool(now.current_deployment and now.current_deployment.id == second.id)

    wait_until(switched, 30)
    assert production().in_progress_promotion is None


def test_deactivate_activate_and_retry(rig: Rig, client: api.ApiClient) -> None:
    pushed = rig.push("switch", "one")
    rig.until_ready(pushed)
    ids = {"model_id": pushed.model_id, "deployment_id": pushed.id}
    assert client.post_models_deployments_deactivate(**ids).no_op is False
    assert client.post_models_deployments_deactivate(**ids).no_op is True
    wait_until(lambda: client.get_models_deployments_deployment_id(**ids).status == "INACTIVE", 30)
    assert client.post_models_deployments_activate(**ids).no_op is False
    rig.until_ready(pushed)
    retried = client.post_models_deployments_retry(**ids)
    assert (retried.retried, retried.deployment.status) == (False, "ACTIVE")


def test_only_what_exists_is_managed(rig: Rig) -> None:
    assert rig.http.get("/v1/models/nobody").status_code == 404
    for name in ("production", "Upper", "-x", "a" * 41):
        refused = rig.http.post("/v1/models/listed/environments", json={"name": name})
        assert refused.status_code == 400
    assert rig.http.delete("/v1/models/listed/environments/production").status_code == 400


def test_what_is_not_honoured_is_said_at_the_push_and_stays_with_the_deployment(rig: Rig) -> None:
    folder = rig.package("modest", "one")
    (folder / "config.yaml").write_text(
        "model_name: modest\nsystem_packages: [ffmpeg]\nexternal_data: [{url: 'https://x', local_data_path: y}]\n"
    )
    refused = rig.kingpost("push", str(folder), code=1)
    assert "external_data is not downloaded by Kingpost" in refused
    assert not [model for model in rig.store.run(registry.models()) if model.name == "modest"]
    limit = "system_packages are not installed; install them on the machines of the nodes."
    said = rig.kingpost("push", str(folder), "--allow-unsupported", "external_data")
    assert f"modest: {limit}" in said
    assert limit in rig.kingpost("deployments", "modest")
    assert limit.split(";")[0] in rig.kingpost("models")
    shown = rig.http.get("/v1/models/modest/deployments/production").json()["warnings"]
    assert shown[0] == limit
    assert shown[1].startswith("external_data is not downloaded")
    assert shown[1].endswith("(allowed by --allow-unsupported)")


def test_a_name_with_a_slash_works_end_to_end_and_no_name_becomes_a_path(rig: Rig) -> None:
    """Pushed with `--name`, loaded, called by every address, found in the logs; files are named by ids."""
    folder = rig.package("plain", "one")
    before = set(rig.folder.parent.rglob("*.sock"))
    for name in ("zai-org/GLM-5", "../../../x"):
        rig.kingpost("push", str(folder), "--name", name)
        deployment = next(
            deployment
            for deployment in rig.store.run(registry.deployments())
            if deployment.model_name == name
        )
        rig.until_ready(deployment)
        encoded = quote(name, safe="")
        for path in (f"/models/{encoded}", f"/models/{deployment.model_id}"):
            assert rig.http.post(f"{path}/production/predict", json={}).json() == "one"
        body = {"model": name, "messages": []}
        assert (
            "has no method `chat_completions`"
            in rig.http.post("/v1/chat/completions", json=body).text
        )
        request_id = rig.submit(encoded)
        assert rig.result(request_id) == "one"
        logs = rig.folder / "node" / "logs"
        assert (logs / f"replica-{deployment.id}.log").exists()
        assert any(line.request_id for line in LogFolder(logs, Wanted(name)).past(500))
    assert rig.http.post("/models/zai-org/GLM-5/production/predict", json={}).json() == "one"
    fresh = set(rig.folder.parent.rglob("*.sock")) - before
    assert all(rig.folder / "node" / "run" == path.parent for path in fresh)
    long = rig.kingpost("push", str(folder), "--name", "x" * 270, code=1)
    assert "A model's name is printable text of 1 to 200 characters" in long
