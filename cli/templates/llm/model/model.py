from threading import Thread

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer


class Model:
    """Answers a prompt. The text is streamed."""

    def __init__(self, **kwargs):
        self._repo = kwargs["config"]["model_metadata"]["repo_id"]

    def load(self):
        """Loads tokenizer and weights, onto the GPU if there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(self._repo)
        self._model = AutoModelForCausalLM.from_pretrained(self._repo, dtype="auto").to(device)

    def predict(self, model_input):
        """`{"prompt": "..."}` or `{"messages": [...]}` in, text out."""
        messages = model_input.get("messages") or [
            {"role": "user", "content": model_input["prompt"]}
        ]
        encoded = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._model.device)
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        options = {
            **encoded,
            "streamer": streamer,
            "max_new_tokens": int(model_input.get("max_new_tokens", 200)),
        }
        Thread(target=self._model.generate, kwargs=options, daemon=True).start()
        yield from streamer
