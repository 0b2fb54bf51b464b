"""The settings that GET /v1/settings shows: an address without its login, wherever that stands."""

import pytest

from api.routes.control.overview import shown_value
from tasks.store_address import canonical


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("redis://kp:geheim@store:6379/0", "redis://***@store:6379/0"),
        ("unix://kp:geheim@/run/store?db=2", "unix:///run/store?db=2&username=***&password=***"),
        ("unix:///run/store?password=gehe%26im", "unix:///run/store?db=0&password=***"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
    ],
)
def test_an_address_has_no_login(address: str, expected: str) -> None:
    assert shown_value(canonical(address) if "store" in address else address) == expected
