"""The log store: bounded in lines, bytes and time; one order over all deployments; nobody waits for it who logs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import StoreUnavailable
from tasks.job import RequestId, Submission
from tasks.log_store import reading
from tasks.log_store.library import LINE_BYTES
from tasks.log_store.lines import LONGEST, KeptLine, fields_of, kept_line
from tasks.log_store.purging import PurgedLines
from tasks.log_store.shipper import AT_ONCE, MOST_WAITING, LogShipper
from tasks.log_store.verbs import LineFilter, LineId, keep_lines, logged, read_log
from tasks.process import logs
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.job_store import AsyncJobStore, JobStore
from tasks.store.verbs import purge, submit
from tests.conditions import wait_until
from tests.conftest import Clock
from tests.valkey import Valkey

HOUR = 3600  # s


def line(message: str, level: str = "info", request_id: str = "", chain: str = "") -> KeptLine:
    said = {"level": level, "message": message, "request_id": request_id, "chain_request_id": chain}
    return kept_line({name: value for name, value in said.items() if value})


def messages(
    store: JobStore, deployment: str = "d1", wanted: LineFilter | None = None
) -> list[str]:
    call = read_log(deployment, "oldest", "-", "+", 10_000, 10_000, wanted or LineFilter())
    return [json.loads(kept.text)["message"] for kept in store.run(call).lines]


def small(settings: Settings, **limits: object) -> JobStore:
    return JobStore(settings.model_copy(update=limits), movable_clock=True)


def test_no_more_lines_are_kept_than_a_setting_allows(settings: Settings) -> None:
    store = small(settings, log_store_lines=10)
    for start in range(0, 40, 4):
        store.run(keep_lines("d1", [line(str(start + i)) for i in range(4)]))
    assert messages(store) == [str(number) for number in range(30, 40)]


def test_no_more_bytes_are_kept_than_a_setting_allows(settings: Settings) -> None:
    store = small(settings, log_store_bytes=10_000)
    for number in range(30):
        store.run(keep_lines("d1", [line(f"{number} " + "x" * 900)]))
    kept = messages(store)
    assert [text.split()[0] for text in kept] == [str(number) for number in range(21, 30)]
    counted = int(store.redis.get(keys.keyed("log_bytes", "d1")) or 0)  # type: ignore[arg-type]
    assert 9_000 < counted <= 10_000


def test_a_log_gets_within_limits_that_were_made_smaller(
    settings: Settings, store: JobStore
) -> None:
    for _ in range(5):
        store.run(keep_lines("d1", [line("old")] * 200))
    smaller = small(settings, log_store_lines=50)
    for _ in range(10):
        smaller.run(keep_lines("d1", [line("new")]))
    assert messages(store) == ["old"] * 40 + ["new"] * 10


def test_old_lines_go_and_a_quiet_log_goes_by_itself(settings: Settings, clock: Clock) -> None:
    store = small(settings, log_store_seconds=3600)
    store.run(keep_lines("d1", [line("early")]))
    store.run(keep_lines("d2", [line("other")]))
    clock.jump(2 * HOUR)
    store.run(keep_lines("d1", [line("late")]))
    assert messages(store) == ["late"]
    assert store.run(logged())[1] == ["d1"]
    assert 0 < store.redis.pttl(keys.keyed("log", "d2")) <= HOUR * 1000  # type: ignore[operator]
    assert 0 < store.redis.pttl(keys.keyed("log_bytes", "d2")) <= HOUR * 1000  # type: ignore[operator]


def test_lines_are_found_by_level_and_request(store: JobStore) -> None:
    own, run = "a" * 32, "c" * 32
    store.run(keep_lines("d1", [line("debug", "debug"), line("info"), line("own", "error", own)]))
    store.run(keep_lines("d1", [line("of a chain", "warn", "b" * 32, run)]))
    assert messages(store, wanted=LineFilter(rank=2)) == ["own", "of a chain"]
    assert messages(store, wanted=LineFilter(request_id=own)) == ["own"]
    assert messages(store, wanted=LineFilter(request_id=own[:8])) == ["own"]
    assert messages(store, wanted=LineFilter(request_id=run)) == ["of a chain"]
    assert messages(store, wanted=LineFilter(request_id="f" * 8)) == []


async def test_the_logs_of_many_deployments_read_as_one_page_by_page(
    async_store: AsyncJobStore,
) -> None:
    for number in range(60):
        deployment = f"d{number % 3}"
        await async_store.run(keep_lines(deployment, [line(str(number))]))
    ids, before, found = ["d0", "d1", "d2"], None, list[str]()
    for _ in range(20):
        page = await reading.newest(async_store, ids, LineFilter(), 7, before=before)
        assert len(page.lines) <= 7
        found = [json.loads(kept.text)["message"] for kept in page.lines] + found
        before = page.before
        if before is None:
            break
    assert found == [str(number) for number in range(60)]


async def test_who_follows_misses_nothing_and_sees_nothing_twice(
    async_store: AsyncJobStore,
) -> None:
    place, seen, sent = LineId(0, 0), list[str](), 0
    for _ in range(20):
        for _ in range(5):  # several in the same millisecond, in different logs
            await async_store.run(keep_lines(f"d{sent % 3}", [line(str(sent)), line(f"{sent}b")]))
            sent += 1
        end, ids = await async_store.run(logged(place.ms))
        while place < end:
            news = await reading.after(async_store, ids, LineFilter(), 4, place, end)
            place = news.place
            seen += [json.loads(kept.text)["message"] for kept in news.lines]
    assert seen == [text for number in range(sent) for text in (str(number), f"{number}b")]


def test_a_long_line_is_cut_and_still_json() -> None:
    kept = kept_line({"level": "error", "message": "m" * 70_000, "traceback": "t" * 70_000 + "!"})
    fields = fields_of(kept.text)
    assert len(kept.text) <= LONGEST
    assert fields["message"].endswith("(67500 characters more)")
    assert fields["traceback"].endswith("t!")
    many = kept_line({f"field{number}": "x" * 900 for number in range(500)} | {"message": "here"})
    assert fields_of(many.text) == {"message": "here"}


@pytest.mark.parametrize(
    "odd", ["[1, 2]", "7", "plain", '{"a": ' + "[" * 50_000, '{"message": NaN}']
)
def test_what_is_no_object_is_a_message(odd: str) -> None:
    kept = kept_line(fields_of(odd))
    assert set(fields_of(kept.text)) == {"message"}
    json.dumps(fields_of(kept.text), allow_nan=False)


def test_half_a_character_is_kept_in_a_form_that_utf8_can_encode() -> None:
    kept_line(fields_of('{"message": "\\udce9", "more": ["\\ud83d"]}')).text.encode()


class Shipping:
    """A shipper whose rounds the test makes."""

    def __init__(self, settings: Settings, **limits: object) -> None:
        self.now = 100.0
        chosen = settings.model_copy(update=limits)
        self.shipper = LogShipper(chosen, {"m": "d1", "n": "d2"}, "d1", lambda: self.now)

    def take(self, message: str, level: str = "info", **more: str) -> None:
        self.shipper.take(json.dumps({"ts": "t", "level": level, "message": message, **more}))

    def ship(self) -> None:
        while self.shipper.run_once() == AT_ONCE:
            pass


@pytest.fixture
def shipping(settings: Settings) -> Shipping:
    return Shipping(settings, log_store_lines_per_second=10)


def test_a_line_goes_to_the_deployment_that_it_is_about(
    shipping: Shipping, store: JobStore
) -> None:
    shipping.take("own", model="m")
    shipping.take("along", model="n")
    shipping.take("named", deployment="d2", model="m")
    shipping.take("without")
    shipping.ship()
    assert [messages(store, each) for each in ("d1", "d2")] == [["own", "without"], ["along", "named"]]  # fmt: skip


def test_what_a_model_prints_fills_no_log_but_its_own(
    settings: Settings, shipping: Shipping, store: JobStore
) -> None:
    for number in range(5):
        shipping.take(str(number), deployment=f"elsewhere-{number}")
    shipping.ship()
    assert messages(store) == ["0", "1", "2", "3", "4"]
    assert store.run(logged())[1] == ["d1"]
    of_a_node = LogShipper(settings)
    of_a_node.take(json.dumps({"ts": "t", "event": "e", "message": "m", "deployment": "d3"}))
    of_a_node.run_once()
    assert messages(store, "d3") == ["m"]


def test_a_flood_is_cut_off_counted_and_said_and_displaces_no_error(
    shipping: Shipping, store: JobStore
) -> None:
    for number in range(5000):
        shipping.take(str(number))
    shipping.take("broken", "error")
    shipping.ship()
    assert shipping.shipper.dropped == 4990
    kept = [fields_of(kept.text) for kept in store.run(read_log("d1", "oldest", "-", "+", 99, 99, LineFilter())).lines]  # fmt: skip
    assert [fields.get("message") for fields in kept] == [*map(str, range(10)), "broken", None]
    said = {name: kept[-1][name] for name in ("event", "level", "lines", "why")}
    assert said == {
        "event": "logs.dropped", "level": "warning", "lines": 4990,
        "why": "more than KINGPOST_LOG_STORE_LINES_PER_SECOND",
    }  # fmt: skip


def test_without_a_store_lines_wait_and_those_too_many_are_counted(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    valkey = Valkey(tmp_path / "own", fsync="everysec").start()
    shipping = Shipping(settings, redis_url=valkey.url, log_store_lines_per_second=10_000)
    valkey.stop()
    for number in range(MOST_WAITING + 50):
        shipping.take(str(number))
    with pytest.raises(StoreUnavailable):
        shipping.shipper.run_once()
    assert shipping.shipper.dropped == 50
    valkey.start()
    shipping.ship()
    own = JobStore(settings.model_copy(update={"redis_url": valkey.url}))
    kept = own.run(read_log("d1", "oldest", "-", "+", 9999, 9999, LineFilter())).lines
    assert [fields_of(kept.text).get("message") for kept in kept][:-1] == [str(n) for n in range(MOST_WAITING)]  # fmt: skip
    assert fields_of(kept[-1].text)["lines"] == 50
    valkey.stop()


def test_a_note_of_dropped_lines_that_the_store_does_not_take_is_written_later(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    valkey = Valkey(tmp_path / "own", fsync="everysec").start()
    shipping = Shipping(settings, redis_url=valkey.url, log_store_lines_per_second=10)
    for number in range(30):
        shipping.take(str(number))
    while shipping.shipper.run_once():  # all lines are there, and a note
        pass
    shipping.now += 10
    for number in range(15):
        shipping.take(str(number))
    shipping.ship()
    for number in range(7):
        shipping.take(str(number))
    shipping.now += 10
    valkey.stop()
    with pytest.raises(StoreUnavailable):
        shipping.shipper.run_once()
    valkey.start()
    shipping.ship()
    own = JobStore(settings.model_copy(update={"redis_url": valkey.url}))
    kept = own.run(read_log("d1", "oldest", "-", "+", 999, 999, LineFilter())).lines
    notes = [fields_of(line.text).get("lines") for line in kept]
    assert [lines for lines in notes if lines] == [20, 5, 7]
    valkey.stop()


@pytest.fixture
def started(settings: Settings) -> Iterator[LogShipper]:
    shipper = LogShipper(settings, {"m": "d1"}, "d1")
    shipper.start()
    yield shipper
    shipper.stop()


def test_what_a_process_writes_is_shipped_by_itself(
    started: LogShipper, store: JobStore, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.write_line(json.dumps({"model": "m", "message": "printed"}))
    assert "printed" in capsys.readouterr().out
    wait_until(lambda: messages(store) == ["printed"], 10, "the line was not shipped")
    logs.write_line(json.dumps({"model": "m", "message": "the last"}))
    started.stop()
    assert messages(store) == ["printed", "the last"]
    logs.write_line(json.dumps({"model": "m", "message": "after the end"}))
    assert messages(store) == ["printed", "the last"]


def test_nothing_is_shipped_when_no_line_is_to_be_kept(settings: Settings, store: JobStore) -> None:
    shipper = LogShipper(settings.model_copy(update={"log_store_lines": 0}), {}, "d1")
    shipper.start()
    logs.write_line(json.dumps({"message": "printed"}))
    shipper.stop()
    assert messages(store) == []


async def test_the_lines_of_deleted_requests_go_and_all_others_stay(
    store: JobStore, async_store: AsyncJobStore, clock: Clock
) -> None:
    ids = [RequestId(letter * 32) for letter in "ab"]
    for deployment in ("d1", "d2"):
        jobs = [
            Submission(RequestId(id[:31] + deployment[1]), deployment, "m", b"{}") for id in ids
        ]
        store.run(submit(jobs, "alice", 10))
    gone = ids[0][:31] + "1"
    said = [line("none"), *(line("gone", request_id=gone) for _ in range(700)), line("kept", request_id=ids[1])]  # fmt: skip
    for deployment in ("d1", "d2"):
        store.run(keep_lines(deployment, [*said, line("of its chain", chain=gone)]))
    forgetting = PurgedLines(async_store)
    assert await forgetting.run_once() == 0
    store.run(purge(gone))
    assert await forgetting.run_once() == 0  # its last lines may be on their way
    clock.jump(6)
    assert await forgetting.run_once() == 2 * 701
    for deployment in ("d1", "d2"):
        assert messages(store, deployment) == ["none", "kept"]
        sizes = [size_of(kept) for kept in (said[0], said[-1])]
        assert int(store.redis.get(keys.keyed("log_bytes", deployment)) or 0) == sum(sizes)  # type: ignore[arg-type]
    assert store.redis.zcard(keys.plain("purged")) == 0
    assert await forgetting.run_once() == 0
    store.run(keep_lines("d1", [line("new")]))
    assert messages(store) == ["none", "kept", "new"]


def size_of(kept: KeptLine) -> int:
    return len(kept.text.encode()) + LINE_BYTES
