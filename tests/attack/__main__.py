"""`make attack`: every attack at its full size on a fresh API process, and a table of what was measured."""

import resource
import sys
import tempfile
import traceback
from pathlib import Path

from tests.attack.attacks import ATTACKS, Attack
from tests.attack.stand import MEGABYTE, Watch, standing

MOST_RSS = 250 * MEGABYTE
ROW = "{:34} {:34} {:38} {:>8} {:>10} {:>6}"


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
    held = held and not watch.failed and watch.largest <= MOST_RSS
    rss, slowest = f"{watch.largest / MEGABYTE:.0f} MB", f"{watch.slowest * 1000:.0f} ms"
    print(ROW.format(attack.name, attack.bound, said, rss, slowest, "held" if held else "BROKE"))
    return held


def main() -> int:
    """All of them; the exit code says whether every bound held."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(ROW.format("attack", "bound", "measured", "RSS", "live", ""))
    held = [attacked(attack) for attack in ATTACKS]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
