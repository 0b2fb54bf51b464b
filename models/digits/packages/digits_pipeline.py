"""The diffusion pipeline behind `models/digits`: a digit class in, 16x16 pictures out.

It lives apart from `model/model.py` so that the training script and the server load the same class.
"""

from collections.abc import Callable, Sequence

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DModel

SIDE = 16  # px; the side of the square pictures the network was trained on
NULL_CLASS = 10  # the eleventh class, "any digit": what guidance steers away from

OnStep = Callable[[int, int], None]


class DigitsPipeline(DiffusionPipeline):
    """A class-conditional DDIM sampler with classifier-free guidance.

    Load it with `DigitsPipeline.from_pretrained(folder)`; it needs no network.
    """

    unet: UNet2DModel
    scheduler: DDIMScheduler

    def __init__(self, unet: UNet2DModel, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.inference_mode()
    def __call__(
        self,
        digits: Sequence[int],
        seeds: Sequence[int],
        *,
        steps: int = 25,
        guidance: float = 2.0,
        on_step: OnStep | None = None,
    ) -> torch.Tensor:
        """Draw one picture per digit: float32 on the CPU, shape (n, 16, 16), 0 = paper, 1 = ink.

        `on_step(done, steps)` runs after every denoising step; what it raises ends the run.
        """
        device = self.unet.device
        pictures = starting_noise(seeds).to(device, self.unet.dtype)
        classes = torch.tensor(list(digits), device=device)
        self.scheduler.set_timesteps(steps, device=device)
        for done, timestep in enumerate(self.scheduler.timesteps, start=1):
            velocity = self.guided_velocity(pictures, timestep, classes, guidance)
            pictures = self.scheduler.step(velocity, timestep, pictures).prev_sample
            if on_step is not None:
                on_step(done, steps)
        return pictures.squeeze(1).float().cpu().add(1).div(2).clamp(0, 1)

    def guided_velocity(
        self, pictures: torch.Tensor, timestep: torch.Tensor, classes: torch.Tensor, guidance: float
    ) -> torch.Tensor:
        """Predict the velocity, pushed away from "any digit" and towards the asked one."""
        both = torch.cat([classes, torch.full_like(classes, NULL_CLASS)])
        velocity = self.unet(pictures.repeat(2, 1, 1, 1), timestep, class_labels=both).sample
        asked, unasked = velocity.chunk(2)
        return unasked + guidance * (asked - unasked)


def starting_noise(seeds: Sequence[int]) -> torch.Tensor:
    """Gaussian noise of shape (n, 1, 16, 16), each picture from its own seed.

    The generators stay on the CPU: a CUDA generator would draw another picture from the same seed.
    """
    return torch.cat(
        [
            torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator("cpu").manual_seed(seed))
            for seed in seeds
        ]
    )
