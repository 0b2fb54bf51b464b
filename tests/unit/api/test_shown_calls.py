"""The commands that the console shows: somebody copies them into a shell, and a model's name is any printable text."""

import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from api.console.jobs import calls

GIVEN = '{"a": "it\'s; $(touch owned)"}'
SAY = 'curl() { printf "%s\\n" "$@"; }; kingpost() { printf "%s\\n" "$@"; }; KINGPOST_API_KEY=KEY; '


@pytest.mark.parametrize(
    "name", ["echo", "two words", "a;touch owned", "$(touch owned)", "`x`'\"#&"]
)
def test_what_somebody_copies_runs_nothing_else(name: str, tmp_path: Path) -> None:
    shown = calls("http://x", name, "d1", 1, GIVEN.encode())
    said = {
        where: subprocess.run(
            ["sh", "-c", SAY + shown[where]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for where in ("curl", "kingpost")
    }
    address = f"http://x/models/{quote(name, safe='')}/deployment/d1/async_predict"
    assert said["curl"][:4] == [address, "-H", "Authorization: Api-Key KEY", "-d"]
    assert len(said["curl"]) == 5
    assert said["kingpost"][:2] == ["predict", name] and said["kingpost"][-1] == GIVEN
    assert not list(tmp_path.iterdir())
