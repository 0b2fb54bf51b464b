"""Flower on our broker: it shows requests, because workers send Celery's task events for them."""

import os
import secrets
from pathlib import Path

from tasks.process.programs import OURS
from tasks.process.variables import program_variables
from tasks.settings import Settings

USER = "kingpost"


def password_file(settings: Settings) -> Path:
    """Where Flower's password is kept; made on the first use, for the owner only."""
    path = settings.state_dir / "flower_password"
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(16))
    return path


def write_secret(path: Path, text: str) -> None:
    """Writes a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")


def run(settings: Settings, address: str, port: int) -> None:
    """Runs until SIGTERM."""
    password = password_file(settings).read_text().strip()
    # Celery's own command in this process; the password goes by a variable, where `ps` does not look.
    command = [*OURS, "-m", "tasks.flower_app", "flower"]
    environment = program_variables(
        FLOWER_BASIC_AUTH=f"{USER}:{password}", KINGPOST_REDIS_URL=settings.redis_url
    )
    os.execve(command[0], [*command, f"--address={address}", f"--port={port}"], environment)
