from __future__ import annotations

import io
import json

from rich.console import Console

from internvideo.tasks.captioning.captions import CaptionSpan, VideoCaptions

ANSWER = VideoCaptions(
    video="film.mp4",
    spans=(
        CaptionSpan(0.0, 2.0, "a star grows"),
        CaptionSpan(2.0, 4.0, "a star grows"),
        CaptionSpan(4.0, 6.0, "它缩小了"),
        CaptionSpan(5.25, 7.25, "it [b]blinks"),
    ),
    model="mm",
    protocol="greedy",
)


def test_equal_neighbours_are_one_and_none_overlap():
    assert [(span.start, span.end, span.text) for span in ANSWER.merged] == [
        (0.0, 4.0, "a star grows"),
        (4.0, 6.0, "它缩小了"),
        (6.0, 7.25, "it [b]blinks"),
    ]
    assert ANSWER.text == "a star grows\n它缩小了\nit [b]blinks"
    assert VideoCaptions(video="x", spans=()).text == ""


def test_subtitles_are_subrip():
    assert ANSWER.to_srt() == (
        "1\n00:00:00,000 --> 00:00:04,000\na star grows\n\n"
        "2\n00:00:04,000 --> 00:00:06,000\n它缩小了\n\n"
        "3\n00:00:06,000 --> 00:00:07,250\nit [b]blinks\n"
    )
    late = VideoCaptions(video="x", spans=(CaptionSpan(3599.9996, 36610.5, "end"),))
    assert "01:00:00,000 --> 10:10:10,500" in late.to_srt()


def test_json_has_every_span_and_tells_what_is_missing():
    values = json.loads(ANSWER.to_json())
    assert values["captions"][2] == {"start": 4.0, "end": 6.0, "text": "它缩小了"}
    assert len(values["captions"]) == 4
    assert "incomplete" not in values
    cut = VideoCaptions(video="x", spans=ANSWER.spans, incomplete="x: broken")
    assert cut.to_dict()["incomplete"] == "x: broken"


def test_the_table_shows_times_and_words_as_they_are():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(ANSWER)
    text = console.export_text()
    assert "it [b]blinks" in text
    assert "0:06.0" in text
    assert str(ANSWER.spans[0]) == "0:00.0 – 0:02.0  a star grows"
