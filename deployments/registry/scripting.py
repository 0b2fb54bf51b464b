"""The registry's scripts, ready to run: keys of both stores and the clock go before each."""

import hashlib
from functools import cache
from pathlib import Path
from typing import cast

import redis
from redis.exceptions import NoScriptError

from deployments.registry import keys as registry_keys
from tasks.store import keys
from tasks.store.job_store import unavailable
from tasks.store.records import Reply
from tasks.store.scripting import Script, clock

FOLDER = Path(__file__).parent / "scripts"
Argument = bytes | str | int | float


@cache
def scripts() -> dict[str, Script]:
    """Every script by name."""
    prelude = "#!lua\n" + keys.lua() + registry_keys.lua() + clock()
    prelude += "local function whole(n) return string.format('%.0f', n) end\n"
    prelude += (FOLDER / "lib.lua").read_text()
    found: dict[str, Script] = {}
    for path in sorted(FOLDER.glob("*.lua")):
        if path.stem == "lib":
            continue
        source = prelude + path.read_text()
        found[path.stem] = Script(source, hashlib.sha1(source.encode()).hexdigest())
    return found


def run(client: redis.Redis, name: str, *arguments: Argument) -> Reply:
    """Runs a script. Raises StoreUnavailable."""
    script = scripts()[name]
    with unavailable():
        try:
            return cast(Reply, client.evalsha(script.sha, 1, keys.TAG, *arguments))
        except NoScriptError:
            return cast(Reply, client.eval(script.source, 1, keys.TAG, *arguments))
