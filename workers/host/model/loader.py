"""Makes a live model from a package: imports its file, passes constructor arguments by name, sets it up and loads it."""

import asyncio
import contextlib
import importlib
import importlib.util
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from deployments.packages.package import Package
from deployments.packages.secrets import SECRETS_DIR, Secrets
from workers.host.logs import event
from workers.host.model.config import full_config
from workers.host.model.import_path import prefer_package_modules
from workers.host.model.methods import Methods

RETRY_GAP = 1.0  # s between two attempts to load, as Truss has it


class RunCoroutine(Protocol):
    """Runs a coroutine on the server's event loop and waits for it. The loading thread calls it."""

    def __call__(self, coroutine: Any, /) -> object: ...


@dataclass(frozen=True)
class Surroundings:
    """What the host gets besides the package: secrets, environment, variables, and how it shares its process."""

    secrets_dir: Path = SECRETS_DIR
    environment_file: Path = Path("/etc/b10_dynamic_config/environment")
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    load_retries: int = 1  # how often a load that failed is tried again
    files_dir: Path | None = None  # for files of calls; None = it takes none
    shared: bool = False  # whether other models live in this process
    # Held while a model of the process loads. Some libraries break if several threads import them at once.
    loading: AbstractContextManager[object] = field(default_factory=nullcontext[None])


@dataclass
class LiveModel:
    """The instance and its methods. A hot reload replaces the methods."""

    instance: Any
    methods: Methods
    # the one that the model was told last, like {"name": "staging"}; None = none
    environment: object


class LazyDataResolver:
    """Truss's `lazy_data_resolver`. There is nothing to wait for, because packages here have no manifest."""

    def block_until_download_complete(self, *_: object, **__: object) -> str:
        return ""


def on_loop(loop: asyncio.AbstractEventLoop) -> RunCoroutine:
    """A function that runs a coroutine on the serving loop. Clients that `load` creates then work in later calls.

    Only the loading thread may call it, because it blocks.
    """

    def run(coroutine: Any, /) -> object:
        future: Future[object] = asyncio.run_coroutine_threadsafe(coroutine, loop)
        return future.result()

    return run


def read_environment(file: Path) -> object:
    """The environment, like {"name": "staging"}, None if there is none. Raises OSError and ValueError."""
    text = file.read_text() if file.is_file() else ""
    return json.loads(text) if text.strip() else None


def make_model(package: Package, surroundings: Surroundings) -> LiveModel:
    """Creates the model's instance, not yet loaded. Raises the exceptions of the model.

    The working folder is the package. In a shared process it is the first package, so the others get an absolute `data_dir`.
    """
    data_dir = package.root / package.data_dir
    with contextlib.suppress(OSError):  # a package that cannot be written to serves without it
        data_dir.mkdir(parents=True, exist_ok=True)
    module = import_model_file(package, surroundings.shared)
    model_class = _class_of(module, package)
    environment = read_environment(surroundings.environment_file)
    offered = {
        "config": full_config(package),
        "data_dir": data_dir if surroundings.shared else Path(package.data_dir),
        "secrets": Secrets(package.secrets, surroundings.secrets_dir, surroundings.variables),
        "lazy_data_resolver": LazyDataResolver(),
        "environment": environment,
    }
    instance = model_class(**_wanted_arguments(model_class, offered))
    return LiveModel(instance, Methods.of(instance), environment)


def load(live: LiveModel, retries: int, run: RunCoroutine) -> None:
    """Tells the model its environment and blocks until it is loaded. Raises the exceptions of the model."""
    instance, environment = live.instance, live.environment
    if live.methods.setup_environment and environment is not None:
        _run(lambda: instance.setup_environment(environment), run)
    if hasattr(instance, "load"):
        _retry(lambda: _run(instance.load, run), retries)


def warm_up(live: LiveModel, run: RunCoroutine) -> None:
    """Calls the model's `warmup()` if it has one without arguments, before the first call. Raises its exceptions."""
    function = getattr(live.instance, "warmup", None)
    if not callable(function) or _needs_arguments(function):
        return
    started = time.perf_counter()
    _run(function, run)
    event("model.warmed_up", took_ms=round((time.perf_counter() - started) * 1000))


def _needs_arguments(function: Callable[..., Any]) -> bool:
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters.values()
    return any(p.default is p.empty and p.kind not in optional for p in parameters)


def import_model_file(package: Package, shared: bool = False) -> ModuleType:
    """Imports the model's file, under a unique name if there are other models. Raises the exceptions of the import."""
    prefer_package_modules(package)
    path = package.model_file
    folder = path.parent.name
    # The name is Truss's: `model` stays the name of the package, in which model.py may lie.
    name = f"{folder}.{path.stem}" if folder == path.stem else path.stem
    name = f"{package.root.name}.{name}" if shared else name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Could not import {path}.")
    module = importlib.util.module_from_spec(spec)
    if "." in name:
        module.__package__ = None
    sys.modules[name] = module  # before it runs: dataclasses, generic models and pickle look there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        if isinstance(error, ImportError) and "attempted relative import" in str(error):
            raise ImportError(
                f"{path.name} uses a relative import, which a Truss model file cannot; write the "
                "absolute import instead."
            ) from error
        raise
    return module


def _class_of(module: ModuleType, package: Package) -> Any:
    """The model's class. Raises AttributeError that says how the package names it."""
    name = package.model_class_name
    if hasattr(module, name):
        return getattr(module, name)
    own = [
        word
        for word, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]
    known = f" but {', '.join(own)}" if own else ""
    raise AttributeError(
        f"module {module.__name__!r} has no attribute {name!r}{known}; rename the class, or set model_class_name in config.yaml"
    )


def _wanted_arguments(
    model_class: Callable[..., Any], offered: Mapping[str, object]
) -> dict[str, object]:
    parameters = inspect.signature(model_class).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return dict(offered)
    return {name: value for name, value in offered.items() if name in parameters}


def _run(function: Callable[[], Any], run: RunCoroutine) -> None:
    result = function()
    if inspect.isawaitable(result):
        run(result)


def _retry(attempt: Callable[[], None], retries: int) -> None:
    for left in range(retries, -1, -1):
        try:
            attempt()
            return
        except Exception as error:  # the model's own, of any kind; the last one is raised
            if left == 0:
                raise
            event("model.load_failed", "warning", error=repr(error), retries_left=left)
            time.sleep(RETRY_GAP)


def reload_methods(package: Package, live: LiveModel, surroundings: Surroundings) -> Methods:
    """Imports the model's code again and gives the live instance the new class. Its state stays.

    Raises the exceptions of the import. The instance is then unchanged.
    """
    folder = package.model_file.parent.resolve()
    for name, module in list(sys.modules.items()):
        if _lies_in(module, folder):
            del sys.modules[name]
    importlib.invalidate_caches()
    fresh = _class_of(import_model_file(package, surroundings.shared), package)
    before = live.instance.__class__
    live.instance.__class__ = fresh
    try:
        return Methods.of(live.instance)
    except Exception:
        live.instance.__class__ = before
        raise


def _lies_in(module: ModuleType, folder: Path) -> bool:
    # __path__ too: a namespace package has no __file__, yet its stale path must not stay
    paths = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(path and Path(path).resolve().is_relative_to(folder) for path in paths)
