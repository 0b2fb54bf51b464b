"""The host's output, line by line: what is not JSON yet, such as prints of C code, becomes it."""

import json
from datetime import UTC, datetime


def json_line(text: str, model: str) -> str:
    """The line itself if it is an object with a time, else one with the text as its message."""
    if text.startswith('{"ts": '):
        return text
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"ts": now, "level": "info", "model": model, "message": text})
