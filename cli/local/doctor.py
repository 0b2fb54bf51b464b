"""What `kingpost doctor` looks at on a machine of a stack: driver, torch, store, disk, ports, limits."""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import redis

from cli.client.doctor import Finding, clock, long_loads, parts, sentence
from cli.running import NoStack, current_settings
from cli.stack.ports import why_taken
from cli.stack.state_lock import note_of_holder
from deployments.registry import verbs as registry
from tasks.errors import KingpostError, SettingsError
from tasks.outside_text import whole_number
from tasks.process.descriptors import connections, raise_descriptor_limit
from tasks.settings import Settings
from tasks.store.job_store import JobStore, connect, unavailable
from tasks.store_address import shown

DRIVER = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
DRIVER_SECONDS, TORCH_SECONDS = 20, 120  # s; the first import of torch reads gigabytes
TORCH = """
import json, torch
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({"version": torch.__version__, "built_for": torch.version.cuda, "cuda": cuda, "names": names}))
"""
TESTED_TORCH = "2.13.0"  # as in constraints.txt and the README
PORTS = {"API": 8000, "Flower": 5555}  # of `kingpost up`
GB = 1e9  # bytes
DISK_WARN, DISK_FAIL = 10 * GB, 1 * GB  # free: less is a warning, or a failure
SHM_WARN = 0.25 * GB  # Docker's default of 64 MB breaks data loaders of torch
API_SECONDS = 5  # for the API to answer
PINGS = 5  # whose median counts
LATENCY_WARN = 5.0  # ms of a ping; a claim makes several calls, so it takes several times as long
OLDEST_REDIS = 7  # the first version that takes ids of stream entries such as 5-*
STORE_CLOCK_WARN = 2.0  # s apart
# Name -> the values that are right, what another one is, and why. The first value is what our own stores have.
STORE_SETTINGS = {
    "maxmemory-policy": (("noeviction",), "fail", "It may drop accepted requests."),
    "appendonly": (("yes",), "fail", "A restart of the store loses every request."),
    "appendfsync": (("always",), "warn", "A crash of its machine loses the latest requests."),
    "hash-max-listpack-value": (
        ("128",),
        "warn",
        "A record with a long value takes twice the memory.",
    ),
    "zset-max-listpack-entries": (
        tuple(str(number) for number in range(128, 1025)),
        "warn",
        "A finished request takes more of the store's memory.",
    ),
}


