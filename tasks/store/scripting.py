"""Builds the Redis functions of a library: tables of keys and settings, the clock and lib.lua, and then each verb's own file.

Redis compiles a library once (https://redis.io/docs/latest/develop/programmability/functions-intro/). A script would make all of
its tables and functions anew in each call. The name of a library ends with its hash: two versions work side by side.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import priority
from tasks.celery_app import make_app
from tasks.settings import Settings
from tasks.state import ErrorCode
from tasks.store import keys
from tasks.wakeups import template

FOLDER = Path(__file__).parent / "scripts"
INCLUDED = ("record.lua", "lib.lua")  # what the scripts of a folder share, in this order
WHOLE = "local function whole(n) return string.format('%.0f', n) end\n"
# There are two clocks. The wall's clock is for people and may jump. The clock of leases, expiry and due times follows it, but never
# runs back, and never advances by more than GAP_MS between two scripts. So neither a jump nor a stall of the store ends a lease.
# The sweeper adds the time that was really missed (tick.lua).
CLOCK = """
local WALL, NOW -- of this call
local function wall_ms()
  if WALL then return WALL end
  local t = redis.call('TIME')
  WALL = t[1] * 1000 + math.floor(t[2] / 1000)@OFFSET@
  return WALL
end

local function now_ms()
  if NOW then return NOW end
  local wall, known = wall_ms(), redis.call('GET', K.clock)
  local last, behind = string.match(known or '0 0', '^(%S+) (%S+)$')
  local gap = known and wall - last or 0
  behind = behind + math.min(gap, 0) + math.max(gap - @GAP@, 0)
  if not known or gap < 0 or gap > @TICK@ then
    redis.call('SET', K.clock, string.format('%.0f %.0f', wall, behind))
  end
  NOW = wall - behind
  return NOW
end
"""
GAP_MS = 5000  # a third of the default lease, as is the time between heartbeats: so a lease outlives a gap
TICK_MS = (
    1000  # how exactly a gap is known: while the clock runs, its key is written once in this time
)
# Only tests build scripts with this key: it moves the wall's time on a real Redis.
CLOCK_OFFSET_KEY = f"{keys.TAG}:clock-offset"
_OFFSET = f" + tonumber(redis.call('GET', '{CLOCK_OFFSET_KEY}') or 0)"


def clock(settings: Settings, movable: bool = False) -> str:
    """`wall_ms()` and `now_ms()` for the scripts. A shorter lease makes the gap shorter."""
    gap = min(GAP_MS, int(settings.lease_seconds * 1000) // 3)
    values = {
        "@GAP@": gap,
        "@TICK@": min(TICK_MS, gap // 4),
        "@OFFSET@": _OFFSET if movable else "",
    }
    text = CLOCK
    for name, value in values.items():
        text = text.replace(name, str(value))
    return text


PREFIX = "kingpost_"  # of all names of libraries and functions
# What goes before and after the shared part of a library. Its functions share each `local` of it. So ARGV and the time of the
# latest call are set anew.
_ARGUMENTS = "local ARGV\n"
_REGISTER = """
local function register(name, flags, verb)
  redis.register_function{function_name = name, flags = flags, callback = function(_, arguments)
    ARGV, WALL, NOW = arguments, nil, nil
    return verb()
  end}
end
"""


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb as a function of a loaded library, and as a script of its own, which needs nothing loaded."""

    function: str
    script: str


@dataclass(frozen=True, slots=True)
class Functions:
    """A library as `FUNCTION LOAD` takes it."""

    name: str
    source: str
    verbs: dict[str, Verb]


def _error(code: str, message: str) -> str:
    return _quoted(json.dumps({"code": code, "message": message}))


def _quoted(value: str) -> str:
    return "[==[" + value + "]==]"


def _settings_table(settings: Settings) -> str:
    rows = {
        "lease_ms": int(settings.lease_seconds * 1000),
        "retention_ms": int(settings.retention_seconds * 1000),
        "chunks_ms": int(settings.chunks_seconds * 1000),
        "max_deaths": settings.max_deaths,
        "wakeup_cap": settings.wakeup_cap,
        "max_running_per_key": settings.max_running_per_key,
        "keep_inputs": str(settings.keep_inputs).lower(),
        "expired_error": _error(
            ErrorCode.EXPIRED, "No replica took the request within max_time_in_queue_seconds."
        ),
        "canceled_error": _error(ErrorCode.CANCELED, "The request was canceled."),
        "rescued_error": _error(
            ErrorCode.MODEL_UNAVAILABLE, "The worker that ran the request died or was cut off."
        ),
    }
    return "local S = {" + ", ".join(f"{name} = {value}" for name, value in rows.items()) + "}\n"


def order(settings: Settings) -> str:
    """The Lua functions of `priority/` with the tables that they need. They read no clock."""
    return keys.lua() + _settings_table(settings) + WHOLE + priority.lua()


def of_jobs(settings: Settings) -> str:
    """The prelude of the scripts that change jobs."""
    return order(settings) + f"local WAKEUP = {_quoted(template(make_app(settings)))}\n"


@cache
def sources(folder: Path) -> dict[str, str]:
    """Each script's own source, by name."""
    paths = sorted(folder.glob("*.lua"))
    return {path.stem: path.read_text() for path in paths if path.name not in INCLUDED}


@dataclass(frozen=True, eq=False)
class Library:
    """The verbs of one folder. `prelude` makes the tables and functions that they need beside the clock and lib.lua.

    A file's first line says what Redis may refuse the verb for: `#!lua` with `flags=allow-oom`, `flags=no-writes` or nothing.
    """

    folder: Path
    prelude: Callable[[Settings], str]
    below: tuple[Path, ...] = ()  # folders whose lib.lua comes before this one's

    def build(self, settings: Settings, movable_clock: bool = False) -> Functions:
        """All verbs, for these settings."""
        shared = self.prelude(settings) + clock(settings, movable_clock)
        for folder in (*self.below, self.folder):
            for path in (folder / name for name in INCLUDED):
                if path.exists():
                    shared += re.sub(r"^\s*--.*\n", "", path.read_text(), flags=re.M)
        texts = sources(self.folder)
        told = "".join((shared, _REGISTER, *texts, *texts.values()))
        digest = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        name = f"{PREFIX}{self.folder.parent.name}_{digest[:16]}"
        source, verbs = f"#!lua name={name}\n{_ARGUMENTS}{shared}{_REGISTER}", dict[str, Verb]()
        for verb, text in texts.items():
            shebang, _, body = text.partition("\n")
            flags = ", ".join(f"'{flag}'" for flag in re.findall(r"flags=(\S+)", shebang))
            verbs[verb] = Verb(f"{name}_{verb}", f"{shebang}\n{shared}{body}")
            source += f"register('{name}_{verb}', {{{flags}}}, function()\n{body}end)\n"
        return Functions(name, source, verbs)


JOBS = Library(FOLDER, of_jobs)
