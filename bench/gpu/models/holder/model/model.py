"""Takes memory of its device, and fails as models on a GPU do, when it is told to."""

import asyncio
import os
from typing import Any

import torch

MIB = 1 << 20


class Model:
    """Input {"do": look | hold | wait | oom | assert, "mib"?: memory to take}."""

    def load(self) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._held = [
            self._taken(1)
        ]  # so the context of CUDA, half a gigabyte, is there before a check looks

    async def predict(self, asked: dict[str, Any]) -> dict[str, Any]:
        what, size = asked["do"], asked.get("mib", 0) * MIB
        if what == "hold":
            self._held.append(self._taken(size))
        if what == "wait":
            taken = self._taken(size)
            try:
                await asyncio.sleep(600)  # the cancel ends it
            finally:
                del taken
                if self._device == "cuda":
                    torch.cuda.empty_cache()
        if what == "oom":
            self._taken(1 << 50)
        if what == "assert":
            places = torch.tensor([9], device=self._device)
            torch.zeros(1, device=self._device)[places].cpu()  # out of bounds
        return {
            "pid": os.getpid(),
            "devices": torch.cuda.device_count(),
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }

    def _taken(self, size: int) -> torch.Tensor:
        return torch.ones(size, dtype=torch.uint8, device=self._device)
