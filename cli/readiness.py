"""Whether the parts of a stack do their work yet."""

import urllib.error
import urllib.request

from deployments.directory import Directory
from deployments.registry import Registry
from tasks.settings import Settings

SECONDS = 2.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is this machine


def http_answers(url: str) -> bool:
    """Whether a GET there answers 200."""
    try:
        with DIRECT.open(url, timeout=SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def broken_model(settings: Settings) -> str | None:
    """One sentence about a folder's model that cannot be loaded, None while all is well.

    What was pushed is not asked: a broken version of one model must not keep the others from starting.
    """
    folders = {one.id: one for one in Registry(settings).all() if one.active and one.package}
    for replica in Directory(settings).all():
        if replica.state == "failed" and replica.deployment_id in folders:
            return f"The model {replica.model_name} could not be loaded: {last_line(replica.error)}"
    for one in folders.values():
        if one.failure:
            return f"The model {one.model_name} cannot run: {last_line(one.failure)}"
    return None


def last_line(error: str | None) -> str:
    """The sentence at the end of a replica's error."""
    return error.strip().splitlines()[-1] if error and error.strip() else "no reason was given"


def not_ready(settings: Settings, names: set[str]) -> set[str]:
    """The models among these that no replica serves yet; one that sleeps waits for a call, not for us."""
    served = {one.model_name for one in Directory(settings).all() if one.state == "ready"}
    folders = [one for one in Registry(settings).all() if one.package]
    return names - served - {one.model_name for one in folders if not one.wanted}


class Builds:
    """Says once of each model that its environment is being built: it may take minutes."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def news(self, settings: Settings) -> list[str]:
        """A line for each model that began to build since the last call."""
        names = {one.model_name for one in Directory(settings).all() if one.state == "building"}
        fresh = sorted(names - self._said)
        self._said |= names
        return [
            f"Building the environment of {name}; `kingpost logs {name} -f` follows."
            for name in fresh
        ]
