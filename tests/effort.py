"""How often a test does again what it shows once: seldom in `make test`, often in `make test-all` and `make chaos`."""

from typing import TypeVar

from hypothesis import settings

THOROUGH = "thorough"  # the profile of `make test-all`
LONG = "long"  # that of `make chaos`
Much = TypeVar("Much", int, str)


def repeated(few: Much, many: Much) -> Much:
    """`few`, or `many` with one of these profiles (`--hypothesis-profile`). It is known when test files are imported."""
    return many if settings.get_current_profile_name() in (THOROUGH, LONG) else few
