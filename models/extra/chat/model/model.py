"""Chat completions as OpenAI has them, by any causal language model that transformers loads: a token at a time, so that a cancel ends one after its next token."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from asking import Asked, asked_in, too_long
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from writing import Writing


@dataclass(frozen=True)
class Piece:
    """Text that is ready to be shown. `finish` is '' until the last one: then why the answer ends."""

    text: str
    tokens: int  # of the answer so far
    finish: str = ""


class Model:
    """Answers OpenAI's chat completions; predict takes the same body."""

    def __init__(self, **kwargs: Any) -> None:
        package = Path(kwargs["data_dir"]).parent
        self._weights = package / os.environ.get("CHAT_WEIGHTS", "data/chat")

    def load(self) -> None:
        if not self._weights.is_dir():
            raise FileNotFoundError(
                f"{self._weights} is missing: run fetch.py beside config.yaml first, or name a folder in CHAT_WEIGHTS."
            )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(self._weights, local_files_only=True)
        self._model = AutoModelForCausalLM.from_pretrained(
            self._weights, dtype="auto", local_files_only=True
        )
        self._model.to(self._device).eval()
        ends = self._model.generation_config.eos_token_id
        self._ends = {*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id}
        self._longest = self._model.config.max_position_embeddings

    async def predict(self, body: Any) -> Any:
        return await self.chat_completions(body)

    async def chat_completions(self, body: Any) -> Any:
        asked = asked_in(body)
        prompt = await asyncio.to_thread(self._prompt, asked)
        if prompt.shape[1] >= self._longest:
            raise too_long(prompt.shape[1], self._longest)
        about = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": asked.model or "chat",
        }
        if asked.stream:
            return self._events(asked, prompt, about)
        text, last = "", Piece("", 0)
        async for last in self._pieces(asked, prompt):
            text += last.text
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": last.finish}
        usage = _usage(prompt.shape[1], last.tokens)
        return {**about, "object": "chat.completion", "choices": [choice], "usage": usage}

    def _prompt(self, asked: Asked) -> torch.Tensor:
        """The tokens of the chat, 1 x tokens, up to where the answer begins."""
        return self._tokenizer.apply_chat_template(
            asked.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]

    async def _events(
        self, asked: Asked, prompt: torch.Tensor, about: dict[str, Any]
    ) -> AsyncIterator[str]:
        """The answer as OpenAI's chunks: the role first, then text, then the reason, then the usage if it was asked for."""
        about = {**about, "object": "chat.completion.chunk"}

        def event(delta: dict[str, str], finish: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return f"data: {json.dumps({**about, 'choices': [choice]})}\n\n"

        yield event({"role": "assistant", "content": ""})
        tokens = 0
        async for piece in self._pieces(asked, prompt):
            tokens = piece.tokens
            if piece.text:
                yield event({"content": piece.text})
            if piece.finish:
                yield event({}, piece.finish)
        if asked.include_usage:
            told = {**about, "choices": [], "usage": _usage(prompt.shape[1], tokens)}
            yield f"data: {json.dumps(told)}\n\n"
        yield "data: [DONE]\n\n"

    async def _pieces(self, asked: Asked, prompt: torch.Tensor) -> AsyncIterator[Piece]:
        """The answer, token by token. Each is made in a thread, so that other calls go on; a cancel arrives between two of them."""
        generator = torch.Generator(self._device)
        generator.manual_seed(asked.seed if asked.seed is not None else secrets.randbits(63))
        most = min(asked.max_tokens, self._longest - prompt.shape[1])
        writing, cache = Writing(self._tokenizer, asked.stop), DynamicCache()
        step = prompt.to(self._device)
        for number in range(1, most + 1):
            token = await asyncio.to_thread(self._next, step, cache, asked, generator)
            if token in self._ends:
                yield Piece(writing.rest(), number, "stop")
                return
            text = writing.add(token)
            if writing.stopped:
                yield Piece(text, number, "stop")
                return
            if text:
                yield Piece(text, number)
            step = torch.tensor([[token]], device=self._device)
        yield Piece(writing.rest(), most, "length")

    @torch.inference_mode()
    def _next(
        self, step: torch.Tensor, cache: DynamicCache, asked: Asked, generator: torch.Generator
    ) -> int:
        """The token after those that the cache knows and `step`, a tensor of 1 x tokens."""
        output = self._model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = output.logits[0, -1].float()
        if asked.temperature == 0:
            return int(logits.argmax())
        chances = torch.softmax(logits / asked.temperature, -1)
        if asked.top_p < 1:
            ordered, places = chances.sort(descending=True)
            ordered[ordered.cumsum(0) - ordered > asked.top_p] = 0  # the first one always stays
            chances = torch.zeros_like(chances).scatter(0, places, ordered)
        return int(torch.multinomial(chances, 1, generator=generator))


def _usage(prompt: int, answer: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
