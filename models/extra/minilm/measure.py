"""Sentences a second, by the model alone: `python models/extra/minilm/measure.py`, after fetch.py. Prints a line for each size of a call."""

import importlib.util
import statistics
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank today."
SIZES, CALLS = (1, 8, 32, 128), 9


def main() -> None:
    """Loads the model from this folder and measures it, with the threads that torch takes."""
    spec = importlib.util.spec_from_file_location("minilm", HERE / "model" / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model(data_dir=HERE / "data")
    model.load()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {model._device}")
    for size in SIZES:
        body = {"input": [SENTENCE] * size}
        model.embeddings(body)
        seconds = [timed(model, body) for _ in range(CALLS)]
        print(
            f"{size:4} texts: {statistics.median(seconds) * 1000:7.1f} ms, {size / statistics.median(seconds):6.0f} sentences/s"
        )


def timed(model: object, body: dict) -> float:
    """The seconds of a call."""
    began = time.perf_counter()
    model.embeddings(body)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
