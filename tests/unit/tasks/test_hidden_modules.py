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


def test_no_part_imports_what_only_a_terminal_shows() -> None:
    program = "import sys, api.app, workers.replica.main; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
