"""docker-compose.yml's variables as compose itself fills them in."""

import re
from collections.abc import Mapping
from typing import Any

# `${NAME}`, `${NAME:-default}` and `${NAME:?why it is needed}`
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])(.*?))?\}")


def variables(service: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The variables of a service in an environment that has those. Raises KeyError for one that is needed and is not given."""

    def filled(match: re.Match[str]) -> str:
        name, how, default = match[1], match[2], match[3]
        return (given.get(name) or str(default)) if how == "-" else given[name]

    said: dict[str, str] = service.get("environment", {})
    return {name: VARIABLE.sub(filled, value) for name, value in said.items()}
