"""What a model may be called, and how a path says it."""

import random
from urllib.parse import quote

import pytest

from api.addressing import Addressed, named
from deployments.packages.names import check_model_name
from kingpost.packing.config_file import PackageError

GOOD = [
    "echo",
    "zai-org/GLM-5",
    "../../../x",
    "a b",
    "Größe",
    "模型" * 60,
    "x" * 200,
    "100%",
    "a%2Fb",
    "-x",
    "💡",
]
BAD = ["", " ", "x" * 201, "é" * 201, "模" * 134, "a\nb", "a\x00b", "a\x7fb", "\ud800", "a\u2028b", "x" * 270]  # fmt: skip


def resolve(path: str, raw_path: bytes) -> tuple[Addressed, str]:
    found = named(path, raw_path)
    assert found
    return found


@pytest.mark.parametrize("name", GOOD)
def test_any_printable_name_is_taken_and_addressed(name: str) -> None:
    check_model_name(name)
    for rest in ("/production/predict", "/v1/chat/completions", "/async_request/1"):
        path = f"/models/{name}{rest}"
        addressed, left = resolve(path, f"/models/{quote(name, safe='')}{rest}".encode())
        assert addressed.reference == name
        assert addressed.prefix == f"/models/{quote(name, safe='')}"
        assert left == rest


@pytest.mark.parametrize("name", BAD)
def test_any_other_name_hears_the_rule(name: str) -> None:
    with pytest.raises(
        PackageError, match=r"printable text of 1 to 200 characters and at most 400"
    ):
        check_model_name(name)


@pytest.mark.parametrize("target", ["/production/predict", "/environments/e/sync/v1/models", "/wake", "/v1/x"])  # fmt: skip
def test_slashes_may_stand_as_they_are_where_the_end_of_the_name_is_plain(target: str) -> None:
    path = f"/models/zai-org/GLM-5{target}"
    addressed, left = resolve(path, path.encode())
    assert (addressed.reference, addressed.prefix) == ("zai-org/GLM-5", "/models/zai-org/GLM-5")
    assert left == target
    encoded = f"/models/a%2Fproduction%2Fb{target}"
    addressed, left = resolve(f"/models/a/production/b{target}", encoded.encode())
    assert addressed.reference == "a/production/b"


def test_generated_names_come_through_a_path() -> None:
    chance = random.Random(7)
    alphabet = "abc/%.-_ ~é模💡?#&+'\"\\"
    for _ in range(500):
        name = "".join(chance.choice(alphabet) for _ in range(chance.randint(1, 40)))
        raw = f"/models/{quote(name, safe='')}/production/predict"
        addressed, left = resolve(f"/models/{name}/production/predict", raw.encode())
        if name.strip() and "/" in quote(name):
            assert addressed.reference == name
        assert left.endswith("/predict")
