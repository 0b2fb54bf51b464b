import base64
import io

import fastapi
import torch
from diffusers import AutoPipelineForText2Image


class Model:
    """Draws a picture for a prompt."""

    def __init__(self, **kwargs):
        self._repo = kwargs["config"]["model_metadata"]["repo_id"]

    def load(self):
        """Loads the pipeline, onto the GPU if there is one."""
        has_gpu = torch.cuda.is_available()
        kind = torch.float16 if has_gpu else torch.float32
        pipeline = AutoPipelineForText2Image.from_pretrained(self._repo, torch_dtype=kind)
        self._pipeline = pipeline.to("cuda" if has_gpu else "cpu")

    def predict(self, model_input, request: fastapi.Request):
        """`{"prompt": "...", "steps": 2, "seed": 1}` in, a PNG as base64 out."""
        steps = int(model_input.get("steps", 2))
        report = getattr(request.state, "progress", None)

        def on_step(_pipeline, step, _time, tensors):
            if report:
                report((step + 1) / steps, f"step {step + 1}/{steps}")
            return tensors

        picture = self._pipeline(
            model_input["prompt"],
            num_inference_steps=steps,
            guidance_scale=float(model_input.get("guidance", 0.0)),
            generator=torch.Generator().manual_seed(int(model_input.get("seed", 0))),
            callback_on_step_end=on_step,
        ).images[0]
        file = io.BytesIO()
        picture.save(file, format="PNG")
        return {"image": base64.b64encode(file.getvalue()).decode()}
