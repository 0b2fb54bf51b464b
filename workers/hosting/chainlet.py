"""Tells a host about the stack: the name of its environment, and for a chainlet its peers and the key to call them with.

On Baseten this is mounted into the container. Here it is a folder of the replica and a variable of the host.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from deployments.chains import Member
from tasks.errors import SettingsError
from tasks.settings import Settings

CONFIG_FILE = "dynamic_chainlet_config"
ENVIRONMENT_FILE = "environment"  # see environment_file.py
KEY_VARIABLE = "TRUSS_SECRET_baseten_chain_api_key"


@dataclass(frozen=True)
class HostExtras:
    """The arguments and variables of a replica's host."""

    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    name: str = ""  # whose log lines are that no single chainlet wrote

    def named(self, name: str) -> "HostExtras":
        """The same with that name unless it has one. The name is that of the deployment, whatever its config.yaml says."""
        return self if self.name else replace(self, name=name)


def extras(member: Member | None, settings: Settings, folder: Path) -> HostExtras:
    """Writes the folder that the host reads. Raises SettingsError if a chainlet has no key."""
    folder.mkdir(parents=True, exist_ok=True)
    files = files_dir(settings, folder)
    arguments = ("--environment-file", str(folder / ENVIRONMENT_FILE), "--files-dir", str(files))
    if member is None:
        return HostExtras(arguments)
    if settings.chain_api_key is None:
        raise SettingsError(
            "A chainlet needs a key to call others with; set KINGPOST_CHAIN_API_KEY."
        )
    (folder / CONFIG_FILE).write_text(json.dumps(peer_urls(member, settings.gateway_url)))
    key = settings.chain_api_key.get_secret_value()
    arguments = (*arguments, "--dynamic-config-dir", str(folder))
    if not member.shares:
        return HostExtras(arguments, {KEY_VARIABLE: key})
    name = f"{member.chain}.{member.process}"
    return HostExtras(arguments, {KEY_VARIABLE: key}, name)


def files_dir(settings: Settings, folder: Path) -> Path:
    """Where the host with that folder keeps the files of running calls: in the state folder, not in /tmp, which may be in memory."""
    # A socket with a long path lies in a folder of its own, and is called as all others that do.
    name = f"{folder.parent.name}-{folder.stem}"
    return settings.state_dir.resolve() / "call-files" / name


def peer_urls(member: Member, gateway_url: str) -> dict[str, dict[str, str]]:
    """The content of `dynamic_chainlet_config` as truss_chains reads it."""
    base = gateway_url.rstrip("/")
    return {
        display: {"predict_url": f"{base}/chains/{quote(name, safe='')}/production/run_remote"}
        for display, name in member.peers.items()
    }