def on_this_machine() -> Iterator[Finding]:
    """Everything that can be looked at here. A check that fails is a finding, too."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        yield Finding("settings", "fail", str(error), "docs/settings.md lists them.")
        return
    try:
        settings = current_settings()
        stack: str | None = None
    except KingpostError as error:
        stack = str(error)
        if not isinstance(error, NoStack):
            yield Finding("store", "fail", stack)
    yield from _gpus()
    if stack is None:
        yield from _store(settings)
    elif note_of_holder(settings.state_dir) is None:
        yield Finding("stack", "warn", f"No stack runs in {settings.state_dir.absolute()}.", "`kingpost up` starts one; --state names another folder.")  # fmt: skip
    yield _disk(settings.state_dir)
    yield from _ports(settings.state_dir)
    yield _descriptors(settings)
    yield from _shared_memory()


def _gpus() -> Iterator[Finding]:
    driver = _output(DRIVER, DRIVER_SECONDS)
    if driver is None:
        yield Finding("driver", "ok", "No NVIDIA driver; models run on the CPU.")
    elif isinstance(driver, OSError):
        yield Finding("driver", "fail", f"nvidia-smi fails: {driver}", "Install the NVIDIA driver again, or restart the machine after its update.")  # fmt: skip
    else:
        for line in driver.splitlines():
            yield Finding("driver", "ok", line)
    yield _torch(isinstance(driver, str) and bool(driver.strip()))


def _torch(gpu: bool) -> Finding:
    said = _output([sys.executable, "-c", TORCH], TORCH_SECONDS)
    if not isinstance(said, str):
        if "No module named 'torch'" in str(said):
            return Finding("torch", "warn", "torch is not installed in Kingpost's environment.", f"Packages with requirements bring their own; for others `pip install torch=={TESTED_TORCH}`.")  # fmt: skip
        return Finding("torch", "fail", f"torch cannot be imported: {said}", "Install it again, in the version for this machine's driver.")  # fmt: skip
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    text = f"torch {found['version']}"
    if found["cuda"]:
        return Finding("torch", "ok", f"{text} sees {', '.join(found['names'])}.")
    if not gpu:
        return Finding("torch", "ok", f"{text}, on the CPU.")
    if not found["built_for"]:
        return Finding("torch", "fail", f"{text} is built without CUDA, so it does not see the GPU.", "Install a build for CUDA: https://pytorch.org/get-started.")  # fmt: skip
    return Finding("torch", "fail", f"{text} is built for CUDA {found['built_for']} and does not see the GPU.", "Update the driver, or install a torch for its CUDA (nvidia-smi shows which); check CUDA_VISIBLE_DEVICES.")  # fmt: skip


def _output(command: list[str], seconds: float) -> str | OSError | None:
    """What a program prints. None if there is no such program; an OSError with its last line if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        return OSError(f"no answer in {seconds:g} s")
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return OSError(lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout


def _store(settings: Settings) -> Iterator[Finding]:
    where, client = shown(settings.redis_url), connect(settings)
    try:
        with unavailable():
            times = [_ping_ms(client) for _ in range(PINGS)]
            known = client.info()
            asked = time.time()
            seconds, micros = client.time()
            apart = (asked + time.time()) / 2 - (seconds + micros / 1e6)
        took = statistics.median(times)
        server, version = ("Valkey", known["valkey_version"]) if "valkey_version" in known else ("Redis", known.get("redis_version", "?"))  # fmt: skip
        text = f"{server} {version} at {where} answers in {took:.1f} ms."
        slow = took > LATENCY_WARN
        yield Finding("store", "warn" if slow else "ok", text, "Put the store near API and nodes." if slow else "")  # fmt: skip
        yield from _kind_of_store(known)
        yield from _store_settings(client)
        yield clock(apart, "the store's", STORE_CLOCK_WARN)
        replicas = JobStore(settings).run(registry.replicas())
        yield from long_loads((each.model_name, each.loading_seconds) for each in replicas)
    except KingpostError as error:
        yield Finding("store", "fail", str(error), "See `kingpost logs`, or the server's own log.")
    finally:
        client.close()


def _ping_ms(client: "redis.Redis") -> float:
    """How long a ping takes, in ms."""
    began = time.monotonic()
    client.ping()
    return (time.monotonic() - began) * 1000


def _kind_of_store(known: dict[str, Any]) -> Iterator[Finding]:
    if known.get("role") not in ("master", "primary"):
        yield Finding("store", "fail", f"The store is a {known.get('role')}.", "Kingpost needs the address of the primary.")  # fmt: skip
    if (
        whole_number(str(known.get("redis_version", "")).partition(".")[0]) or OLDEST_REDIS
    ) < OLDEST_REDIS:
        yield Finding("store", "fail", f"The store is too old: Redis {known['redis_version']}.", "Use Valkey, or Redis 7.0 or newer.")  # fmt: skip
    if known.get("cluster_enabled"):
        yield Finding("store", "warn", "The store is a cluster.", "All keys are in one slot of it.")


def _store_settings(client: "redis.Redis") -> Iterator[Finding]:
    try:
        said = cast("dict[str, str]", client.config_get("*"))
    except redis.ResponseError:
        yield Finding("store", "warn", "The store does not tell its settings.", "It needs appendonly yes, appendfsync always and maxmemory-policy noeviction.")  # fmt: skip
        return
    for name, (right, level, why) in STORE_SETTINGS.items():
        value = said.get(name, "")
        if value in right:
            yield Finding("store", "ok", f"{name} {value}")
        else:
            yield Finding("store", "fail" if level == "fail" else "warn", f"{name} is {value or 'unknown'}. {why}", f"CONFIG SET {name} {right[0]}, and the same in its configuration.")  # fmt: skip


def _disk(folder: Path) -> Finding:
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        return Finding("disk", "fail", f"{there} cannot be written by this user.", "Give it to this user, or name another folder with --state.")  # fmt: skip
    free = shutil.disk_usage(there).free
    text = f"{free / GB:,.1f} GB are free for {folder.absolute()}."
    if free >= DISK_WARN:
        return Finding("disk", "ok", text)
    advice = "`kingpost virtualenvs` and old deployments take room; or use another disk."
    return Finding("disk", "fail" if free < DISK_FAIL else "warn", text, advice)


def _ports(state: Path) -> Iterator[Finding]:
    """The ports of the stack that runs, or those that `kingpost up` takes."""
    with contextlib.suppress(OSError, ValueError):
        up = cast("dict[str, Any]", json.loads((state / "up.json").read_bytes()))
        yield from _api_answers(str(up.get("api", "")))
        return
    for name, port in PORTS.items():
        why = why_taken("127.0.0.1", port)
        if why is None:
            yield Finding("port", "ok", f"{port} is free for {name}.")
        else:
            option = "--port" if name == "API" else "--flower-port"
            yield Finding("port", "warn", f"{why}.", f"kingpost up {option} N takes another one.")


def _api_answers(url: str) -> Iterator[Finding]:
    import httpx

    try:
        answer = httpx.get(f"{url}/health/ready", timeout=API_SECONDS)
    except httpx.HTTPError as error:
        yield Finding("api", "fail", f"{url} does not answer: {error}", "See `kingpost logs` and the terminal of `kingpost up`.")  # fmt: skip
        return
    if answer.is_success:
        yield Finding("api", "ok", f"{url} answers.")
    else:
        yield Finding("api", "fail", f"{url} is not ready: {sentence(answer)}", "See `kingpost logs`.")  # fmt: skip
    yield from parts(answer)


def _descriptors(settings: Settings) -> Finding:
    limit = raise_descriptor_limit()
    most = connections(settings.max_connections)
    if most >= settings.max_connections:
        return Finding("descriptors", "ok", f"{limit:,} files may be open, enough for {settings.max_connections:,} connections.")  # fmt: skip
    return Finding("descriptors", "warn", f"{limit:,} files may be open, enough for {most:,} of {settings.max_connections:,} connections.", "Raise it with `ulimit -n`, or LimitNOFILE= of systemd.")  # fmt: skip


def _shared_memory() -> Iterator[Finding]:
    try:
        size = shutil.disk_usage("/dev/shm").total
    except OSError:
        return
    text = f"/dev/shm has {size / GB:.1f} GB."
    if size >= SHM_WARN:
        yield Finding("shm", "ok", text)
    else:
        yield Finding("shm", "warn", text, "torch's data loaders need more: docker run --shm-size 2g.")  # fmt: skip
