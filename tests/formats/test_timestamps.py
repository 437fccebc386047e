"""Times in a video: every form that annotation files use, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.errors import DataError
from internvideo.formats.timestamps import format_timestamp, parse_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("00:01:37.299", 97.299),
        ("01:00:04.750", 3604.75),
        ("1:37", 97.0),
        ("0:05.5", 5.5),
        ("00:00:09,967", 9.967),
        ("123:00:00", 442800.0),
        ("PT00H00M23S", 23.0),
        ("PT1M2.5S", 62.5),
        (" 97.299 ", 97.299),
        ("1e1", 10.0),
        (0, 0.0),
        (3.5, 3.5),
    ],
)
def test_every_form_gives_the_nearest_float(value, seconds):
    assert parse_seconds(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "-1", -0.5, "00:61:00", "00:00:60", "-00:00:05.000", "1:2:3:4", "nan", "inf",
        float("nan"), float("inf"), None, True, [3], "abc", "1_000", "PT", "٣:٠٠", "９.5", 10**400,
        "9" * 5000, "1" * 5000 + ":00:00", "00:00:01.", "1e400",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_in_one_short_line(value):
    with pytest.raises(DataError, match="is no time in a video") as caught:
        parse_seconds(value)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@given(milliseconds=st.integers(0, 10**11))
def test_a_timestamp_read_back_is_the_same_time(milliseconds):
    text = format_timestamp(milliseconds / 1000)
    assert parse_seconds(text) == milliseconds / 1000
    assert format_timestamp(parse_seconds(text)) == text


@given(seconds=st.floats(0, 359_999), other=st.floats(0, 359_999))
def test_timestamps_keep_the_order_and_round_to_milliseconds(seconds, other):
    assert abs(parse_seconds(format_timestamp(seconds)) - seconds) <= 0.0005 + 1e-9
    if seconds <= other:
        assert format_timestamp(seconds) <= format_timestamp(other)


def time_or_none(text: str) -> float | None:
    try:
        return parse_seconds(text)
    except DataError:
        return None


@given(text=st.text(max_size=30) | st.from_regex(r"[0-9:.,PTHMS -]{1,20}", fullmatch=True))
def test_any_text_is_a_time_or_a_data_error(text):
    seconds = time_or_none(text)
    assert seconds is None or 0 <= seconds <= 10**8


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_only_times_are_written(seconds):
    with pytest.raises(DataError, match="no time in a video"):
        format_timestamp(seconds)
