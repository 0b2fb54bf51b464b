"""`make attack`: every attack at its full size on a fresh API process, and a table of what was measured."""

import resource
import sys
import tempfile
import traceback
from pathlib import Path

from tests.attack.attacks import ATTACKS, Attack
from tests.attack.stand import Watch, standing
from tests.memory import MEGABYTE

MOST_RSS = 250 * MEGABYTE
MOST_WORK = 0.1  # s of the API's work until /health/live is answered: all of the wait where nobody else uses the machine
ROW = "{:34} {:34} {:38} {:>7} {:>9} {:>9} {:>6}"


def attacked(attack: Attack) -> bool:
    """Runs one attack and prints its row; whether all bounds held."""
    with (
        tempfile.TemporaryDirectory() as folder,
        standing(Path(folder), 2000) as stand,
        Watch(stand).watching() as watch,
    ):
        try:
            said, held = attack.run(stand, attack.full), True
        except AssertionError:
            said, held = traceback.format_exc(limit=-1).strip().splitlines()[-1][:38], False
        if tracebacks := stand.log().count("Traceback"):
            said, held = f"{tracebacks} tracebacks in the log", False
    held = held and not watch.failed and watch.largest <= MOST_RSS
    held = held and watch.hardest <= MOST_WORK
    rss, live = f"{watch.largest / MEGABYTE:.0f} MB", f"{watch.slowest * 1000:.0f} ms"
    work, verdict = f"{watch.hardest * 1000:.0f} ms", "held" if held else "BROKE"
    print(ROW.format(attack.name, attack.bound, said, rss, live, work, verdict), flush=True)
    return held


def main() -> int:
    """All of them; the exit code says whether every bound held."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(ROW.format("attack", "bound", "measured", "RSS", "live", "its work", ""))
    chosen = [a for a in ATTACKS if all(word in a.name for word in sys.argv[1:])]
    held = [attacked(attack) for attack in chosen]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
