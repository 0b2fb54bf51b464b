"""The variables that a host gets for its surroundings: whether it sees GPUs, and where it keeps what it compiles."""

import hashlib
from collections.abc import Mapping, Sequence

from deployments.packages.package import Package
from tasks.settings import Settings

# What torch.compile and Triton would keep in /tmp and in the home folder, which a container loses. They name what they keep by
# its content, so the versions of a model share it.
CACHES = {"TORCHINDUCTOR_CACHE_DIR": "torchinductor", "TRITON_CACHE_DIR": "triton"}


def surroundings(
    settings: Settings, packages: Sequence[Package], inherited: Mapping[str, str]
) -> dict[str, str]:
    """The variables for a host of these packages. What the node was given for a cache stays as it is."""
    name = hashlib.sha256(packages[0].model_name.encode()).hexdigest()[:16]
    folder = settings.state_dir.resolve() / "caches" / name
    variables = {
        variable: str(folder / kind)
        for variable, kind in CACHES.items()
        if not inherited.get(variable)
    }
    if not settings.cpu_models_see_gpus and not any(map(_sees_gpus, packages)):
        variables["CUDA_VISIBLE_DEVICES"] = ""
    return variables


def _sees_gpus(package: Package) -> bool:
    return package.gpus > 0 or package.resources.get("use_gpu") is True
