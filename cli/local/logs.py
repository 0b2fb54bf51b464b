"""`kingpost logs` from the log files of this machine."""

import threading
from collections.abc import Callable

from cli.log_lines import Line, LogFolder, Wanted
from cli.running import no_stack, state_settings
from tasks.errors import NotFound

LOOK_EVERY = 0.3  # s, while following


def show_files(wanted: Wanted, count: int, follow: bool, show: Callable[[Line], None]) -> None:
    """Shows the last lines, and new ones until an interrupt. Raises NoStack without log files, NotFound without lines."""
    settings = state_settings()
    folder = settings.state_dir / "logs"
    if not folder.is_dir():
        raise no_stack(settings, "There are no logs in")
    reader = LogFolder(folder, wanted)
    past = reader.past(count)
    if not past and count and not follow:
        known = ", ".join(reader.models()) or "none"
        raise NotFound(f"{folder} has no {wanted.words} (models there: {known}).")
    for line in past:
        show(line)
    never = threading.Event()
    while follow:
        for line in reader.fresh():
            show(line)
        never.wait(LOOK_EVERY)
