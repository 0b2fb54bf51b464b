"""`python -m tests.collectable`: says which test modules cannot be imported, in seconds and before anything runs."""

import subprocess
import sys


def main() -> int:
    """The exit code of pytest; its output only if something is wrong."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "tests"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr)
    else:
        print("Every test module can be imported.")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
