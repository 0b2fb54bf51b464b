"""Commands that start our processes, so that no file in the current folder or in PYTHONPATH hides our modules.

Our packages have generic names (`tasks`, `api`, `cli`): a file `tasks.py` beside the user's work must not matter.
"""

import sys
from pathlib import Path

# Where all our top-level packages lie: a checkout or site-packages.
ROOT = Path(__file__).parents[2]

# -E ignores PYTHONPATH and its kind, -P keeps the current folder off the path, UTF-8 whatever the locale says.
OURS = (sys.executable, "-E", "-P", "-X", "utf8")
PART = (*OURS, "-m", "cli.parts")
COMMAND = (*OURS, "-m", "cli.main")

# A process that runs a user's code imports our module first. Then the user's PYTHONPATH comes first, as in any Python. Collections of
# garbage begin after our imports, in which they would find none.
_FOR_MODELS = (
    "import sys, os, gc, importlib; gc.disable(); module = importlib.import_module(sys.argv.pop(1)); gc.freeze(); gc.enable(); "
    "sys.path[:0] = filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep)); "
    "sys.exit(module.main())"
)


def with_users_modules(module: str) -> tuple[str, ...]:
    """The command that runs `main()` of one of our modules that imports a user's code."""
    return (*OURS, "-c", _FOR_MODELS, module)
