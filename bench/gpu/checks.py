"""The ten checks. Each answers what it measured; `NoDevice` says what it could show without a GPU. AssertionError: it failed."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.gpu.rig import Gpu, Stand, seconds_until, stand
from bench.gpu.streams import Streamed, streamed
from bench.sync import HOST_PATH
from tests.conditions import wait_until

HELD_MIB = 2048  # that a check takes and wants back
CPU_MIB = 64
SLACK_MIB = 512  # a CUDA context, and what others take meanwhile
FULL = ("full-a", "full-b")
CODE = "MODEL_OUT_OF_MEMORY"
TOKENS = {True: 64, False: 8}  # of a stream, with a GPU and without
Run = Callable[[Stand, Gpu | None], str]


class NoDevice(Exception):
    """The check had no GPU; the text says what was shown all the same."""


def resources(gpu: Gpu | None, share: float = 0) -> dict[str, Any]:
    """What config.yaml says of a model on the GPU: a share of its memory, 0 = all of it."""
    total = gpu.total if gpu else 8192
    memory = {"gpu_memory": f"{int(total * share)}Mi"} if share else {}
    return {"resources": {"accelerator": gpu.kind if gpu else "A10G", **memory}}


def placement(stack: Stand, gpu: Gpu | None) -> str:
    """A model with an accelerator sees one GPU, one without sees none."""
    on, off = stack.call("share-a", {"do": "look"}), stack.call("none", {"do": "look"})
    assert (off["devices"], off["visible"]) == (0, ""), f"without an accelerator it sees {off}"
    assert on["visible"], f"with an accelerator it sees {on}"
    said = f"CUDA_VISIBLE_DEVICES {on['visible']} with an accelerator, empty without"
    if gpu is None:
        raise NoDevice(f"{said}; the node lists a GPU that is not there")
    assert on["devices"] == 1, f"torch sees {on['devices']} devices"
    return said


def shares(stack: Stand, gpu: Gpu | None) -> str:
    """Two models that declare 40 % each are on one GPU at once."""
    a, b = (stack.call(name, {"do": "look"}) for name in ("share-a", "share-b"))
    assert a["visible"] == b["visible"], f"they see {a['visible']} and {b['visible']}"
    assert a["pid"] != b["pid"], "they are one process"
    if gpu is None:
        raise NoDevice("two models with 40 % each were placed on the GPU that is listed")
    return f"two models with 40 % each on one GPU, {gpu.used} of {gpu.total} MiB in use"


def after_kill(stack: Stand, gpu: Gpu | None) -> str:
    """The memory of a host that is killed comes back, and so does the model."""
    before = gpu.used if gpu else 0
    held = stack.call("share-a", {"do": "hold", "mib": HELD_MIB if gpu else CPU_MIB})
    taken = (gpu.used - before) if gpu else 0
    os.kill(held["pid"], signal.SIGKILL)
    seconds = seconds_until(lambda: _other_host(stack, held["pid"]), 120)
    if gpu is None:
        raise NoDevice(f"another host was ready after {seconds:.1f} s")
    assert taken > HELD_MIB * 0.9, f"only {taken} MiB were taken"
    wait_until(lambda: gpu.used < before + SLACK_MIB, 60, "the memory did not come back")
    return f"{taken} MiB were taken; another host was ready after {seconds:.1f} s, {gpu.used - before:+} MiB"


def after_cancel(stack: Stand, gpu: Gpu | None) -> str:
    """The memory of a job that is cancelled comes back, and its host lives on."""
    pid = stack.call("share-b", {"do": "look"})["pid"]
    before = gpu.used if gpu else 0
    job = stack.job("share-b", {"do": "wait", "mib": HELD_MIB if gpu else CPU_MIB})
    wait_until(lambda: stack.status(job)["status"] == "IN_PROGRESS", 60)
    if gpu:
        wait_until(lambda: gpu.used > before + HELD_MIB * 0.9, 60, "no memory was taken")
    assert stack.http.delete(f"/async_request/{job}").is_success
    seconds = seconds_until(lambda: bool(stack.status(job).get("stopped_at")), 60)
    assert stack.call("share-b", {"do": "look"})["pid"] == pid, "the host was ended"
    if gpu is None:
        raise NoDevice(f"the call ended after {seconds:.1f} s in the same host")
    wait_until(lambda: gpu.used < before + SLACK_MIB, 60, "the memory did not come back")
    return f"{HELD_MIB} MiB came back {seconds:.1f} s after the cancel, in the same host"


def out_of_memory(stack: Stand, gpu: Gpu | None) -> str:
    """A job that runs out of memory says so, and the next one runs."""
    failed = stack.ended(stack.job("share-b", {"do": "oom"}))
    codes = [error["code"] for error in failed["errors"]]
    assert (failed["status"], set(codes)) == ("FAILED", {CODE}), f"{failed['status']}: {codes}"
    stack.call("share-b", {"do": "look"})
    said = f"{CODE} after {len(codes)} tries; the next call ran"
    if gpu is None:
        raise NoDevice(f"{said} (the memory was the machine's)")
    return said


def device_assert(stack: Stand, gpu: Gpu | None) -> str:
    """A device-side assert ends its host; the next call runs in another one."""
    pid = stack.call("share-b", {"do": "look"})["pid"]
    failed = stack.ended(stack.job("share-b", {"do": "assert"}), 240)
    assert failed["status"] == "FAILED", f"it is {failed['status']}"
    if gpu is None:
        stack.call("share-b", {"do": "look"})
        raise NoDevice("the same mistake on the CPU failed its job, and the next call ran")
    wait_until(lambda: stack.call("share-b", {"do": "look"})["pid"] != pid, 120)
    return f"the job failed with {failed['errors'][-1]['code']}, the next call ran in another host"


def swap(stack: Stand, gpu: Gpu | None) -> str:
    """Two models that take the whole GPU take turns on it, as they are called."""
    times: list[float] = []
    for name in FULL * 2:
        times.append(seconds_until(lambda name=name: bool(stack.call(name, {"do": "look"})), 240))
        wait_until(
            lambda n=name: not any(stack.replicas(other) for other in FULL if other != n), 30
        )
    said = f"turns took {', '.join(f'{seconds:.1f}' for seconds in times)} s"
    if gpu is None:
        raise NoDevice(f"{said} on the GPU that is listed")
    return said


def diffusion(stack: Stand, gpu: Gpu | None) -> str:
    """A denoiser with random weights, through the queue."""
    steps = 25 if gpu else 3
    done = stack.ended(stack.job("diffusion", {"steps": steps}), 240)
    assert done["status"] == "SUCCEEDED", f"it {done['status']}: {done['errors']}"
    found = stack.http.get(f"/async_request/{done['request_id']}/result").json()
    said = f"{found['parameters'] / 1e6:.0f} million parameters, {steps} steps, {1000 * found['seconds']:.1f} ms a step"
    if gpu is None:
        raise NoDevice(f"a tiny one: {said}")
    return said


def llm(stack: Stand, gpu: Gpu | None) -> str:
    """A language model with random weights, streamed at 1, 8 and 32."""
    about = stack.call("llm", {})
    rows = [f"{count}: {_through(stack, count, gpu).said}" for count in (1, 8, 32)]
    said = f"{about['parameters'] / 1e6:.0f} million parameters; " + "; ".join(rows)
    if gpu is None:
        raise NoDevice(f"a tiny one: {said}")
    return said


def through(stack: Stand, gpu: Gpu | None) -> str:
    """The same model's host called directly, and through Kingpost, in turn."""
    (replica,) = stack.replicas("llm")
    pairs: list[tuple[Streamed, Streamed]] = []
    path = HOST_PATH.replace("models/model:predict", "chat/completions")
    for _ in range(5 if gpu else 3):
        direct = streamed(f"unix:{replica.address}", path, "", 1, TOKENS[gpu is not None])
        pairs.append((direct, _through(stack, 1, gpu)))
    shares_ = sorted(ours.per_second / direct.per_second for direct, ours in pairs)
    added = sorted(ours.first_ms - direct.first_ms for direct, ours in pairs)
    middle = len(pairs) // 2
    said = f"tokens/s {shares_[middle]:.2f} x direct, first token {added[middle]:+.1f} ms (medians of {len(pairs)})"
    if gpu is None:
        raise NoDevice(f"a tiny one: {said}")
    return said


