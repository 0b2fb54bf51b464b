"""Every form of KINGPOST_REDIS_URL means the same to redis-py and to Celery, or is refused with one sentence."""

import ssl
from typing import Any

import pytest
import redis

from tasks.celery_app import make_app
from tasks.errors import SettingsError
from tasks.settings import Settings
from tasks.store.job_store import connect
from tasks.store_address import shown
from tests.valkey import Valkey


def loaded(url: str) -> Settings:
    return Settings.load({"KINGPOST_REDIS_URL": url})


def both_answer(url: str) -> None:
    settings = loaded(url)
    assert connect(settings).ping()
    with make_app(settings).connection_for_read() as connection:
        assert connection.default_channel.client.ping()


def kombus(settings: Settings) -> dict[str, Any]:
    """What Celery's connection would be made with."""
    from kombu.transport.redis import Channel

    connection = make_app(settings).connection_for_write()
    channel = object.__new__(Channel)
    channel.connection = type("Transport", (), {"client": connection, "default_port": 6379})()
    return channel._connparams()


def test_a_unix_socket_in_either_spelling(valkey: Valkey) -> None:
    both_answer(f"unix://{valkey.socket}?db=3")
    both_answer(f"redis+socket://{valkey.socket}?virtual_host=3")
    settings = loaded(f"redis+socket://{valkey.socket}?virtual_host=3")
    connect(settings).set("where", "here")
    with redis.Redis(port=valkey.port, db=3) as client:
        assert client.get("where") == b"here"
    assert kombus(settings)["db"] == 3


def test_tcp_with_a_database(valkey: Valkey) -> None:
    both_answer(f"redis://127.0.0.1:{valkey.port}/2")
    both_answer(f"redis://127.0.0.1:{valkey.port}")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("", ssl.CERT_REQUIRED),
        ("?ssl_cert_reqs=CERT_NONE", ssl.CERT_NONE),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE),
        ("?ssl_cert_reqs=Optional", ssl.CERT_OPTIONAL),
        ("?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/ca.pem", ssl.CERT_REQUIRED),
    ],
)
def test_tls_means_the_same_to_both(said: str, wanted: ssl.VerifyMode) -> None:
    settings = loaded(f"rediss://:p%40ss@store.example:6380/1{said}")
    pool = connect(settings).connection_pool
    ours = pool.connection_class(**pool.connection_kwargs)
    theirs = kombus(settings)
    assert isinstance(ours, redis.SSLConnection)
    assert ours.cert_reqs == wanted
    assert issubclass(theirs["connection_class"], redis.SSLConnection)
    assert theirs["ssl_cert_reqs"] == wanted
    assert theirs["password"] == "p@ss" == pool.connection_kwargs["password"]
    assert theirs.get("ssl_ca_certs") == pool.connection_kwargs.get("ssl_ca_certs")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sentinel://:secret@10.0.0.1:26379/mymaster", "Sentinel"),
        ("amqp://user:secret@broker//", "amqp://"),
        ("localhost:6379", "localhost"),
        ("", "no scheme"),
        ("redis://:secret@store:port/0", "not an address"),
        ("redis://:secret@store:6379/zero", "database 'zero'"),
        ("redis://:secret@store:6379/0?ssl_cert_reqs=none", "rediss://"),
        ("redis://:secret@store:6379/0?socket_timeout=3", "socket_timeout"),
        ("rediss://:secret@store:6379/0?ssl_cert_reqs=maybe", "ssl_cert_reqs=maybe"),
        ("unix://relative/path", "absolute path"),
        ("redis://[::1/0", "not an address"),
    ],
)
def test_what_one_of_them_cannot_use_is_refused_and_no_password_shown(url: str, word: str) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded(url)
    said = str(refused.value)
    assert said.startswith("KINGPOST_REDIS_URL ")
    assert word in said
    assert "secret" not in said
    assert "\n" not in said


def test_an_address_is_shown_without_its_password() -> None:
    assert shown("redis://user:secret@store:6379/0") == "redis://store:6379/0"
    assert shown("unix:///run/x.sock?db=0&password=secret") == "unix:///run/x.sock"
