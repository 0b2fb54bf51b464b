"""The scripts of this room, and what they need beside the clock."""

from pathlib import Path

from tasks.settings import Settings
from tasks.store import keys
from tasks.store.scripting import WHOLE, Library

LINE_BYTES = 100  # that the store needs for a line beside its text


def _prelude(settings: Settings) -> str:
    limits = {
        "LOG_LINES": settings.log_store_lines,
        "LOG_BYTES": settings.log_store_bytes,
        "LOG_MS": round(settings.log_store_seconds * 1000),
        "LINE_BYTES": LINE_BYTES,
    }
    said = "".join(f"local {name} = {value}\n" for name, value in limits.items())
    return keys.lua() + WHOLE + said


LOGS = Library(Path(__file__).parent / "scripts", _prelude)
