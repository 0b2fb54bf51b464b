"""Callers have one socket and the worker another: nothing sent to the first reaches a route of the second."""

import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from tests.contract.host.running import RunningHost, client_at
from tests.contract.host.test_docker_server import config
from tests.contract.private_routes import ATTEMPTS, ROUTES, ask
from workers.hosting.sockets import worker_address

pytestmark = pytest.mark.kingpost_only("the worker's socket")
MODEL = """
import asyncio, os
class Model:
    async def predict(self, name):
        open(f"data/ran-{name}", "w").close()
        while name == "victim" and not os.path.exists("data/go"):
            await asyncio.sleep(0.01)
        return [name, "before"]
"""
SERVER = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

async def mine(request):
    return JSONResponse({"mine": request.url.path})

app = Starlette(routes=[
    Route("/ready", lambda _: Response()),
    Route("/{path:path}", mine, methods=["GET", "POST", "DELETE"]),
])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture(scope="module")
def host(start_host: StartHost) -> RunningHost:
    return start_host(MODEL, "runtime: {predict_concurrency: 2}")


def test_no_spelling_on_the_callers_socket_reaches_a_route_of_the_worker(host: RunningHost) -> None:
    file: Path = host.package / "model" / "model.py"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(host.job, "victim", "victim")
        wait_until((host.package / "data" / "ran-victim").exists)
        file.write_text(MODEL.replace("before", "after"))
        for method, target in ATTEMPTS:
            for written in (f"/{target}", f"http://host/{target}"):
                said = ask(host.socket, method, written)
                assert (said.status in (400, 404), said.is_private) == (True, False), (
                    method,
                    written,
                )
        (host.package / "data" / "go").touch()
        assert running.result().json() == ["victim", "before"], "it was not stopped"
    assert host.state()["busy"] == 0, "no slot was taken"
    assert host.predict("x").json() == ["x", "before"], "no code was loaded"
    assert sorted(path.name for path in (host.package / "data").glob("ran-*")) == [
        "ran-victim",
        "ran-x",
    ]


def test_the_same_words_do_reach_them_on_the_worker_s_socket(host: RunningHost) -> None:
    there = worker_address(host.socket)
    found = {route: ask(there, method, f"/{route}").status for method, route in ROUTES[:5]}
    assert list(found.values()) == [200, 200, 404, 200, 200], "no such job runs"
    assert ask(there, "DELETE", "/jobs/victim").raw.endswith(
        b'{"error":"No such job is running here."}'
    )
    assert ask(there, "POST", "/v1/models/model:predict").status == 404, "callers have their own"


def test_both_sockets_are_for_their_user_alone(host: RunningHost) -> None:
    for address in (host.socket, worker_address(host.socket)):
        assert stat.S_IMODE(Path(address).stat().st_mode) == 0o600


def test_what_the_worker_asks_is_no_call_of_a_caller(host: RunningHost) -> None:
    before = host.state()["served"]
    host.worker.post("/hot-reload")
    assert host.state()["served"] == before
    host.http.get("/v1/models/model")
    assert host.state()["served"] == before + 1


def test_a_job_is_work_but_no_open_call_of_a_caller(host: RunningHost) -> None:
    before = host.state()["served"]
    with ThreadPoolExecutor(1) as pool:
        (host.package / "data" / "go").unlink(missing_ok=True)
        (host.package / "data" / "ran-victim").unlink(missing_ok=True)
        running = pool.submit(host.job, "victim", "again")
        wait_until((host.package / "data" / "ran-victim").exists)
        said = host.state()
        (host.package / "data" / "go").touch()
        running.result()
    assert (said["open"], said["served"]) == (0, before + 1)


def test_paths_like_the_worker_s_are_a_custom_server_s_own(start_host: StartHost) -> None:
    host = start_host(None, config(f"{sys.executable} server.py").replace("/live", "/ready"),
                      {"server.py": SERVER})  # fmt: skip
    for method, target in ATTEMPTS:
        said = ask(host.socket, method, f"/{target}")
        assert not said.is_private, (method, target)
    assert ask(host.socket, "GET", "/state").raw.endswith(b'{"mine":"/state"}')
    assert (host.state()["busy"], host.state()["state"]) == (0, "ready")
    assert client_at(worker_address(host.socket)).get("/generate").status_code == 404
    assert host.worker.post("/hot-reload").status_code == 404, "there is no class to swap"
