"""The four ways to name a deployment in a path, as Baseten has them. They are spelt here only."""

import re
from collections.abc import Mapping
from urllib.parse import quote

from deployments.registry.resolver import Target

FIXED = ("production", "development")
TARGETS = (
    *(f"/{name}" for name in FIXED),
    "/environments/{environment}",
    "/deployment/{deployment_id}",
)
HEADS = tuple(form.split("/")[1] for form in TARGETS)  # the first segment of each
# A segment is anything but a slash, as in FastAPI's routes. One group is the target, two others are its names.
PATTERN = "|".join(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", form) for form in TARGETS)


def target(path: str, names: Mapping[str, str | None]) -> Target:
    """The target of a path that matches one of the forms, with the names in it."""
    if deployment_id := names.get("deployment_id"):
        return Target(None, deployment_id)
    head = path.split("/", 2)[1]
    return Target(head if head in FIXED else names.get("environment"))


# Characters of a segment that need no quoting, beside letters and digits (RFC 3986, 3.3). A slash is never one of them.
IN_A_SEGMENT = "-._~!$&'()*+,;=:@"


def path_of(target: Target) -> str:
    """The target as the beginning of a path, such as `/environments/staging`."""
    if target.deployment_id:
        return f"/deployment/{quote(target.deployment_id, IN_A_SEGMENT)}"
    if target.environment in FIXED:
        return f"/{target.environment}"
    return f"/environments/{quote(target.environment or '', IN_A_SEGMENT)}"
