"""A full store takes nothing new, but running jobs end, replicas and nodes go on, and people can delete and steer."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPTS = {path.stem: path for room in ("tasks", "deployments") for path in (ROOT / room).rglob("scripts/*.lua")}  # fmt: skip
# What brings something new from outside. It is refused at the store's memory limit.
REFUSED = {
    "submit", "push", "register", "link_chainlets", "alias", "create_environment", "keep_package", "keep_lines", "open",
    "open_upload", "open_transfer", "claim_upload", "advance_upload", "reserve_part", "add_part", "keep_file", "keep_listed", "batch_create",
}  # fmt: skip


def is_script(path: Path) -> bool:
    """Whether it is run by itself: what only others include has no first line of its own."""
    return path.read_text().startswith("#!lua")


@pytest.mark.parametrize("name", sorted(name for name, path in SCRIPTS.items() if is_script(path)))
def test_a_script_may_write_to_a_full_store_unless_it_brings_something_new(name: str) -> None:
    (flags,) = re.findall(r"^#!lua(.*)$", SCRIPTS[name].read_text(), re.MULTILINE)[:1]
    allowed = "allow-oom" in flags or "no-writes" in flags
    assert allowed == (name not in REFUSED), f"{name}: #!lua{flags}"


def test_every_name_is_a_script() -> None:
    assert set(SCRIPTS) >= REFUSED
