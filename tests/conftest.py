"""Fixtures that many tests share: a real Valkey, a store on it, and a clock that tests may move."""

# ruff: noqa: E402 - what is imported after the first lines may read the environment
import gc

from tests import surroundings

HOME = surroundings.enter()
gc.disable()  # until all tests are found: half of that time would go into collections that find no garbage

# isort: split
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tasks.settings import Settings
from tasks.store import keys
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.scripting import CLOCK_OFFSET_KEY
from tests import effort
from tests.valkey import Valkey

pytest_plugins = ["tests.chain_builder"]

# How fast this machine makes up inputs is no finding.
STARVED = [HealthCheck.too_slow]
hypothesis_settings.register_profile("tests", deadline=None, suppress_health_check=STARVED)
hypothesis_settings.load_profile("tests")
for name in (effort.THOROUGH, effort.LONG):
    hypothesis_settings.register_profile(name, deadline=None, suppress_health_check=STARVED)


_configure = structlog.configure


def _configure_without_cache(**how: Any) -> None:
    """A logger that keeps its first configuration would hide from a later test what it says."""
    _configure(**{**how, "cache_logger_on_first_use": False})


structlog.configure = _configure_without_cache


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What a test has made of this process's logs ends with it."""
    before = structlog.get_config()
    yield
    _configure(**before)


def pytest_addoption(parser: pytest.Parser) -> None:
    servers = ("kingpost", "truss")
    parser.addoption("--server", choices=servers, help="what the tests of the model host run on")


def pytest_unconfigure() -> None:
    """Leaves no folder behind."""
    surroundings.leave(HOME)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The server that most tests share; tests that kill a server start their own."""
    server = Valkey(tmp_path_factory.mktemp("valkey"), fsync="everysec").start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: Valkey) -> Valkey:
    """The shared server, empty."""
    with redis.Redis(port=valkey_server.port) as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def settings(valkey: Valkey, tmp_path: Path) -> Settings:
    """Settings for the shared server and a state folder of this test's own."""
    return Settings(redis_url=valkey.url, state_dir=tmp_path / "state")


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    """A job store whose clock `clock` can move."""
    store = JobStore(settings, movable_clock=True)
    yield store
    store.close()


@pytest.fixture
async def async_store(settings: Settings) -> AsyncIterator[AsyncJobStore]:
    """The same for tests that are async."""
    store = AsyncJobStore(settings, movable_clock=True)
    yield store
    await store.close()


PASS = """
local wall = redis.call('TIME')[1] * 1000 + (redis.call('GET', KEYS[2]) or 0)
local last, behind = string.match(redis.call('GET', KEYS[1]) or wall .. ' 0', '^(%S+) (%S+)$')
redis.call('SET', KEYS[1], string.format('%.0f %.0f', last, behind - ARGV[1]))
"""


class Clock:
    """Moves the scripts' time."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def advance(self, seconds: float) -> None:
        """Lets `seconds` pass for leases, expiry and due times."""
        ms = int(seconds * 1000)
        self._client.eval(PASS, 2, keys.plain("clock"), CLOCK_OFFSET_KEY, ms)

    def jump(self, seconds: float) -> None:
        """Sets the wall's clock of every script that `store` runs forward or back, as an administrator does."""
        self._client.incrby(CLOCK_OFFSET_KEY, int(seconds * 1000))


@pytest.fixture
def clock(store: JobStore) -> Clock:
    """The clock of `store`."""
    return Clock(store.redis)


# Files whose tests wait for whole stacks; first, or one process would be alone with them at the end.
CHAINS = "tests/contract/chains/"  # one group: its files share two stacks
CLIENT = "tests/contract/client/"  # these share one
LONG = (
    "deployments/test_deployments.py",
    CLIENT,
    CHAINS,
    "test_mutants.py",
    "test_replica.py",
    "test_up.py",
    "test_packages_over_http.py",
    "test_virtualenvs.py",
    "test_management.py",
    "test_engines.py",
    "test_one_slot.py",
    "test_console_trying_in_browser.py",
    "test_broken_models.py",
    "test_methods.py",
    "test_across_machines.py",
    "test_chaos.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first; the tests of chains by the stack that they share."""

    def place(item: pytest.Item) -> tuple[int, str]:
        path = item.path.as_posix()
        at = next((at for at, name in enumerate(LONG) if name in path), len(LONG))
        given = getattr(item, "callspec", None)
        stack = given.params.get("stack", "") if given and CHAINS in path else ""
        return at, stack

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Garbage is collected again from here on, without the tests and modules, which stay."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file stays in one process, and so do files that share a stack."""
    from xdist.scheduler.loadfile import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            shared = (group for group in (CHAINS, CLIENT) if nodeid.startswith(group))
            return next(shared, None) or super()._split_scope(nodeid)

    return ByFile(config, log)
