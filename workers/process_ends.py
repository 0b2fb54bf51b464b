"""How processes end: in words."""

import signal


def exit_words(code: int) -> str:
    """ "exit code 1", "SIGKILL", or "signal 40" for one without a name."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
