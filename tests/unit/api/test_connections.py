"""Places for connections: strangers, holders of keys, and what neither may take."""

from typing import Any

import pytest

from api.problems import Problem
from api.server.connections import PATIENCE, STALLED_SECONDS, Connection, Connections


class Transport:
    """A connection from an address, with bytes that wait to be read."""

    def __init__(self, host: str) -> None:
        self.host, self.aborted, self.buffered = host, False, 0

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return self.host, 1

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.buffered


class Rig:
    """Connections under a clock that the test moves."""

    def __init__(self, most: int, most_per_key: int = 0) -> None:
        self.now = 100.0
        self.known = Connections(most, most_per_key, lambda: self.now)

    def open(self, host: str = "10.0.0.1", key: str = "") -> Connection:
        connection = self.known.open(Transport(host))
        if key:
            connection.show(key)
        return connection

    def later(self, seconds: float) -> None:
        self.now += seconds


def gone(connection: Connection) -> bool:
    transport: Any = connection.transport
    return transport.aborted


def test_the_oldest_stranger_of_an_address_makes_room_for_the_next() -> None:
    rig = Rig(40)
    opened = [rig.open() for _ in range(10)]
    rig.later(PATIENCE + 0.1)
    newest = rig.open()
    assert [gone(c) for c in opened] == [True] + [False] * 9
    assert not gone(newest)
    assert (rig.known.strangers, rig.known.refused) == (10, {"strangers_address": 1})


def test_a_burst_is_no_attack_but_has_an_end() -> None:
    rig = Rig(40)
    opened = [rig.open() for _ in range(50)]
    assert [gone(c) for c in opened] == [True] * 10 + [False] * 40


def test_the_busiest_address_pays_for_all() -> None:
    rig = Rig(40)
    alone = rig.open("10.0.0.9")
    many = [rig.open(f"10.0.1.{n % 3}") for n in range(19)]
    rig.later(PATIENCE + 0.1)
    rig.open("10.0.0.8")
    assert not gone(alone)
    assert sum(map(gone, many)) == 1


def test_who_has_shown_a_key_is_not_cut_for_strangers() -> None:
    rig = Rig(40)
    holders = [rig.open(key="k") for _ in range(36)]
    for _ in range(100):
        rig.later(PATIENCE + 0.1)
        rig.open()
    assert not any(map(gone, holders))
    assert rig.known.strangers == 4


def test_a_key_has_a_limit_of_its_own_and_strangers_keep_a_tenth() -> None:
    rig = Rig(40, 20)
    held = [rig.open(key="a") for _ in range(20)]
    with pytest.raises(Problem) as refused:
        rig.open(key="a")
    assert (refused.value.status, "Retry-After" in refused.value.headers) == (429, True)
    for _ in range(16):
        rig.open(key="b")
    with pytest.raises(Problem) as refused:
        rig.open(key="c")
    assert refused.value.status == 503
    held[0].close()
    rig.open(key="c")


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    rig = Rig(40)
    same = [rig.open(f"2001:db8::{n}") for n in range(1, 11)]
    rig.later(PATIENCE + 0.1)
    rig.open("2001:db8::ffff")
    assert gone(same[0])


def test_who_reads_nothing_is_cut_and_who_reads_slowly_is_not() -> None:
    rig = Rig(40)
    stuck, slow, idle = (rig.open(key="k") for _ in range(3))
    for second in range(int(STALLED_SECONDS) + 2):
        stuck.transport.buffered, slow.transport.buffered = 1000, 1000 - second
        rig.known.look()
        rig.later(1)
    assert (gone(stuck), gone(slow), gone(idle)) == (True, False, False)
    assert rig.known.refused == {"not_reading": 1}


def test_who_waits_for_its_turn_is_not_cut_for_being_slow() -> None:
    rig = Rig(40)
    opened = [rig.open() for _ in range(10)]
    for connection in opened:
        connection.queued = True
    rig.later(PATIENCE + 0.1)
    rig.open()
    assert not any(map(gone, opened))
    opened[0].started()
    rig.later(PATIENCE + 0.1)
    rig.open()
    assert [gone(c) for c in opened] == [True] + [False] * 9
