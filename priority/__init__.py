"""Who is next, and when. README.md in this folder explains it on one page.

The store's scripts do the work. Their Lua is in this folder, each file beside the Python model that does the same.
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
