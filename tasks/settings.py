"""The settings: one frozen object that each entry point builds from the KINGPOST_* variables and passes on."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks import store_address
from tasks.errors import SettingsError
from tasks.process import listening
from tasks.process.mistakes import sentence_of
from tasks.process.variables import PREFIX

# Variables that Kubernetes sets for a service whose name begins with "kingpost". A name like KINGPOST_PORT counts as one of them
# only with a URL as its value.
SERVICE_LINK = re.compile(
    r"KINGPOST_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
SERVICE_PORT = re.compile(r"KINGPOST_(\w+_)?PORT")
# The server that commands and the Python client call. No process of a stack reads it.
OF_THE_CLIENT = PREFIX + "URL"


class Settings(BaseSettings):
    """All settings. The names contain the units."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    redis_url: str = "redis://127.0.0.1:6379/0"
    store_timeout_seconds: float = Field(5.0, gt=0)
    state_dir: Path = Path(".kingpost")
    api_key: SecretStr | None = None
    log_level: str = "info"
    access_log: Literal["none", "errors", "all"] = "none"
    log_file: Path | None = None
    max_log_bytes: int = Field(20_000_000, ge=1000)
    log_store_lines: int = Field(5000, ge=0, le=1_000_000)
    log_store_bytes: int = Field(2_000_000, ge=10_000)
    log_store_seconds: float = Field(72 * 3600.0, ge=1)
    log_store_lines_per_second: int = Field(200, ge=1, le=10_000)

    # model hosts over TCP, for an API on another machine; empty = Unix sockets only
    host_address: str = ""
    host_ports: str = ""
    host_allow_public: bool = False

    # leases and rescue: a dead worker's job is claimable again within lease + sweep
    lease_seconds: float = Field(15.0, ge=1)
    heartbeat_seconds: float = Field(5.0, gt=0)
    sweep_every_seconds: float = Field(0.5, gt=0)
    sweep_batch: int = Field(100, ge=1, le=1000)
    max_deaths: int = Field(3, ge=1)
    wakeup_cap: int = Field(32, ge=1)
    claim_on_seconds: float = Field(1.0, ge=0)

    # one attempt
    predict_timeout_seconds: float = Field(3600.0, gt=0)
    stop_grace_seconds: float = Field(10.0, ge=0)
    drain_seconds: float = Field(30.0, ge=0)
    load_timeout_seconds: float = Field(1800.0, gt=0)
    load_failures: int = Field(5, ge=1)
    load_rest_seconds: float = Field(600.0, gt=0)

    # virtualenvs of packages with requirements
    own_virtualenvs: Literal["always", "when_missing", "never"] = "always"
    virtualenvs_dir: str = ""
    virtualenv_build_seconds: float = Field(1800.0, gt=0)

    # weights that packages ask for
    weights_dir: str = ""
    weights_seconds: float = Field(6 * 3600.0, gt=0)
    max_weights_bytes: int = Field(0, ge=0)

    # admission
    max_async_body_bytes: int = Field(262_144, ge=1024, le=100_000_000)
    max_sync_body_bytes: int = Field(100_000_000, ge=1024)
    max_model_api_body_bytes: int = Field(20_000_000, ge=1024)
    max_queued: int = Field(1_000_000, ge=1)
    sync_timeout_seconds: float = Field(1200.0, gt=0)
    sync_park_seconds: float = Field(120.0, ge=0)
    max_connections: int = Field(2000, ge=1)
    max_connections_per_key: int = Field(1000, ge=0)
    receive_timeout_seconds: float = Field(30.0, gt=0)
    keep_alive_seconds: int = Field(75, ge=0)
    trusted_proxies: str = "127.0.0.1"
    cors_origins: str = ""
    console: bool = True
    retention_seconds: float = Field(72 * 3600.0, gt=0)
    chunks_seconds: float = Field(600.0, gt=0)
    idempotency_seconds: float = Field(24 * 3600.0, gt=0)
    keep_inputs: bool = True
    cancel_running: bool = True
    model_errors: Literal["all", "owner", "none"] = "owner"

    # payloads: what is larger than this goes to the payload store instead of Redis
    payload_url: str = ""
    max_event_bytes: int = Field(4_000_000, ge=0)
    spill_bytes: int = Field(65_536, ge=0, le=1_000_000)

    # files that an input refers to, or that an output is
    max_file_bytes: int = Field(5_000_000_000, ge=1)
    max_file_bytes_per_key: int = Field(50_000_000_000, ge=1)
    file_seconds: float = Field(24 * 3600.0, gt=0)
    file_url_seconds: float = Field(72 * 3600.0, gt=0, le=31_536_000)

    # batches
    max_batch_file_bytes: int = Field(209_715_200, ge=1024)
    max_batch_lines: int = Field(100_000, ge=1)
    batch_lines_in_flight: int = Field(1000, ge=100)

    # per API key; 0 = no limit
    submits_per_minute: int = Field(0, ge=0)
    status_calls_per_minute: int = Field(0, ge=0)
    queue_status_calls_per_minute: int = Field(0, ge=0)
    max_unfinished_per_key: int = Field(0, ge=0)
    max_running_per_key: int = Field(0, ge=0)

    # the audit log
    audit_days: float = Field(90.0, gt=0, le=3650)

    # deployments
    max_package_file_bytes: int = Field(5_000_000_000, ge=1)
    max_package_bytes: int = Field(20_000_000_000, ge=1)
    max_package_files: int = Field(20_000, ge=1)
    max_upload_bytes: int = Field(100_000_000_000, ge=1)
    max_upload_bytes_per_key: int = Field(40_000_000_000, ge=1)
    upload_seconds: float = Field(24 * 3600.0, gt=0)
    package_grace_seconds: float = Field(24 * 3600.0, ge=0)
    node_slots: int = Field(8, ge=1)
    node_gpus: str = "auto"
    cpu_models_see_gpus: bool = False
    node_loads: int = Field(0, ge=0)
    load_turn_seconds: float = Field(60.0, gt=0)
    node_builds: int = Field(2, ge=1)
    build_turn_seconds: float = Field(300.0, gt=0)
    seat_seconds: float = Field(15.0, ge=1)
    slice_seconds: float = Field(30.0, ge=0)
    queued_follow_environment: bool = False

    # chains: where and as whom a chainlet calls the others
    gateway_url: str = "http://127.0.0.1:8000"
    chain_api_key: SecretStr | None = None

    # webhooks
    webhook_timeout_seconds: float = Field(10.0, gt=0)
    webhook_allow_http: bool = False
    webhook_allow_private: bool = False
    webhook_concurrency: int = Field(200, ge=1)
    webhook_per_host: int = Field(8, ge=1)
    webhook_max_data_bytes: int = Field(8_000_000, ge=1024)

    @property
    def proxies(self) -> list[str]:
        """`trusted_proxies` as a list."""
        return _listed(self.trusted_proxies)

    @property
    def origins(self) -> list[str]:
        """`cors_origins` as a list."""
        return _listed(self.cors_origins)

    @classmethod
    def load(cls, variables: Mapping[str, str] | None = None) -> "Settings":
        """Reads the process variables. Raises SettingsError with one sentence for an unknown or wrong value."""
        known = {PREFIX + name.upper() for name in cls.model_fields}
        given = os.environ if variables is None else variables
        for name in given.keys() - known - {OF_THE_CLIENT}:
            if name.startswith(PREFIX) and not _is_service_link(name, given[name]):
                raise SettingsError(f"{name} is not a setting; see docs/settings.md for the list.")
        try:
            values = {n.removeprefix(PREFIX).lower(): v for n, v in given.items() if n in known}
            settings = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise SettingsError(f"{name} {sentence_of(first)}.") from None
        if settings.heartbeat_seconds * 2 > settings.lease_seconds:
            raise SettingsError(
                "KINGPOST_HEARTBEAT_SECONDS must be at most half of KINGPOST_LEASE_SECONDS."
            )
        address = store_address.canonical(settings.redis_url)
        if address != settings.redis_url:
            settings = settings.model_copy(update={"redis_url": address})
        listening.ports(settings.host_ports)
        if settings.host_address:
            listening.check_address(settings.host_address, settings.host_allow_public)
        return settings


def _listed(commas: str) -> list[str]:
    return [part.strip() for part in commas.split(",") if part.strip()]


def _is_service_link(name: str, value: str) -> bool:
    if SERVICE_PORT.fullmatch(name) and "://" in value:
        return True
    return SERVICE_LINK.fullmatch(name) is not None
