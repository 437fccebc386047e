"""Files of short-term anticipation."""

from __future__ import annotations

import json

import pytest

from internvideo.errors import DataError
from internvideo.tasks.anticipation.metric import headline
from internvideo.tasks.anticipation.reading import read_pictures

GOOD = {
    "box": [1, 2, 30, 40], "noun_category_id": 3, "verb_category_id": 5, "time_to_contact": 0.7,
}  # fmt: skip


def test_pictures_are_measured_and_what_is_odd_is_named(tmp_path):
    flat = {**GOOD, "box": [5, 5, 5, 9]}
    annotations, predictions = tmp_path / "true.json", tmp_path / "found.json"
    entries = [{"uid": "a", "objects": [GOOD, flat, {"box": 7}]}, {"uid": "b", "objects": []}, {}]
    annotations.write_text(json.dumps({"annotations": entries}))
    answer = {"results": {"a": [{**GOOD, "score": 0.5}, GOOD], "z": []}}
    predictions.write_text(json.dumps(answer))
    pictures, faults = read_pictures(annotations, predictions)
    assert [len(each.true) for each in pictures] == [1, 0]
    assert set(headline(pictures).values()) == {100.0}
    assert len(faults) == 6
    for words in (
        "no area",
        "object 3",
        "annotation 3 has no uid",
        "z is not annotated",
        "b has no answer",
    ):
        assert any(words in fault for fault in faults), words
    predictions.write_text("[]")
    with pytest.raises(DataError, match="'results'"):
        read_pictures(annotations, predictions)
