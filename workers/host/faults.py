"""Tells apart what a model's exception says about its process: a broken GPU, or too little memory.

A process has one context of its GPU for all models in it, so there is one record of faults for the whole process.
"""

import contextlib
import gc
import sys
import threading

from workers.host.model.failure import headline
from workers.wire.messages import DEVICE, HARDWARE, OUT_OF_MEMORY, WELL, WHY_SICK, Fault

MOST_CAUSES = 4
MEMORY_FAULTS = 3  # in a row, until the process is taken for the cause
RELIEF_SECONDS = 0.1  # until the exception and its frames, which hold tensors, are gone
OF_DEVICE = ("CUDA", "cuda", "HIP", "hip")
# After these, every further call of the same process fails.
BROKEN = (
    *("device-side assert", "illegal memory access", "misaligned address", "illegal instruction"),
    *("unspecified launch failure", "invalid program counter", "invalid address space"),
    *("CUDA_ERROR_ASSERT", "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_LAUNCH_FAILED"),
)
# These are never an input's fault.
DEFECT = ("uncorrectable ECC", "ECC error", "ECC_UNCORRECTABLE", "fallen off the bus")
FULL = (
    *("CUDA out of memory", "HIP out of memory", "MPS backend out of memory"),
    *("error: out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"),
    *("RESOURCE_EXHAUSTED: Out of memory", "can't allocate memory"),
)
# Their bindings raise RuntimeError itself or a class of their own. The texts of any other exception say nothing, because they may
# quote the input: a ValueError is the model's answer to it.
LIBRARIES = {
    *("torch", "torchvision", "torchaudio", "jax", "jaxlib", "tensorflow", "paddle", "mxnet"),
    *("cupy", "cupy_backends", "numba", "pycuda", "cuda", "tensorrt", "onnxruntime"),
}
NOTED = "_kingpost_noted"  # on an exception that was counted: all calls of a batch get the same


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
        """A call of the model has ended well."""
        self._memory_faults = 0


FAULTS = Faults()


def fault_of(error: BaseException) -> Fault:
    """What an exception, or one of its causes, says about the process."""
    cause: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if cause is None:
            break
        if (kind := _alone(cause)) != WELL:
            return kind
        cause = cause.__cause__ or cause.__context__
    return WELL


def _alone(error: BaseException) -> Fault:
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if any(c.__name__ == "OutOfMemoryError" for c in type(error).__mro__):
        return OUT_OF_MEMORY
    if type(error) is not RuntimeError and type(error).__module__.split(".")[0] not in LIBRARIES:
        return WELL
    said = headline(error).partition("\n")[0]
    if any(text in said for text in FULL):
        return OUT_OF_MEMORY
    if not any(name in said for name in OF_DEVICE):
        return WELL
    if any(text in said for text in DEFECT):
        return HARDWARE
    return DEVICE if any(text in said for text in BROKEN) else WELL


def _empty_caches() -> None:
    """Frees what only caches hold, so that the next call finds the memory."""
    gc.collect()
    torch = sys.modules.get("torch")  # which the host itself never imports
    with contextlib.suppress(Exception):  # a broken or half-imported library does no further harm
        if torch and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
