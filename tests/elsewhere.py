"""`python -m tests.elsewhere FILE COMMAND...`: `kingpost COMMAND` on a machine whose boot id is in FILE."""

import sys
from pathlib import Path

import tasks.machine
from cli.parts import main

if __name__ == "__main__":
    tasks.machine.BOOT_ID = Path(sys.argv.pop(1))
    main()
