"""What runs where: the nodes with their devices and all deployments with their queues, for keys that may deploy; the settings, for admins."""

import re
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, SecretStr

from api.gateway import Admin, gateway_of
from api.routes.control.deployer import Deployer
from api.schemas import time_of
from deployments.registry import nodes as node_registry
from deployments.registry import verbs as registry
from deployments.registry.nodes import Heard
from deployments.registry.records import Replica
from deployments.registry.work import AtWork, at_work
from tasks.process.variables import PREFIX
from tasks.settings import Settings

router = APIRouter(prefix="/v1", tags=["operating"])
LOGIN = re.compile(
    r"(?<=://)[^/?#]*(?=@)|(?<=[?&]username=)[^&#]*|(?<=[?&]password=)[^&#]*"
)  # of an address


class DeviceView(BaseModel):
    """A GPU."""

    index: str
    name: str
    memory_bytes: int = Field(description="0 if nobody knows.")
    used_bytes: int | None = Field(description="Memory in use, by whomever; null if nobody knows.")
    utilisation: float | None = Field(
        description="The share of the last moment in which it computed; null if nobody knows."
    )
    free_share: float = Field(description="The share of it that no replica has.")
    replicas: list[str] = Field(description="The ids of the replicas that sit there.")


class NodeReplicaView(BaseModel):
    """A replica. `state`, `busy` and `slots` are null until it reports, `loading_seconds` unless its model loads."""

    id: str
    model: str
    deployment_id: str
    devices: list[str]
    leaving: bool
    state: str | None
    busy: int | None
    slots: int | None
    loading_seconds: float | None


class NodeView(BaseModel):
    """A node. Slots are places for replicas without a GPU."""

    id: str
    host: str
    version: str = Field(description="Of Kingpost; empty if it does not say.")
    alive: bool = Field(description="Whether it reported within the time for which a seat holds.")
    reported_at: datetime
    heartbeat_age_seconds: float
    started_at: datetime
    slots: int
    free_slots: int
    devices: list[DeviceView]
    replicas: list[NodeReplicaView]

    @classmethod
    def of(cls, heard: Heard, known: dict[str, Replica], alive_seconds: float) -> "NodeView":
        """The node with what its replicas say themselves."""
        node, age = heard.node, heard.age / 1000
        replicas: list[NodeReplicaView] = []
        for each in node.replicas:
            said = known.get(each.id)
            replicas.append(
                NodeReplicaView(
                    id=each.id,
                    model=each.model_name,
                    deployment_id=each.deployment_id,
                    devices=list(each.devices),
                    leaving=each.leaving,
                    state=said.state if said else None,
                    busy=said.busy if said else None,
                    slots=said.slots if said else None,
                    loading_seconds=said.loading_seconds if said else None,
                )
            )
        devices = [
            DeviceView(
                index=device.index,
                name=device.name,
                memory_bytes=device.memory,
                used_bytes=device.used,
                utilisation=device.utilisation,
                free_share=round(device.free, 4),
                replicas=[each.id for each in node.replicas if device.index in each.devices],
            )
            for device in node.devices
        ]
        return cls(
            id=node.id,
            host=node.host,
            version=node.version,
            alive=age <= alive_seconds,
            reported_at=time_of(heard.at),
            heartbeat_age_seconds=age,
            started_at=time_of(node.started),
            slots=node.slots,
            free_slots=node.free_slots,
            devices=devices,
            replicas=replicas,
        )


class NodesView(BaseModel):
    """The nodes by host. One that is silent is shown for ten minutes."""

    nodes: list[NodeView]


class WorkView(BaseModel):
    """A deployment and its work."""

    model: str
    deployment_id: str
    environments: list[str]
    status: str
    paused: bool
    queued: int
    running: int
    ready_replicas: int
    wanted_replicas: int
    slots: int = Field(description="Calls that can run at once now.")

    @classmethod
    def of(cls, row: AtWork) -> "WorkView":
        """The deployment as it is shown."""
        known = row.deployment
        return cls(
            model=known.model_name,
            deployment_id=known.id,
            environments=list(row.environments),
            status=row.status.name,
            paused=row.queue.paused,
            queued=row.queue.queued,
            running=row.queue.in_progress,
            ready_replicas=row.status.ready,
            wanted_replicas=known.wanted if known.active else 0,
            slots=row.slots,
        )


class OverviewView(BaseModel):
    """All deployments by model, without those that were replaced in their environments and have no work."""

    deployments: list[WorkView]


class SettingsView(BaseModel):
    """The settings of the API process that answered. Other processes may have others."""

    settings: dict[str, Any] = Field(
        description="By variable. A secret is `set` or null; an address has no login."
    )
    changed: list[str] = Field(description="Those that are not the default.")


@router.get("/nodes", response_model=NodesView)
async def nodes(request: Request, _: Deployer) -> NodesView:
    """The nodes: their devices and what sits there, their replicas, and when they last reported."""
    gateway = gateway_of(request)
    known = {replica.id: replica for replica in gateway.directory.everyone()}
    alive = gateway.settings.seat_seconds
    heard = await gateway.store.run(node_registry.nodes())
    return NodesView(nodes=[NodeView.of(each, known, alive) for each in heard])


@router.get("/overview", response_model=OverviewView)
async def overview(request: Request, _: Deployer) -> OverviewView:
    """Status, replicas, and queued and running requests of every deployment, without those that were replaced and have no work."""
    gateway = gateway_of(request)
    models = {model.id: model for model in await gateway.store.run(registry.models())}
    known = await gateway.store.run(registry.deployments())
    rows = await at_work(gateway.store, gateway.directory, known, models)
    shown = [WorkView.of(row) for row in rows if not row.is_history]
    return OverviewView(deployments=sorted(shown, key=lambda row: (row.model, row.deployment_id)))


@router.get("/settings", response_model=SettingsView)
async def settings(request: Request, _: Admin) -> SettingsView:
    """The settings in force, without secrets."""
    chosen, defaults = gateway_of(request).settings, Settings.model_fields
    shown = {PREFIX + name.upper(): shown_value(getattr(chosen, name)) for name in defaults}
    changed = [
        PREFIX + name.upper()
        for name, field in defaults.items()
        if getattr(chosen, name) != field.default
    ]
    return SettingsView(settings=shown, changed=sorted(changed))


def shown_value(value: object) -> object:
    """A value of a setting, without a secret or a login."""
    if isinstance(value, SecretStr):
        return "set"
    if isinstance(value, bool | int | float) or value is None:
        return value
    return LOGIN.sub("***", str(value))
