"""The log of `kingpost up` itself; its parts have logs of their own."""

from pathlib import Path

from tasks.process.log_files import rotate
from tasks.process.logs import configure_command

# Events that the command says in sentences of its own.
OWN_WORDS = ("store.unavailable", "store.lost")


def set_up_logs(state: Path, max_bytes: int) -> None:
    """What goes wrong in this process is one line at the terminal; the rest of it is in `logs/up.log` of the state folder."""
    log = state / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    rotate(log, max_bytes)
    configure_command(log, own_words=OWN_WORDS)
