"""An API whose store loses its data: it says so, and accepts its operator's key again."""

import asyncio

import pytest
import redis
from pydantic import SecretStr

from api import app
from api.gateway import Gateway
from tasks.api_keys import key_id
from tasks.settings import Settings
from tests.api_keys import ApiKeys
from tests.conditions import wait_until_async

KEY = "an-operators-own-key"


async def test_the_operator_s_key_is_valid_again_in_an_emptied_store(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LOOK_SECONDS", 0.01)
    settings = settings.model_copy(update={"api_key": SecretStr(KEY)})
    keys, gateway = ApiKeys(settings), Gateway.create(settings)
    keys.install(KEY)
    assert await gateway.epoch.trouble() == ""
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushall()
    assert "came back without its data" in await gateway.epoch.trouble()
    looking = asyncio.create_task(app.look_after_store(gateway))

    async def installed() -> bool:
        return bool(keys.list())

    await wait_until_async(installed, 20)
    assert await gateway.keys.check(KEY)
    keys.revoke(key_id(KEY))
    for _ in range(2):
        await gateway.install_key()
    assert [key.revoked for key in keys.list()] == [True]  # it is no loss
    looking.cancel()
    await gateway.close()
