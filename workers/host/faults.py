"""Tells apart what a model's exception says about its process: a broken GPU, or too little memory.

A process has one context of its GPU for all models in it, so there is one record of faults for the whole process.
"""

import contextlib
import gc
import sys
import threading

from workers.host.model.failure import MOST_CAUSES, headline
from workers.wire.messages import DEVICE, HARDWARE, OUT_OF_MEMORY, WELL, WHY_SICK, Fault

# failures in a row after which the process counts as broken, and not the inputs as too large
MEMORY_FAULTS = 3
# From a failure until caches are emptied. By then the exception is gone, and with it the frames that hold tensors.
RELIEF_SECONDS = 0.1
# A text that has none of these words is not about a GPU.
DEVICE_WORDS = ("CUDA", "cuda", "HIP", "hip")
# After an error with one of these texts, every further call of the same process fails.
BROKEN_TEXTS = (
    *("device-side assert", "illegal memory access", "misaligned address", "illegal instruction"),
    *("unspecified launch failure", "invalid program counter", "invalid address space"),
    *("CUDA_ERROR_ASSERT", "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_LAUNCH_FAILED"),
)
# These say that the hardware is defective.
DEFECT_TEXTS = ("uncorrectable ECC", "ECC error", "ECC_UNCORRECTABLE", "fallen off the bus")
MEMORY_TEXTS = (
    *("CUDA out of memory", "HIP out of memory", "MPS backend out of memory"),
    *("error: out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"),
    *("RESOURCE_EXHAUSTED: Out of memory", "can't allocate memory"),
)
# These libraries raise RuntimeError itself or a class of their own. Only the texts of such exceptions are searched. Any other exception,
# such as a ValueError, may be the model's answer to its input and quote it.
LIBRARIES = {
    *("torch", "torchvision", "torchaudio", "jax", "jaxlib", "tensorflow", "paddle", "mxnet"),
    *("cupy", "cupy_backends", "numba", "pycuda", "cuda", "tensorrt", "onnxruntime"),
}
# attribute of an exception that was counted: all calls of a batch fail with the same one
NOTED = "_kingpost_noted"


class Faults:
    """What went wrong in this process."""

    def __init__(self) -> None:
        self.fatal = ""  # why the process has to end; '' = it need not
        self._memory_faults = 0

    def note(self, error: BaseException) -> Fault:
        """Counts an exception of the model, and returns what it says about the process."""
        kind = fault_of(error)
        if kind == WELL or getattr(error, NOTED, False):
            return kind
        with contextlib.suppress(Exception):  # a class of the model's may refuse attributes
            setattr(error, NOTED, True)
        if kind != OUT_OF_MEMORY:
            self.fatal = self.fatal or WHY_SICK[kind]
            return kind
        self._memory_faults += 1
        if self._memory_faults >= MEMORY_FAULTS:
            self.fatal = self.fatal or f"it ran out of memory {MEMORY_FAULTS} times in a row"
        threading.Timer(RELIEF_SECONDS, _empty_caches).start()
        return kind

    def ended_well(self) -> None:
        """Notes that a call of the model has ended well, which ends a row of memory faults."""
        self._memory_faults = 0


FAULTS = Faults()


def fault_of(error: BaseException) -> Fault:
    """What an exception, or one of its causes, says about the process."""
    cause: BaseException | None = error
    for _ in range(1 + MOST_CAUSES):  # those that `describe` shows to the owner
        if cause is None:
            break
        if (kind := _fault_of_single(cause)) != WELL:
            return kind
        cause = cause.__cause__ or cause.__context__
    return WELL


def _fault_of_single(error: BaseException) -> Fault:
    """What one exception says, without its causes."""
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if any(c.__name__ == "OutOfMemoryError" for c in type(error).__mro__):
        return OUT_OF_MEMORY
    if type(error) is not RuntimeError and type(error).__module__.split(".")[0] not in LIBRARIES:
        return WELL
    said = headline(error).partition("\n")[0]
    if any(text in said for text in MEMORY_TEXTS):
        return OUT_OF_MEMORY
    if not any(name in said for name in DEVICE_WORDS):
        return WELL
    if any(text in said for text in DEFECT_TEXTS):
        return HARDWARE
    return DEVICE if any(text in said for text in BROKEN_TEXTS) else WELL


def _empty_caches() -> None:
    """Frees what only caches hold, so that the next call finds the memory."""
    gc.collect()
    torch = sys.modules.get("torch")  # which the host itself never imports
    with contextlib.suppress(Exception):  # a broken or half-imported library does no further harm
        if torch and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
