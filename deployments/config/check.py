"""Checks a config.yaml against the schema. Every refusal names the key and what to do instead."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deployments.config.fates import KEY, Finding, findings, rows, wanted_at
from deployments.config.schema import Config
from kingpost.packing.config_file import PackageError
from tasks.process.mistakes import shown

OPTION = "--allow-unsupported"
ALLOWED = f" (allowed by {OPTION})"


def checked(raw: Mapping[str, object]) -> Config:
    """The typed configuration. Raises PackageError."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise PackageError(_sentence(error.errors()[0])) from None


def unsupported(raw: Mapping[str, object]) -> list[Finding]:
    """Every key that is limited or refused, in the order of the file."""
    return list(findings(raw, Config))


def refuse(found: Iterable[Finding], allowed: Collection[str]) -> None:
    """Raises PackageError if a refused key is not allowed. The error explains the first one and names the others."""
    left = [
        finding
        for finding in found
        if finding.kind == "refused" and not is_allowed(finding, allowed)
    ]
    if left:
        others = ", ".join(finding.key for finding in left[1:])
        more = f" Refused as well: {others}." if others else ""
        keys = " ".join(f"{OPTION} {finding.key}" for finding in left)
        raise PackageError(f"{left[0].sentence}{more} To run it all the same, add {keys}.")


def kept(found: Iterable[Finding]) -> tuple[str, ...]:
    """The warnings that a deployment keeps: its limits, and unsupported keys that were allowed."""
    return tuple(
        finding.sentence + ALLOWED if finding.kind == "refused" else finding.sentence
        for finding in found
    )


def was_allowed(key: str, warnings: Iterable[str]) -> bool:
    """Whether the warnings that `kept` returned say that this key was allowed."""
    return any(warning.startswith(f"{key} ") and warning.endswith(ALLOWED) for warning in warnings)


def is_allowed(finding: Finding, allowed: Collection[str]) -> bool:
    """Whether a finding is allowed: by its key, by its key without list indexes, or by a section that holds it."""
    plain = re.sub(r"\[\d+\]", "", finding.key)
    return any(said in (finding.key, plain) or plain.startswith(f"{said}.") for said in allowed)


def check_allowed(allowed: Iterable[str], given: Iterable[Mapping[str, object]]) -> None:
    """Raises PackageError for an allowed key that is neither in the schema nor a finding in one of the `given` files."""
    known = {row.key for row in rows()} | {
        finding.key for raw in given for finding in unsupported(raw)
    }
    known |= {re.sub(r"\[\d*\]", "", key) for key in known}
    for said in allowed:
        if said not in known:
            near = difflib.get_close_matches(said, sorted(known), n=1, cutoff=0.7)
            meant = f"did you mean {near[0]}?" if near else "docs/config.md lists all keys."
            raise PackageError(f"{OPTION} {said} names no key of config.yaml; {meant}")


def _sentence(error: ErrorDetails) -> str:
    where, kind = error["loc"], error["type"]
    key = _dotted(tuple(part for part in where if part != KEY))
    if kind == "whole":
        return error["msg"]
    if kind == "key":
        return f"{key}.{error['msg']}" if key else error["msg"]
    if kind == "missing":
        return f"{key} is required."
    if kind == "value_error":
        return f"{key} {error.get('ctx', {}).get('error')}"
    return f"{key} must be {wanted_at(Config, where)}, not {shown(error['input'])}."


def _dotted(where: tuple[int | str, ...]) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return key.removeprefix(".")
