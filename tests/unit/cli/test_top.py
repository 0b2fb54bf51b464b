"""What `kingpost top` draws: 80 columns, GPUs, a silent node, and no more lines than the terminal has."""

from typing import Any, cast

from rich.cells import cell_len
from rich.console import Console

from cli.live.top import _fitted, picture
from kingpost.contexts import Server
from kingpost.operating import Node, Work


class FakeServer:
    """Two answers of a server."""

    server = Server("https://kingpost.example.com", "key")

    def overview(self) -> list[Work]:
        long = Work(
            model="zai-org/GLM-5-with-a-very-long-name-that-goes-on", deployment_id="abcd1234",
            environments=("production", "staging", "canary"), status="ACTIVE", queued=12345, running=4,
            ready_replicas=2, wanted_replicas=3,
        )  # fmt: skip
        return [long, Work(model="digits", deployment_id="efgh5678", status="ACTIVE", paused=True)]

    def nodes(self) -> list[Node]:
        gpu = {"index": "0", "memory_bytes": 80 << 30, "free_share": 0.25, "replicas": ["r1"]}
        replica = {"id": "r1", "model": "digits", "leaving": False, "state": "ready", "busy": 1, "slots": 4}  # fmt: skip
        return [
            Node(id="gpu-1-aaaa", alive=True, slots=8, free_slots=8, devices=[gpu], replicas=[replica]),
            Node(id="gpu-2-bbbb", heartbeat_age_seconds=75.4, slots=8, free_slots=0),
        ]  # fmt: skip


def drawn(width: int) -> list[str]:
    return picture(cast(Any, FakeServer()), width)


def test_everything_fits_into_80_columns() -> None:
    said = drawn(80)
    assert all(cell_len(line) <= 80 for line in said)
    assert said[0].endswith("12345 queued, 4 running, replicas ready: 2, nodes up: 1")
    assert said[1] == "https://kingpost.example.com" and drawn(120)[0].endswith(f"  {said[1]}")
    assert any("GPU 0: 80 GiB, 75% taken by digits" in line for line in said)
    assert any("silent" in line and "75 s ago" in line for line in said)
    assert any("digits r1: ready, 1 of 4 slots busy" in line for line in said)
    assert any(line.startswith("digits") and "PAUSED" in line for line in said)


def test_what_has_no_room_is_said() -> None:
    text = str(_fitted(drawn(80), Console(width=60, height=8)))
    assert len(text.split("\n")) == 8
    assert text.split("\n")[-1].endswith("lines more: --once shows all")
    assert all(cell_len(line) <= 60 for line in text.split("\n"))
