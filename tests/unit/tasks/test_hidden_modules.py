"""A hidden module cannot be imported meanwhile, and is there again afterwards."""

import subprocess
import sys

import pytest

from tasks.process.hidden_modules import hidden


def test_it_is_missing_meanwhile_and_there_afterwards() -> None:
    sys.modules.pop("colorsys", None)
    with hidden("colorsys"), pytest.raises(ModuleNotFoundError):
        import colorsys
    import colorsys

    assert colorsys.rgb_to_hsv
    with hidden("colorsys"):
        assert sys.modules["colorsys"] is colorsys


@pytest.mark.parametrize(
    ("part", "unused"),
    [
        ("api.server.serve", ("rich", "aiohttp", "opentelemetry.sdk", "celery.worker", "torch")),
        ("workers.replica.main", ("rich", "fastapi", "opentelemetry.sdk", "aiohttp", "torch")),
        ("workers.node.main", ("rich", "fastapi", "opentelemetry.sdk", "aiohttp", "torch")),
        ("workers.host.main", ("rich", "celery", "redis", "aiohttp", "torch")),
        ("tasks.maintenance", ("rich", "fastapi", "opentelemetry.sdk", "torch")),
    ],
)
def test_no_part_imports_what_it_does_not_use(part: str, unused: tuple[str, ...]) -> None:
    """Each of them is a tenth of a start or more."""
    program = f"import sys, {part}; print([name for name in {unused} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
