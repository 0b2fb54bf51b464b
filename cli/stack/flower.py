"""Runs Flower on our broker. It shows requests, because workers send a Celery task event for each step of a request."""

import os
import secrets
from pathlib import Path

from tasks.process.programs import OURS
from tasks.process.variables import program_variables
from tasks.settings import Settings

USER = "kingpost"


def password_file(settings: Settings) -> Path:
    """The file of Flower's password. It is made on first use, and only its owner can read it."""
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
    # Celery's own command replaces this process. The password goes into a variable, because `ps` shows arguments.
    command = [*OURS, "-m", "tasks.flower_app", "flower"]
    environment = program_variables(
        FLOWER_BASIC_AUTH=f"{USER}:{password}", KINGPOST_REDIS_URL=settings.redis_url
    )
    os.execve(command[0], [*command, f"--address={address}", f"--port={port}"], environment)