def _through(stack: Stand, count: int, gpu: Gpu | None) -> Streamed:
    return streamed(stack.url, "/v1/chat/completions", stack.key, count, TOKENS[gpu is not None])


def _other_host(stack: Stand, pid: int) -> bool:
    return any(replica.host_pid not in (None, pid) for replica in stack.replicas("share-a"))


def groups(gpu: Gpu | None) -> list[tuple[dict[str, tuple[str, dict[str, Any]]], list[Run]]]:
    """The stacks, one after the other: their models, and the checks on them."""
    real = "real" if gpu else "tiny"
    # 2048 x 24 is 1.3 billion parameters: 2.7 GB of bfloat16, on any card.
    width, layers = ("2048", "24") if gpu else ("128", "2")
    sizes = {"LLM_WIDTH": width, "LLM_LAYERS": layers}
    many = {"runtime": {"predict_concurrency": 32}}
    holders = {
        "share-a": ("holder", resources(gpu, 0.4)),
        "share-b": ("holder", resources(gpu, 0.4) | {"runtime": {"stop_grace_seconds": 0}}),
        "none": ("holder", {}),
    }
    full = {name: ("holder", resources(gpu)) for name in FULL}
    llms = {"llm": ("llm", resources(gpu) | many | {"environment_variables": sizes})}
    pictures = {"diffusion": ("diffusion", resources(gpu) | {"environment_variables": {"DIFFUSION_SIZE": real}})}  # fmt: skip
    return [
        (holders, [placement, shares, after_kill, after_cancel, out_of_memory, device_assert]),
        (full, [swap]),
        (pictures, [diffusion]),
        (llms, [llm, through]),
    ]


def run(folder: Path, gpu: Gpu | None, tell: Callable[[str, str, str], None]) -> bool:
    """Runs all of them and tells each one's name, verdict and words. False if one failed."""
    good = True
    for number, (models, checks) in enumerate(groups(gpu)):
        with stand(folder / str(number), models, gpu) as stack:
            for check in checks:
                name = check.__name__.replace("_", " ")
                try:
                    tell(name, "passed", check(stack, gpu))
                except NoDevice as shown:
                    tell(name, "no device", str(shown))
                except (AssertionError, TimeoutError, OSError) as error:
                    good = False
                    tell(name, "FAILED", str(error) or type(error).__name__)
    return good
