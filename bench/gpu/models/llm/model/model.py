"""A language model with random weights, of the size that config.yaml says: what it streams means nothing, and costs what a real one costs."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM


class Model:
    """Chat completions, streamed, of `max_tokens` tokens, each made in a thread."""

    def load(self) -> None:
        width, layers = int(os.environ["LLM_WIDTH"]), int(os.environ["LLM_LAYERS"])
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        config = LlamaConfig(
            vocab_size=32_000, hidden_size=width, intermediate_size=width * 11 // 4,
            num_hidden_layers=layers, num_attention_heads=max(width // 128, 1),
        )  # fmt: skip
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(self._device):
            self._model = LlamaForCausalLM(config).eval()
        self.parameters = sum(weights.numel() for weights in self._model.parameters())

    async def predict(self, _: Any) -> dict[str, Any]:
        return {"parameters": self.parameters, "device": self._device}

    async def chat_completions(self, body: dict[str, Any]) -> AsyncIterator[str]:
        return self._events(body["max_tokens"])

    async def _events(self, count: int) -> AsyncIterator[str]:
        cache, step = DynamicCache(), torch.ones(1, 64, dtype=torch.long, device=self._device)
        for _ in range(count):
            token = await asyncio.to_thread(self._next, step, cache)
            step = torch.tensor([[token]], device=self._device)
            choice = {"index": 0, "delta": {"content": f" {token}"}}
            yield f"data: {json.dumps({'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"

    @torch.inference_mode()
    def _next(self, step: torch.Tensor, cache: DynamicCache) -> int:
        output = self._model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return int(output.logits[0, -1].argmax())
