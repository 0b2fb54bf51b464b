"""What a model's exception says about its process."""

import threading

import pytest

from workers.host.faults import Faults, fault_of
from workers.wire.messages import DEVICE, HARDWARE, OUT_OF_MEMORY, WELL

ASSERT = (
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
)


def of(module: str, name: str, base: type[Exception] = RuntimeError) -> type[Exception]:
    """A class like that library's."""
    return type(name, (base,), {"__module__": module})


AcceleratorError = of("torch", "AcceleratorError")
OutOfMemoryError = of("torch", "OutOfMemoryError")
XlaRuntimeError = of("jaxlib._jax", "XlaRuntimeError")
CUDARuntimeError = of("cupy_backends.cuda.api.runtime", "CUDARuntimeError")
ModelsOwn = of("model", "ModelsOwn")
HTTPException = of("fastapi.exceptions", "HTTPException", Exception)

# What a caller may write into the input, and a model into its answer.
QUOTED = [
    *("CUDA ECC error", "bad: CUDA out of memory", "CUDA error: device-side assert triggered"),
    *("RESOURCE_EXHAUSTED: Out of memory", "can't allocate memory"),
]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError(ASSERT), DEVICE),
        (AcceleratorError(ASSERT), DEVICE),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DEVICE),
        (RuntimeError("HIP error: an illegal memory access was encountered"), DEVICE),
        (RuntimeError("CUDA error: unspecified launch failure"), DEVICE),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), HARDWARE),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), OUT_OF_MEMORY),
        (OutOfMemoryError("Allocation on device"), OUT_OF_MEMORY),
        (RuntimeError("CUDA error: out of memory"), OUT_OF_MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), OUT_OF_MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), OUT_OF_MEMORY),
        (MemoryError(), OUT_OF_MEMORY),
        (XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), OUT_OF_MEMORY),
        (CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access"), DEVICE),
        (RuntimeError("CUDA error: no kernel image is available for execution"), WELL),
        (ValueError("the text speaks of a device-side assert"), WELL),
        (ValueError("out of range"), WELL),
    ],
)
def test_an_exception_is_told_by_class_and_text(error: BaseException, kind: str) -> None:
    assert fault_of(error) == kind
    wrapped = ValueError("generation failed")
    wrapped.__cause__ = error
    assert fault_of(wrapped) == kind


@pytest.mark.parametrize("said", QUOTED)
@pytest.mark.parametrize(
    "kind",
    [ValueError, KeyError, TypeError, Exception, NotImplementedError, HTTPException, ModelsOwn],
)
def test_an_exception_that_may_quote_the_input_says_nothing_about_the_process(
    kind: type[Exception], said: str
) -> None:
    assert fault_of(kind(said)) == WELL
    assert fault_of(kind(f"unknown language '{said}'")) == WELL


def test_torch_s_own_classes_are_known() -> None:
    torch = pytest.importorskip("torch")
    assert fault_of(torch.cuda.OutOfMemoryError("x")) == OUT_OF_MEMORY
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)  # more than any machine has
    assert fault_of(raised.value) == OUT_OF_MEMORY


def test_a_broken_device_is_fatal_at_once_and_its_first_reason_stays() -> None:
    faults = Faults()
    faults.note(RuntimeError(ASSERT))
    faults.note(RuntimeError("CUDA error: uncorrectable ECC error encountered"))
    assert faults.fatal == "its GPU cannot be used any more"


def test_only_memory_faults_in_a_row_are_fatal_and_a_batch_counts_once() -> None:
    faults, of_batch = Faults(), MemoryError()
    for _ in range(8):
        faults.note(of_batch)
    faults.note(MemoryError())
    assert not faults.fatal
    faults.ended_well()
    for _ in range(3):
        assert not faults.fatal
        faults.note(MemoryError())
    assert faults.fatal == "it ran out of memory 3 times in a row"
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()
