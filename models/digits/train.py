"""Train the digits model on scikit-learn's handwritten digits, save it, and measure it.

    python models/digits/train.py

Rewrites `data/pipeline/` (the weights), `figures.json` and `contact-sheet.png`. The work is counted
in steps and every random draw is seeded, so the same versions on the same machine give the same
weights. It uses CUDA when there is one; the weights shipped here were made on a CPU.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel

sys.path.append(str(Path(__file__).parent / "packages"))  # as a Truss server does

import evaluate
from digits_pipeline import NULL_CLASS, SIDE, DigitsPipeline

HERE = Path(__file__).resolve().parent
BATCH = 64
LEARNING_RATE = 1e-3
WARM_UP = 100  # steps; AdamW's first steps at full rate are noisy
UNLABELLED = 0.1  # share of labels hidden from the network, so that it also learns "any digit"
AVERAGING = 0.999  # EMA decay; the saved weights average roughly the last thousand steps
# Trained to predict the noise, with 32 norm groups, the network left grain in a quarter of its pictures.
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
}


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    began = time.perf_counter()
    unet, loss = train(build_unet().to(device), options.steps, device)
    took = time.perf_counter() - began

    save(unet.cpu(), HERE / "data" / "pipeline")
    evaluate.record(
        {
            "training_steps": options.steps,
            "training_seconds": round(took),
            "training_device": device,
            "training_threads": options.threads,
            "final_loss": round(loss, 4),
            "parameters": sum(weights.numel() for weights in unet.parameters()),
        }
    )
    evaluate.main()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train, save and measure the digits model.")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def build_unet() -> UNet2DModel:
    """About 1.1 million parameters; attention only at 4x4, where it costs next to nothing."""
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        norm_num_groups=8,  # the default, 32, would normalise each of the 32 channels by itself
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        num_class_embeds=NULL_CLASS + 1,
    )


def train(unet: UNet2DModel, steps: int, device: str) -> tuple[UNet2DModel, float]:
    """Train for so many steps; return the averaged network and the mean of the last 500 losses."""
    pictures, digits = training_tensors(device)
    noiser = DDPMScheduler(**SCHEDULE)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=LEARNING_RATE)
    rate = get_cosine_schedule_with_warmup(optimizer, WARM_UP, steps)
    average = EMAModel(unet.parameters(), decay=AVERAGING)
    losses: list[float] = []
    for step in range(1, steps + 1):
        chosen = torch.randint(len(pictures), (BATCH,)).to(device)
        loss = denoising_loss(unet, noiser, pictures[chosen], digits[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        rate.step()
        average.step(unet.parameters())
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step}/{steps}: loss {sum(losses[-100:]) / 100:.4f}", flush=True)
    average.copy_to(unet.parameters())
    last = losses[-500:]
    return unet, sum(last) / len(last)


def training_tensors(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The training part of the digits as (n, 1, 16, 16) in -1..1, and their classes."""
    small, digits = evaluate.real_digits().training
    pictures = evaluate.grown(small)[:, None] * 2 - 1
    return pictures.to(device), torch.tensor(digits).to(device)


def denoising_loss(
    unet: UNet2DModel, noiser: DDPMScheduler, pictures: torch.Tensor, digits: torch.Tensor
) -> torch.Tensor:
    """Mean squared error of the predicted velocity, at a random moment for each picture."""
    device = pictures.device
    moments = torch.randint(noiser.config["num_train_timesteps"], (len(pictures),)).to(device)
    noise = torch.randn(pictures.shape).to(device)
    hidden = (torch.rand(len(pictures)) < UNLABELLED).to(device)
    classes = digits.masked_fill(hidden, NULL_CLASS)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        predicted = unet(
            noiser.add_noise(pictures, noise, moments), moments, class_labels=classes
        ).sample
    return F.mse_loss(predicted.float(), noiser.get_velocity(pictures, noise, moments))


def save(unet: UNet2DModel, folder: Path) -> None:
    """Save the pipeline with its sampler, readable by every user."""
    # clip_sample=True, the class default, makes DDIM diverge under guidance.
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False)
    DigitsPipeline(unet.eval(), scheduler).save_pretrained(folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes 0600


if __name__ == "__main__":
    main()
