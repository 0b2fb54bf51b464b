"""What the small pictures of the last hour draw."""

from api.console.sparklines import FLOOR, HEIGHT, bars, line


def test_a_line_breaks_where_nothing_was_measured_and_a_lonely_value_is_a_dot() -> None:
    assert line([None, 2.0, None, 4.0, 0.0]) == f"M3 {1 + (FLOOR - 1) / 2:.3g}h0M7 1h0L9 {FLOOR}"
    assert line([None] * 60) == line([]) == ""


def test_bars_share_a_scale_and_a_small_one_can_be_seen() -> None:
    assert bars([0, 50, 100], [0, 50, 100]) == f"M3 {HEIGHT}v-11.5M5 {HEIGHT}v-23"
    assert bars([0, 0, 1], [0, 50, 100]) == f"M5 {HEIGHT}v-1"
    assert bars([0], [0]) == ""
