"""Builds the scripts: keys, settings, clock and lib.lua go before each verb's own file."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tasks import keys
from tasks.settings import Settings
from tasks.state import ErrorCode

FOLDER = Path(__file__).parent / "scripts"
CLOCK = """
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)%s
end
"""
# Only tests build with this: a key moves the scripts' time on a real Redis.
CLOCK_OFFSET_KEY = f"{keys.TAG}:clock-offset"
_OFFSET = f" + tonumber(redis.call('GET', '{CLOCK_OFFSET_KEY}') or 0)"


@dataclass(frozen=True, slots=True)
class Script:
    """A script ready to run by its SHA-1."""

    source: str
    sha: str


def _error(code: str, message: str) -> str:
    return _quoted(json.dumps({"code": code, "message": message}))


def _quoted(value: str) -> str:
    return "[==[" + value + "]==]"


def _settings_table(settings: Settings) -> str:
    rows = {
        "lease_ms": int(settings.lease_seconds * 1000),
        "retention_ms": int(settings.retention_seconds * 1000),
        "max_deaths": settings.max_deaths,
        "wakeup_cap": settings.wakeup_cap,
        "max_running_per_key": settings.max_running_per_key,
        "expired_error": _error(
            ErrorCode.EXPIRED, "No replica took the request within max_time_in_queue_seconds."
        ),
        "canceled_error": _error(ErrorCode.CANCELED, "The request was canceled."),
        "rescued_error": _error(
            ErrorCode.MODEL_UNAVAILABLE, "The worker that ran the request died or was cut off."
        ),
    }
    return "local S = {" + ", ".join(f"{name} = {value}" for name, value in rows.items()) + "}\n"


@cache
def verb_files() -> dict[str, str]:
    """Each verb's own source, by name."""
    return {
        path.stem: path.read_text() for path in sorted(FOLDER.glob("*.lua")) if path.stem != "lib"
    }


def build(settings: Settings, wakeup: str, movable_clock: bool = False) -> dict[str, Script]:
    """All scripts. `wakeup` is the message to push; see tasks/wakeups.py."""
    prelude = keys.lua() + _settings_table(settings) + f"local WAKEUP = {_quoted(wakeup)}\n"
    prelude += CLOCK % (_OFFSET if movable_clock else "")
    prelude += re.sub(r"^\s*--.*\n", "", (FOLDER / "lib.lua").read_text(), flags=re.M)
    scripts: dict[str, Script] = {}
    for name, body in verb_files().items():
        # A full Redis must still let running jobs finish; only a submit is refused then.
        shebang = "#!lua\n" if name == "submit" else "#!lua flags=allow-oom\n"
        source = shebang + prelude + body
        own_name = hashlib.sha1(source.encode()).hexdigest()  # as Redis gives it
        scripts[name] = Script(source, own_name)
    return scripts
