"""Which requests are traced: the sampler of OpenTelemetry's variables decides, though most requests do not ask it."""

from collections.abc import Callable, Iterator

import pytest

from tasks.process import exporting, tracing
from tasks.process.exporting import OpenTelemetry
from tasks.process.tracing import NOTHING, UNRECORDED, Span

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{IDS}-01", f"00-{IDS}-00"
Make = Callable[..., OpenTelemetry]


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a tracer with that sampler."""
    made: list[OpenTelemetry] = []

    def make(sampler: str, share: str = "") -> OpenTelemetry:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
        made.append(exporting.make("test"))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def started(tracer: OpenTelemetry, parent: str = "") -> Span:
    # It is not ended, so nothing is sent.
    return tracer.start("x", parent, "server", (), NOTHING, None)


@pytest.mark.parametrize(
    ("sampler", "root", "under_sampled", "under_unsampled"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
        ("nonsense", True, True, False),  # the SDK takes parentbased_always_on
    ],
)
def test_each_sampler_decides_about_traces_that_begin_and_that_go_on(
    tracer: Make, sampler: str, root: bool, under_sampled: bool, under_unsampled: bool
) -> None:
    made = tracer(sampler)
    spans = [started(made, parent) for parent in ("", SAMPLED, UNSAMPLED)]
    wanted = [root, under_sampled, under_unsampled]
    assert [span.recorded for span in spans] == wanted
    assert [tracing.is_sampled(span.traceparent) for span in spans] == wanted
    assert all(IDS[:32] in span.traceparent for span in spans[1:])  # the client's trace goes on


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_share_of_the_traces_is_recorded_and_the_sdk_agrees_with_each(
    tracer: Make, sampler: str
) -> None:
    made = tracer(sampler, "0.25")
    spans = [started(made) for _ in range(2000)]
    recorded = [span for span in spans if span.recorded]
    assert 350 < len(recorded) < 650
    assert all(tracing.is_sampled(span.traceparent) for span in recorded)
    assert len({span.traceparent for span in recorded}) == len(recorded)
    assert all(span is UNRECORDED for span in spans if not span.recorded)


def test_what_is_not_recorded_keeps_the_clients_traceparent_as_it_is(tracer: Make) -> None:
    made = tracer("parentbased_traceidratio", "0.01")
    assert started(made, UNSAMPLED).traceparent == UNSAMPLED


def test_a_share_without_regard_to_parents_takes_their_traces_by_id(tracer: Make) -> None:
    made = tracer("traceidratio", "0.5")
    low, high = (f"00-{'1' * 16}{first}{'0' * 15}-{'2' * 16}-00" for first in "18")
    assert [started(made, parent).recorded for parent in (low, high)] == [True, False]


@pytest.mark.parametrize(
    ("given", "good"),
    [
        (SAMPLED, True),
        (f"01-{IDS}-01", True),
        (f"01-{IDS}-01-more", True),
        (f"00-{IDS}-01-more", False),
        (f"00-{IDS}-01-", False),
        (f"ff-{IDS}-01", False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{IDS[:32]}-{'0' * 16}-01", False),
        (f"00-{IDS.upper()}-01", False),
        (f"{SAMPLED}\n", False),
        ("", False),
    ],
)
def test_only_a_valid_traceparent_counts(given: str, good: bool) -> None:
    """As the W3C's Trace Context says, 3.2."""
    assert tracing.valid(given) == (given if good else "")
    assert tracing.is_sampled(given) == good
