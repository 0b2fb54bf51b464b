"""Process variables: which of them our processes use, and which reach models and other programs."""

import os

PREFIX = "KINGPOST_"
# Variables that Celery, kombu and Flower read by themselves. Those of another project must not change ours.
OF_OTHERS = ("CELERY_", "FLOWER_", "KOMBU_")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")

_set_aside: dict[str, str] = {}  # variables that models see and this process does not


def prepare_variables() -> None:
    """Makes this process independent of foreign variables. Each entry point calls it first.

    Variables of other Celery projects are removed from `os.environ`, but models still get them. If a proxy is set, loopback
    addresses are exempted from it.
    """
    for name in [name for name in os.environ if name.startswith(OF_OTHERS)]:
        _set_aside[name] = os.environ.pop(name)
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES):
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = _with_loopback(os.environ.get(name, ""))


def is_set(name: str) -> bool:
    """Whether a variable has a value that is not empty."""
    return bool(os.environ.get(name))


def value_of(name: str) -> str:
    """The value of a variable, '' if it is not set."""
    return os.environ.get(name, "").strip()


def editor() -> str:
    """The command of the user's editor."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"


def set_aside() -> list[str]:
    """The names of the variables that this process was given and ignores."""
    return sorted(_set_aside)


def _with_loopback(said: str) -> str:
    names = [name.strip() for name in said.split(",") if name.strip()]
    if "*" in names:
        return said
    return ",".join(names + [name for name in LOOPBACK if name not in names])


def inherited_variables() -> dict[str, str]:
    """The variables that a model may see: all but Kingpost's own."""
    around = os.environ | _set_aside
    return {name: value for name, value in around.items() if not name.startswith(PREFIX)}


def child_variables(**ours: str) -> dict[str, str]:
    """The variables for a part of Kingpost: all variables, with these added."""
    return os.environ | _set_aside | ours


def program_variables(**ours: str) -> dict[str, str]:
    """The variables for a foreign program that works for us, such as Flower, without those that we ignore."""
    return os.environ | ours
