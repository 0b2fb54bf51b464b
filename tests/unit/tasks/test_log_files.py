"""Log files turn over by themselves and lose nothing; readers follow them and see every line once."""

import json
import subprocess
import sys
from pathlib import Path

from cli.log_lines import LogFolder, Wanted
from tasks.process.log_files import KEPT, oldest_first, rotate
from tests.conditions import wait_until

WRITER = """
import json, os, sys
from pathlib import Path
from tasks.process import log_files
log_files.LOOK_EVERY = 0.005
log_files.redirect_output(Path(sys.argv[1]), int(sys.argv[2]))
for number in range(int(sys.argv[3])):
    while number == 20_000 and not log_files.numbered(Path(sys.argv[1]), 1).exists():
        pass  # its thread has not had a core yet
    line = json.dumps({"ts": "2026-11-21T08:00:00+00:00", "model": "m", "message": str(number)})
    os.write(1 + number % 2, line.encode() + b"\\n")
"""


def write(path: Path, max_bytes: int, lines: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", WRITER, str(path), str(max_bytes), str(lines)]
    return subprocess.Popen(command)


def numbers(path: Path) -> list[int]:
    return [int(json.loads(line)["message"]) for line in path.read_text().splitlines()]


def test_no_line_is_lost_when_a_file_is_turned_over(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    assert write(path, 1_200_000, 40_000).wait(60) == 0
    files = oldest_first(path)
    assert 2 <= len(files) <= KEPT + 1
    assert [number for path in files for number in numbers(path)] == list(range(40_000))


def test_old_files_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    for number in range(KEPT + 3):
        path.write_text(f"{number}\n" * 10)
        assert rotate(path, 19)
    assert not rotate(path, 19)
    path.write_text("last\n")
    assert not rotate(path, 19)
    assert [part.read_text()[0] for part in oldest_first(path)] == ["3", "4", "5", "l"]


def test_a_follower_sees_every_line_once_over_turned_files(tmp_path: Path) -> None:
    reader = LogFolder(tmp_path, Wanted("m"))
    seen = [line.fields["message"] for line in reader.past(10)]
    writer = write(tmp_path / "part.log", 1_200_000, 40_000)

    def look() -> bool:
        seen.extend(line.fields["message"] for line in reader.fresh())
        return len(seen) >= 40_000

    wait_until(look, 60, "lines are missing")
    assert writer.wait(10) == 0
    assert not reader.fresh()
    assert seen == [str(number) for number in range(40_000)]
    past = LogFolder(tmp_path, Wanted("m")).past(3)
    assert [line.fields["message"] for line in past] == ["39997", "39998", "39999"]


def test_a_file_that_was_taken_away_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    gate = tmp_path / "gate"
    code = WRITER.split("for number")[0] + (
        "while not Path(sys.argv[3]).exists(): print('x', flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path), "1000000000", str(gate)])
    wait_until(lambda: path.exists() and path.stat().st_size)
    path.unlink()
    wait_until(lambda: path.exists() and path.stat().st_size, 10, "it was not made again")
    gate.touch()
    assert writer.wait(10) == 0
