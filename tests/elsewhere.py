"""`python -m tests.elsewhere FILE COMMAND...`: `kingpost COMMAND` on a machine whose boot id is in FILE."""

import sys
from pathlib import Path

from cli.parts import main
from deployments import ways

if __name__ == "__main__":
    ways.BOOT_ID = Path(sys.argv.pop(1))
    main()
