"""Runs Truss's own `main.py` in the current folder, laid out as its image has it at /app.

Started with the Python of Truss's virtualenv. What differs from the image: three absolute paths outside /app, and
the address to listen on, which there is 0.0.0.0.
"""

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

import uvicorn


class LoopbackConfig(uvicorn.Config):
    """uvicorn's configuration, listening on this machine only."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options | {"host": "127.0.0.1"})


def main() -> None:
    """Serves until SIGTERM, or until the model failed to load."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--secrets-dir", required=True, help="for /secrets")
    parser.add_argument("--environment-file", required=True, type=Path)
    parser.add_argument("--packages-dir", required=True, help="for /packages")
    options = parser.parse_args()

    sys.path[0] = str(Path.cwd())  # as for `python /app/main.py`
    from _truss_shared import dynamic_config_resolver, secrets_resolver  # pyright: ignore

    secrets_resolver.SecretsResolver.SECRETS_MOUNT_DIR = options.secrets_dir
    dynamic_config_resolver.DYNAMIC_CONFIG_MOUNT_DIR = str(options.environment_file.parent)
    if Path(options.packages_dir).exists():
        sys.path.append(options.packages_dir)
    uvicorn.Config = LoopbackConfig
    runpy.run_path("main.py", run_name="__main__")


if __name__ == "__main__":
    main()
