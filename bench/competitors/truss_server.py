"""Truss's own server, unmodified but for its address: `python -m bench.competitors.truss_server PACKAGE FOLDER PORT`.

It builds the image's folder as Truss does and runs the server in it. The server listens on every address; here it
must listen on loopback only.
"""

import os
import runpy
import shutil
import sys
from pathlib import Path

import uvicorn
from truss.contexts.image_builder.serving_image_builder import ServingImageBuilderContext


def main() -> None:
    """Serves until SIGTERM."""
    package, folder, port = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    ServingImageBuilderContext.run(package).prepare_image_build_dir(folder / "image")
    app = folder / "app"  # what the Dockerfile makes of it
    shutil.copytree(folder / "image" / "server", app)
    shutil.copytree(folder / "image" / "model", app / "model")
    shutil.copy(folder / "image" / "config.yaml", app / "config.yaml")
    (app / "data").mkdir()
    os.chdir(app)
    os.environ["INFERENCE_SERVER_PORT"] = port
    sys.path.insert(0, str(app))
    config = uvicorn.Config
    uvicorn.Config = lambda *given, **named: config(*given, **named | {"host": "127.0.0.1"})  # type: ignore[assignment,misc]
    runpy.run_path("main.py", run_name="__main__")


if __name__ == "__main__":
    main()
