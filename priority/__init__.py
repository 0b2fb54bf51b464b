"""Who is next, and when. README.md in this folder explains it on one page.

The store decides, in scripts that begin with the Lua of this folder. The Python models do the same sums; tests compare the two.
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
LUA_FILES = ("order", "limits", "rates", "waiting")


def lua() -> str:
    """The source of all Lua files of this folder, which the loader puts before each script of the store.

    It needs `K`, the table of key names, `S`, the table of settings, and `whole(n)`, which prints a whole number. Lines that are
    comments are left out.
    """
    sources = [(FOLDER / f"{name}.lua").read_text() for name in LUA_FILES]
    return re.sub(r"^\s*--.*\n", "", "".join(sources), flags=re.M)
