"""The management API's answers, in Baseten's words (its management OpenAPI); what has no meaning here is null."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deployments.registry.records import Deployment, Environment, Model
from deployments.registry.statuses import DeploymentStatus
from deployments.registry.verbs import ENVIRONMENT_NAME


class AutoscalingBody(BaseModel):
    """PATCH .../autoscaling_settings: any of these; unknown ones are refused.

    `autoscaling_window` and `scale_down_delay` are in seconds, `max_scale_down_rate` in percent. Null leaves a setting as it is.
    """

    model_config = ConfigDict(extra="forbid")

    min_replica: Annotated[int, Field(ge=0, le=1000)] | None = None
    max_replica: Annotated[int, Field(ge=1, le=1000)] | None = None
    autoscaling_window: Annotated[int, Field(ge=10, le=3600)] | None = None
    scale_down_delay: Annotated[int, Field(ge=0, le=3600)] | None = None
    concurrency_target: Annotated[int, Field(ge=1, le=10_000)] | None = None
    target_utilization_percentage: Annotated[int, Field(ge=1, le=100)] | None = None
    max_scale_down_rate: Annotated[int, Field(ge=1, le=50)] | None = None

    def changes(self) -> dict[str, object]:
        """The settings that were given, without nulls."""
        return self.model_dump(exclude_none=True)


class EnvironmentBody(BaseModel):
    """PATCH .../environments/{name}."""

    model_config = ConfigDict(extra="forbid")

    autoscaling_settings: AutoscalingBody | None = None


class NewEnvironmentBody(EnvironmentBody):
    """POST .../environments."""

    name: Annotated[str, Field(pattern=ENVIRONMENT_NAME)]


class PromoteBody(BaseModel):
    """POST .../environments/{name}/promote; Baseten's other settings of a promotion are ignored."""

    deployment_id: str


class AutoscalingSettings(BaseModel):
    """The autoscaling settings of a deployment, in the units of AutoscalingBody."""

    min_replica: int
    max_replica: int
    autoscaling_window: int
    scale_down_delay: int
    concurrency_target: int
    target_utilization_percentage: int
    max_scale_down_rate: int


class RequestBackpressure(BaseModel):
    """What happens when all replicas are busy: requests wait."""

    policy: str = "QUEUE_ON_FULL"


class DeploymentView(BaseModel):
    """One deployment. `status_reason`, `warnings` and what stands below `request_backpressure_settings` are ours."""

    id: str
    created_at: datetime
    name: str
    model_id: str
    is_production: bool
    is_development: bool
    status: str
    status_reason: str | None
    active_replica_count: int
    autoscaling_settings: AutoscalingSettings
    instance_type_name: str | None = None
    environment: str | None
    labels: dict[str, str] | None = None
    # What of its config.yaml is not honoured here; after a promotion also why its last load failed.
    warnings: list[str] = []
    request_backpressure_settings: RequestBackpressure = RequestBackpressure()
    wanted_replica_count: int
    slots: int  # calls that can run at once now
    environments: list[str]  # that point at it
    candidate_for: list[str]  # environments that will, once it is warm
    retired: bool  # an environment has left it
    paused: bool  # its queued requests are held back

    @classmethod
    def of(cls, deployment: Deployment, model: Model, status: DeploymentStatus) -> "DeploymentView":
        """From the registry and the live view."""
        names = [n for n, e in model.environments.items() if e.deployment_id == deployment.id]
        soon = [n for n, e in model.environments.items() if e.candidate == deployment.id]
        return cls(
            id=deployment.id,
            created_at=_time(deployment.created),
            name=deployment.content_hash[:12],
            model_id=model.id,
            is_production="production" in names,
            is_development="development" in names,
            status=status.name,
            status_reason=status.reason or None,
            active_replica_count=status.ready,
            autoscaling_settings=AutoscalingSettings(**asdict(deployment.autoscaling)),
            warnings=list(deployment.warnings),
            environment=next((n for n in ("production", *names) if n in names), None),
            wanted_replica_count=deployment.wanted,
            slots=status.ready * deployment.slots,
            environments=names,
            candidate_for=soon,
            retired=deployment.retired,
            paused=status.paused,
        )


class ModelView(BaseModel):
    """One model."""

    id: str
    created_at: datetime
    name: str
    deployments_count: int
    production_deployment_id: str | None
    development_deployment_id: str | None
    instance_type_name: str = "kingpost"
    team_name: str = "kingpost"

    @classmethod
    def of(cls, model: Model, deployments: int) -> "ModelView":
        """From the registry."""
        pointers = {
            name: environment.deployment_id or None
            for name, environment in model.environments.items()
        }
        return cls(
            id=model.id,
            created_at=_time(model.created),
            name=model.name,
            deployments_count=deployments,
            production_deployment_id=pointers.get("production"),
            development_deployment_id=pointers.get("development"),
        )


class Promotion(BaseModel):
    """A promotion that is under way: the candidate is being warmed."""

    status: str = "RELEASING"
    percent_traffic_to_new_version: int = 0


class PromotionSettings(BaseModel):
    """How promotions go here: the new deployment is warmed, then all traffic moves at once."""

    redeploy_on_promotion: bool = False
    rolling_deploy: bool = False
    promotion_cleanup_strategy: str = "SCALE_TO_ZERO"


class InstanceType(BaseModel):
    """Kingpost has no instance types: each node offers what its machine has."""

    id: str = "kingpost"
    name: str = "kingpost"
    memory_limit_mib: int = 0
    millicpu_limit: int = 0
    gpu_count: int = 0
    gpu_type: str | None = None
    gpu_memory_limit_mib: int | None = None


class EnvironmentView(BaseModel):
    """One environment. `previous_deployment_id`, to which a rollback leads, and `warnings` are ours."""

    name: str
    created_at: datetime
    model_id: str
    previous_deployment_id: str | None
    warnings: list[str] = []  # after a rollback: why the last load of that deployment failed
    current_deployment: DeploymentView | None
    candidate_deployment: DeploymentView | None
    in_progress_promotion: Promotion | None
    autoscaling_settings: AutoscalingSettings
    promotion_settings: PromotionSettings = PromotionSettings()
    instance_type: InstanceType = InstanceType()
    request_backpressure_settings: RequestBackpressure = RequestBackpressure()

    @classmethod
    def of(
        cls,
        environment: Environment,
        model: Model,
        current: DeploymentView | None,
        candidate: DeploymentView | None,
        knobs: AutoscalingSettings,
    ) -> "EnvironmentView":
        """From the registry."""
        return cls(
            name=environment.name,
            created_at=_time(environment.created or model.created),
            model_id=model.id,
            previous_deployment_id=environment.previous,
            current_deployment=current,
            candidate_deployment=candidate,
            in_progress_promotion=Promotion() if candidate else None,
            autoscaling_settings=knobs,
        )


class Changed(BaseModel):
    """The answer to a change of settings."""

    status: str
    message: str


class Acted(BaseModel):
    """The answer to activate and deactivate."""

    success: bool = True
    no_op: bool = False


class Retried(BaseModel):
    """The answer to retry."""

    retried: bool
    reason: str | None
    deployment: DeploymentView


class EnvironmentChanged(Changed):
    """The answer to a change of an environment."""

    environment: EnvironmentView


class EnvironmentDeleted(BaseModel):
    """The answer to the deletion of an environment."""

    name: str
    model_id: str
    deleted: bool = True


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
