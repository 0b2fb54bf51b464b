"""Which scope may call which route: every route of the app is asked with a key of every scope, over real HTTP."""

import re

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.app import create_app
from tasks.api_keys import GRANTS, SCOPES, Need, Scope
from tasks.errors import KeyRefused
from tasks.settings import Settings
from tests.api_keys import ApiKeys
from tests.contract.api.all_routes import OPEN, Route, every_route
from tests.contract.api.conftest import Live

# What each route needs, said apart from the routes themselves. A new route belongs to a row, or gets one.
NEEDS: dict[str, Need | None] = {  # None: every valid key
    r"/v1/key": None,
    r"/(production|development|environments/\{environment\}|deployment/\{deployment_id\})/.+": "inference",
    r"/async_request/.+|/async_requests": "inference",
    r"/v1/(chat/completions|completions|embeddings|messages|responses|rerank)|/v1/responses/.+": "inference",
    r"/v1/(images|audio)/.+": "inference",
    r"/v1/models": "inference",
    r"/metrics": "metrics",
    r"/v1/models/.+": "deploy",
    r"/v1/(packages|deployments|logs|nodes|overview|history)(/.+)?": "deploy",
    r"/graphql/?": "deploy",
    r"/v1/(jobs|uploads|files|batches|messages/batches)(/.+)?": "inference",
    r"/v1/(keys|audit|webhook_secrets|settings)(/.+)?|/v1/webhooks(/redrive(_all)?)?": "admin",
    r"/v1/webhooks/(listen|test)": "inference",
}
# The callers of a model may read it, and its deployers change it.
READ_BY_CALLERS = ("GET /v1/models/{model}", "GET /v1/models/{model:path}")
# Who may do what, as the documentation promises it; the table in the code must say the same.
PROMISED: dict[Scope, set[Need]] = {
    "inference": {"inference"},
    "metrics": {"metrics"},
    "deploy": {"inference", "deploy"},
    "full": {"inference", "metrics", "deploy"},
    "admin": {"inference", "metrics", "deploy", "admin"},
}
ALLOWED = 0  # instead of a status: any but 401 and 403


def need_of(route: Route) -> Need | None:
    """The need of the row that the route belongs to."""
    if str(route) in READ_BY_CALLERS:
        return "inference"
    rows = [need for pattern, need in NEEDS.items() if re.fullmatch(pattern, route.template)]
    assert len(rows) == 1, f"{route} belongs to {len(rows)} rows of NEEDS: say what it needs."
    return rows[0]


def test_the_walk_sees_every_route_and_each_has_a_need() -> None:
    walked = {(route.method, route.template) for route in every_route()}
    documented = {
        (method.upper(), path.replace("{route}", "{route:path}"))
        for path, operations in create_app(Settings()).openapi()["paths"].items()
        for method in operations
        if not path.startswith(
            (*OPEN, "/models/", "/chains/")
        )  # these name a model before the same route
    }
    assert len(documented) > 40
    assert documented <= walked
    for route in every_route():
        need_of(route)


@pytest.mark.parametrize("scope", SCOPES)
def test_every_route_asks_for_its_scope(live: Live, scope: Scope) -> None:
    assert GRANTS[scope] == PROMISED[scope]
    with live.client(live.new_key(scope=scope)) as client:
        for route in every_route():
            need, (status, said) = need_of(route), _asked(client, route)
            expected = ALLOWED if need is None or need in PROMISED[scope] else 403
            assert (ALLOWED if status not in (401, 403) else status) == expected, (route, said)
            if expected == 403 and route.method != "HEAD":
                assert f"This key has the scope {scope}; this call needs {need}." in said


@pytest.mark.parametrize("limits", [{"models": ("echo",)}, {"environments": ("production",)}])
def test_a_key_for_some_models_manages_nothing(live: Live, limits: dict[str, object]) -> None:
    with live.client(live.new_key(scope="full", **limits)) as client:
        for route in every_route():
            if need_of(route) in ("deploy", "admin"):
                status, said = _asked(client, route)
                assert status == 403, (route, said)
    for scope in ("deploy", "admin"):
        with pytest.raises(KeyRefused, match=f"scope {scope} may manage every model: create it"):
            ApiKeys(live.settings).create(scope=scope, **limits)  # type: ignore[arg-type]


def _asked(client: httpx.Client, route: Route) -> tuple[int, str]:
    """The status of a call, and what an error says. A stream is not read to its end."""
    if route.method == "WEBSOCKET":
        return _shaken(client, route)
    with client.stream(route.method, route.path) as answer:
        return answer.status_code, answer.read().decode() if answer.status_code >= 400 else ""


def _shaken(client: httpx.Client, route: Route) -> tuple[int, str]:
    headers = {"Authorization": client.headers["Authorization"]}
    try:
        address = f"ws{str(client.base_url).removeprefix('http').rstrip('/')}{route.path}"
        connect(address, additional_headers=headers).close()
    except InvalidStatus as refused:
        return refused.response.status_code, (refused.response.body or b"").decode()
    raise AssertionError(f"{route} opened, although it names no model")
