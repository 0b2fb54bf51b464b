"""The denoiser of Stable Diffusion 1.5 with random weights, or a tiny one: steps cost what real ones cost, and the picture is noise."""

import os
import time
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel


class Model:
    """Input {"steps": N}; the output has the seconds of a step."""

    def load(self) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        real = os.environ["DIFFUSION_SIZE"] == "real"
        blocks = (320, 640, 1280, 1280) if real else (32, 32, 64, 64)
        self._text = 768 if real else 32
        self._latent = 64 if real else 8
        torch.manual_seed(0)
        self._model = UNet2DConditionModel(
            block_out_channels=blocks, cross_attention_dim=self._text, layers_per_block=2 if real else 1
        )  # fmt: skip
        kind = torch.float16 if self._device == "cuda" else torch.float32
        self._model.to(self._device, kind).eval()
        self._scheduler = DDIMScheduler()

    @torch.inference_mode()
    def predict(self, asked: dict[str, Any]) -> dict[str, Any]:
        kind = self._model.dtype
        self._scheduler.set_timesteps(asked["steps"], device=self._device)
        latents = torch.randn(1, 4, self._latent, self._latent, device=self._device, dtype=kind)
        words = torch.randn(1, 77, self._text, device=self._device, dtype=kind)
        began = time.perf_counter()
        for step in self._scheduler.timesteps:
            noise = self._model(latents, step, encoder_hidden_states=words).sample
            latents = self._scheduler.step(noise, step, latents).prev_sample
        shape = list(latents.cpu().shape)  # waits for the device
        seconds = (time.perf_counter() - began) / asked["steps"]
        parameters = sum(weights.numel() for weights in self._model.parameters())
        return {"shape": shape, "seconds": seconds, "parameters": parameters}
