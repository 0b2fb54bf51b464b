import torch
from transformers import AutoModel, AutoTokenizer


class Model:
    """Turns texts into vectors: the mean of the tokens' vectors, with length 1."""

    def __init__(self, **kwargs):
        self._repo = kwargs["config"]["model_metadata"]["repo_id"]

    def load(self):
        """Loads tokenizer and weights, onto the GPU if there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(self._repo)
        self._model = AutoModel.from_pretrained(self._repo).to(device)

    def predict(self, model_input):
        """`{"input": "a text"}` or `{"input": ["a text", ...]}` in, a list of vectors out."""
        vectors, _ = self._vectors(model_input["input"])
        return vectors

    def embeddings(self, body: dict):
        """POST /v1/embeddings."""
        vectors, tokens = self._vectors(body["input"])
        rows = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": body.get("model"), "data": rows, "usage": usage}

    @torch.inference_mode()
    def _vectors(self, given):
        texts = [given] if isinstance(given, str) else given
        encoded = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        encoded = encoded.to(self._model.device)
        mask = encoded["attention_mask"].unsqueeze(-1)
        states = self._model(**encoded).last_hidden_state
        means = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(means, dim=1).tolist(), int(mask.sum())
