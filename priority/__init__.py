"""Who is next, and when: README.md beside this file has the whole answer in a screen.

The store's scripts do the work; their Lua is here, each file beside the Python that says the same.
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
LUA_FILES = ("order", "limits", "rates", "waiting")


def lua() -> str:
    """The functions of order for the store's scripts, without comments.

    They need `K`, the table of key names, `S`, the table of settings, and `whole(n)`, which prints a whole number.
    """
    sources = [(FOLDER / f"{name}.lua").read_text() for name in LUA_FILES]
    return re.sub(r"^\s*--.*\n", "", "".join(sources), flags=re.M)
