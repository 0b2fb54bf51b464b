"""The stores that we set up are those that `kingpost doctor` asks for, and that the tests and the benches measure."""

import re
from pathlib import Path

import pytest

from cli.local.doctor import STORE_SETTINGS

ROOT = Path(__file__).parents[3]
SAVE_MEMORY = {name for name in STORE_SETTINGS if "listpack" in name}


def test_the_doctor_looks_at_what_saves_memory() -> None:
    assert len(SAVE_MEMORY) == 2


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("docker-compose.yml", set(STORE_SETTINGS)),
        ("deploy/kubernetes/base/valkey.yaml", set(STORE_SETTINGS)),
        ("cli/stack/embedded_valkey.py", set(STORE_SETTINGS)),
        ("tests/valkey.py", SAVE_MEMORY),
    ],
)
def test_each_store_has_what_the_doctor_asks_for(file: str, names: set[str]) -> None:
    text = (ROOT / file).read_text()
    for name in sorted(names):
        found = re.findall(rf"{name}[\s\",]+([\w-]+)", text)
        assert STORE_SETTINGS[name][0][0] in found, name
    unknown = set(re.findall(r"[a-z]+-max-listpack-[a-z]+|stream-node-max-[a-z]+", text))
    assert unknown <= SAVE_MEMORY, "the doctor does not look at it"
