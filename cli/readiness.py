"""Whether the parts of a stack do their work yet."""

import urllib.error
import urllib.request

from deployments.directory import Directory
from deployments.registry import Registry
from tasks.settings import Settings

SECONDS = 2.0


def http_answers(url: str) -> bool:
    """Whether a GET there answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def broken_model(settings: Settings) -> str | None:
    """One sentence about a model that cannot be loaded, None while all is well."""
    for replica in Directory(settings).all():
        if replica.state == "failed":
            return f"The model {replica.model_name} could not be loaded: {replica.error}"
    for deployment in Registry(settings).all():
        if deployment.active and deployment.failure:
            return f"The model {deployment.model_name} cannot run: {deployment.failure}"
    return None


def not_ready(settings: Settings, names: set[str]) -> set[str]:
    """The models among these that no replica serves yet."""
    return names - {one.model_name for one in Directory(settings).all() if one.state == "ready"}
