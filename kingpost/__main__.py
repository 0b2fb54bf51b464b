"""The `kingpost` command, and `python -m kingpost`."""

import os
import sys


def main() -> None:
    """Runs `cli.main`, even if the variables of this shell put other modules first on the import path."""
    # A folder in PYTHONPATH may hold a tasks.py or redis.py of another project. -E ignores the variable, -P leaves out the current folder,
    # and -X utf8 keeps UTF-8, which PYTHONUTF8 can no longer ask for. The variable itself stays, because models see it.
    if "PYTHONPATH" in os.environ and not sys.flags.ignore_environment:
        python = [sys.executable, "-E", "-P", "-X", "utf8"]
        os.execv(sys.executable, [*python, "-m", "kingpost", *sys.argv[1:]])
    from cli.main import main as command

    command()


if __name__ == "__main__":
    main()
