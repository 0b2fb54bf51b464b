"""Which addresses and ports model hosts may listen on, and how a host on another machine is found."""

import json
import socket
from pathlib import Path

import pytest
import redis

from deployments.host_address import HostAddress
from deployments.registry import verbs as registry
from deployments.registry.directory import Directory
from deployments.registry.keys import keyed, plain
from deployments.registry.records import Replica
from tasks.errors import SettingsError
from tasks.machine import machine
from tasks.process.listening import bound, ports
from tasks.settings import Settings
from tasks.store.job_store import AsyncJobStore, JobStore
from workers.gate.gate import HostGate
from workers.node import main as node


def settings_with(**given: str) -> Settings:
    return Settings.load({f"KINGPOST_{name.upper()}": value for name, value in given.items()})


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.9", "100.64.0.1", "169.254.1.1", "::1", "fd00::5"],
)
def test_an_address_that_is_not_public_is_taken(address: str) -> None:
    assert settings_with(host_address=address).host_address == address


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_needs_a_word_of_its_own(address: str) -> None:
    with pytest.raises(SettingsError, match="is public"):
        settings_with(host_address=address)
    assert settings_with(host_address=address, host_allow_public="1").host_address == address


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "node-1", "10.0.0.1:90"]
)
def test_an_address_that_cannot_be_told_to_others_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="KINGPOST_HOST_ADDRESS must be"):
        settings_with(host_address=address, host_allow_public="1")


def test_ports_are_one_a_range_or_any() -> None:
    assert ports("") == range(1)
    assert ports("9000") == range(9000, 9001)
    assert ports("9000-9063") == range(9000, 9064)


@pytest.mark.parametrize(
    "text", ["0", "9063-9000", "9000-70000", "9000-", "a-b", "-1", "9000-9001-9002"]
)
def test_other_ports_stop_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="KINGPOST_HOST_PORTS"):
        settings_with(host_ports=text)


def test_a_door_takes_the_first_port_that_is_free() -> None:
    first = HostGate("/nowhere", Settings(host_address="127.0.0.1"))
    port = int(first.address.rpartition(":")[2])
    both = Settings(host_address="127.0.0.1", host_ports=f"{port}-{port + 3}")
    second = HostGate("/nowhere", both)
    assert port < int(second.address.rpartition(":")[2]) <= port + 3
    for gate in (first, second):
        gate.stop()


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on KINGPOST_HOST_ADDRESS 192\.0\.2\.1"):
        HostGate("/nowhere", Settings(host_address="192.0.2.1"))
    with pytest.raises(SettingsError, match=r"cannot listen on KINGPOST_HOST_ADDRESS 192\.0\.2\.1"):
        node.run(Settings(host_address="192.0.2.1"))


def replica(name: str, address: Path, **more: str) -> Replica:
    return Replica(name, "dep", "model", "ready", None, str(address), 1, 0, 1, 2, **more)  # type: ignore[arg-type]


async def test_the_address_is_the_socket_on_its_machine_and_tcp_from_another(
    store: JobStore, async_store: AsyncJobStore, tmp_path: Path
) -> None:
    here = tmp_path / "here.sock"
    socket.socket(socket.AF_UNIX).bind(str(here))
    away = {"machine": "other", "tcp": "10.0.0.2:9000", "token_ref": "ref1"}
    known = [
        replica("both", here, machine=machine(), tcp="10.0.0.2:9001", token_ref="ref2"),
        replica("shared-folder", here, **away),
        replica("gone", tmp_path / "gone.sock", machine=machine()),
        replica("only-there", here, machine="other"),
        replica("old", here),
    ]
    for known_replica in known:
        store.run(registry.report(known_replica, 15_000, f"secret of {known_replica.token_ref}"))
    directory = Directory(async_store)
    await directory.run_once()
    assert {replica.id: directory.host_address(replica) for replica in directory.ready("dep")} == {
        "both": HostAddress(str(here)),
        "shared-folder": HostAddress("10.0.0.2:9000", "secret of ref1"),
        "old": HostAddress(str(here)),
    }


async def test_tokens_are_kept_apart_from_entries_and_end_with_them(
    settings: Settings, tmp_path: Path
) -> None:
    replica_elsewhere = replica(
        "r", tmp_path / "s", machine="other", tcp="[fd00::2]:9000", token_ref="ref"
    )
    store = JobStore(settings)
    store.run(registry.report(replica_elsewhere, 15_000, "the secret"))
    with redis.Redis.from_url(settings.redis_url) as client:
        entry = client.get(keyed("replica", "r"))
        assert "the secret" not in str(json.loads(entry))  # type: ignore[arg-type]
        assert (
            0 < client.pttl(keyed("host-token", "ref")) <= client.pttl(keyed("replica", "r")) + 1000
        )  # type: ignore[operator]
        store.run(registry.remove("r", "ref"))
        assert client.exists(keyed("host-token", "ref"), keyed("replica", "r")) == 0
        assert not client.smembers(plain("replicas"))


def test_a_way_does_not_show_its_token() -> None:
    way = HostAddress("[fd00::2]:9000", "the secret")
    assert "secret" not in f"{way} {way!r}"
    assert way.endpoint == ("fd00::2", 9000)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::", ""])
def test_the_api_listens_on_every_address_of_the_host_that_was_asked_for(host: str) -> None:
    given = {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}
    wanted = {found[4][0] for found in socket.getaddrinfo(host or None, 0, **given)}
    made = bound(host, 0)
    assert {listener.getsockname()[0] for listener in made} == wanted
    for listener in made:
        assert listener.family == socket.AF_INET or listener.getsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        )
        listener.close()
