"""Orphans of a part: found and ended, whatever session they are in."""

import subprocess
import sys
from pathlib import Path

# A process that adopts orphans: its child starts one in a session of its own, which starts another, and ends.
SCRIPT = """
import subprocess, sys
from workers.processes.ends import adopt_orphans, children, end_orphans
WAIT = "import threading; threading.Event().wait()"
adopt_orphans()
known = subprocess.Popen([sys.executable, "-c", WAIT])
before = children()
inner = (
    "import os, subprocess, sys, threading;"
    f"child = subprocess.Popen([sys.executable, '-c', {WAIT!r}], start_new_session=True);"
    "print(child.pid, os.getpid(), flush=True); threading.Event().wait()"
)
host = (
    "import subprocess, sys;"
    f"stray = subprocess.Popen([sys.executable, '-c', {inner!r}], start_new_session=True, stdout=subprocess.PIPE, text=True);"
    "print(stray.stdout.readline(), end='', flush=True)"
)
with open(sys.argv[1], "w") as out:  # no pipe: the strays would hold it open
    subprocess.run([sys.executable, "-c", host], stdout=out, check=True)
said = open(sys.argv[1]).read()
ours = subprocess.Popen([sys.executable, "-c", WAIT])  # of another thread of ours, beside the host
ended = end_orphans(before)
print(ended, known.poll(), ours.poll(), said, flush=True)
known.kill()
ours.kill()
"""


def test_strays_in_sessions_of_their_own_end_and_known_children_stay(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "said")],
        capture_output=True, text=True, check=True, timeout=30, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    ended, known, ours, *pids = done.stdout.split()
    assert (ended, known, ours) == ("2", "None", "None")
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


# A supervisor whose part starts a stray in a session of its own, and is killed; a second part lives on.
SUPERVISED = """
import asyncio, os, signal, sys
from pathlib import Path
from workers.processes.supervisor import Part, Supervisor
folder = Path(sys.argv[1])
WAIT = "import threading; threading.Event().wait()"
worker = (
    "import subprocess, sys, threading, pathlib;"
    f"stray = subprocess.Popen([sys.executable, '-c', {WAIT!r}], start_new_session=True);"
    f"note = pathlib.Path({str(folder / 'stray')!r});"
    "note.exists() or note.write_text(f'{stray.pid} ');"
    "threading.Event().wait()"
)

async def main():
    supervisor = Supervisor(lambda *_: None, ends_orphans=True)
    made = [
        Part("part", name, [sys.executable, "-c", code], folder / name, dict(os.environ))
        for name, code in (("neighbour", WAIT), ("worker", worker))
    ]
    for part in made:
        await supervisor.start(part)
    note = folder / "stray"
    while not (note.exists() and note.read_text().endswith(" ")):
        await asyncio.sleep(0)
    stray = Path(f"/proc/{note.read_text().strip()}")
    assert stray.exists()
    os.kill(made[1].pid, signal.SIGKILL)
    while stray.exists():
        await asyncio.sleep(0)
    print(made[0].starts, made[0].pid is not None)
    await supervisor.stop("part", 5)

asyncio.run(main())
"""


def test_a_killed_part_s_strays_end_and_its_neighbours_stay(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISED, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=60, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.split() == ["1", "True"]
