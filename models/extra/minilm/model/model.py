"""all-MiniLM-L6-v2: the mean of a sentence's token vectors, normalised, as sentence-transformers makes it."""

import base64
from pathlib import Path

import torch
from fastapi import HTTPException
from transformers import AutoModel, AutoTokenizer

LONGEST = 256  # tokens of a text; the rest is cut, as by its authors' configuration
AT_ONCE = 32  # texts of a pass through the model
MOST = 2048  # texts of a call, as OpenAI has it


class Model:
    """Answers OpenAI's embeddings; predict takes the same body."""

    def __init__(self, **kwargs):
        self._weights = Path(kwargs["data_dir"]) / "minilm"

    def load(self):
        if not self._weights.exists():
            raise FileNotFoundError(
                f"{self._weights} is missing: run fetch.py beside config.yaml first."
            )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(self._weights)
        self._model = AutoModel.from_pretrained(self._weights).to(self._device).eval()

    def predict(self, body: dict):
        return self.embeddings(body)

    def embeddings(self, body: dict):
        texts = _texts(body)
        written = _written(body.get("encoding_format") or "float")
        vectors, tokens = self._vectors(texts)
        data = [
            {"object": "embedding", "index": place, "embedding": written(vector)}
            for place, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {
            "object": "list",
            "model": body.get("model") or "minilm",
            "data": data,
            "usage": usage,
        }

    def _vectors(self, texts):
        """The vectors in the order of the texts, and the number of tokens. Texts of like length share a pass."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors, tokens = [None] * len(texts), 0
        for begin in range(0, len(order), AT_ONCE):
            places = order[begin : begin + AT_ONCE]
            inputs = self._tokenizer(
                [texts[place] for place in places],
                padding=True, truncation=True, max_length=LONGEST, return_tensors="pt",
            ).to(self._device)  # fmt: skip
            mask = inputs["attention_mask"]
            with torch.inference_mode():
                states = self._model(**inputs).last_hidden_state
                weights = mask.unsqueeze(-1).to(states.dtype)
                means = (states * weights).sum(1) / weights.sum(1)
                means = torch.nn.functional.normalize(means, dim=1).float().cpu()
            tokens += int(mask.sum())
            for place, vector in zip(places, means, strict=True):
                vectors[place] = vector
        return vectors, tokens


def _texts(body):
    """The texts of a body. Raises HTTPException 400 for anything else."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise HTTPException(
            400, {"message": "input: give a text or a list of texts.", "param": "input"}
        )
    if len(texts) > MOST:
        raise HTTPException(400, {"message": f"input: at most {MOST} texts.", "param": "input"})
    return texts


def _written(encoding):
    """How a vector is written. Raises HTTPException 400."""
    if encoding == "float":
        return lambda vector: vector.tolist()
    if encoding == "base64":
        return lambda vector: base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
    raise HTTPException(
        400, {"message": "encoding_format: float or base64.", "param": "encoding_format"}
    )
