"""The scripts of this room, and what they need beside the clock."""

from pathlib import Path

from tasks.settings import Settings
from tasks.store import keys
from tasks.store.scripting import WHOLE, Library

DAY_MS = 86_400_000


def _prelude(settings: Settings) -> str:
    kept = f"local AUDIT_MS = {settings.audit_days * DAY_MS:.0f}\n"
    return keys.lua() + WHOLE + kept


ACCESS = Library(Path(__file__).parent / "scripts", _prelude)
