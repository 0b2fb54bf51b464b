"""What a host is told beyond its package: the name of its environment, and where to keep the files of running calls.

A chainlet is also told where its peers are, and gets a key to call them with. On Baseten these are files in the container. Here they are
files in a folder of the replica, arguments and a variable of the host.
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
ENVIRONMENT_FILE = "environment"  # workers/replica/environment_file.py writes it
KEY_VARIABLE = "TRUSS_SECRET_baseten_chain_api_key"


@dataclass(frozen=True)
class HostExtras:
    """The arguments and variables of a replica's host."""

    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    name: str = ""  # what the log calls the process as a whole; empty = by its model

    def named(self, name: str) -> "HostExtras":
        """A copy with this name, unless it has a name. The replica passes its deployment's name, which config.yaml may contradict."""
        return self if self.name else replace(self, name=name)


def extras(member: Member | None, settings: Settings, folder: Path) -> HostExtras:
    """Writes the folder that the host reads, and returns what to start the host with.

    `member` is None for a model that is no chainlet. Raises SettingsError if a chainlet has no key, and OSError.
    """
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
    """Where the host with that configuration folder keeps the files of running calls.

    It lies in the state folder and not in /tmp, which may be in memory.
    """
    # A state folder with a long path has its sockets elsewhere, each as "host.sock" in a temporary folder. Such configuration
    # folders all have the same name, so the parent's name is needed to tell them apart.
    name = f"{folder.parent.name}-{folder.stem}"
    return settings.state_dir.resolve() / "call-files" / name


def peer_urls(member: Member, gateway_url: str) -> dict[str, dict[str, str]]:
    """The content of `dynamic_chainlet_config` as truss_chains reads it: {"DisplayName": {"predict_url": "https://..."}}."""
    base = gateway_url.rstrip("/")
    return {
        display: {"predict_url": f"{base}/chains/{quote(name, safe='')}/production/run_remote"}
        for display, name in member.peers.items()
    }
