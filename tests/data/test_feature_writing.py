from __future__ import annotations

import json

import numpy as np
import pytest

from internvideo.data.feature_writing import FeatureFolder
from internvideo.data.features import FeatureFiles
from internvideo.errors import ConfigError

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def start(root, total=4):
    folder = FeatureFolder(root)
    folder.begin({"stride": 4, "window": 8}, ["a/v.mp4"])
    return folder, folder.open("a/v.mp4", total=total, about={"fps": 25.0})


def test_a_video_is_there_when_its_last_row_is(tmp_path):
    folder, first = start(tmp_path)
    rows = folder.rows("a/v.mp4")
    assert (first, len(rows), rows.total) == (0, 0, 4)
    for row in ROWS:
        assert folder.finished("a/v.mp4") is None
        rows.append(row)
    assert rows.complete() == tmp_path / "v.npy" == folder.finished("a/v.mp4")
    found = FeatureFiles(folders=tmp_path).open().read("v")
    assert np.array_equal(found.features.numpy(), ROWS)
    assert (found.fps, found.stride, found.window) == (25, 4, 8)


@pytest.mark.parametrize("cut", [0, 1, 7, 40])
def test_a_draft_that_was_cut_off_loses_its_last_rows_only(tmp_path, cut):
    folder, _ = start(tmp_path)
    for row in ROWS[:3]:
        folder.rows("a/v.mp4").append(row)
    draft = tmp_path / ".v.draft"
    data = draft.read_bytes()
    draft.write_bytes(data[: len(data) - cut])
    again, first = start(tmp_path)
    assert first == (36 - cut) // 12 if cut < 36 else first == 0
    for row in ROWS[first:]:
        again.rows("a/v.mp4").append(row)
    assert np.array_equal(np.load(again.rows("a/v.mp4").complete()), ROWS)


def test_a_draft_that_lacks_its_end_only_makes_the_last_row_anew(tmp_path):
    folder, _ = start(tmp_path)
    for row in ROWS:
        folder.rows("a/v.mp4").append(row)
    assert start(tmp_path)[1] == 3


def test_a_draft_of_another_length_or_without_sense_is_begun_anew(tmp_path):
    folder, _ = start(tmp_path)
    folder.rows("a/v.mp4").append(ROWS[0])
    assert start(tmp_path, total=5)[1] == 0
    (tmp_path / ".v.draft").write_bytes(b"nonsense" * 40)
    assert start(tmp_path)[1] == 0


def test_a_folder_holds_features_of_one_kind(tmp_path):
    folder, _ = start(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"stride": 4, "window": 8}
    with pytest.raises(ConfigError, match="stride: 4, now 2"):
        folder.begin({"stride": 2, "window": 8}, [])
    with pytest.raises(ConfigError, match=r"a/v\.mp4 and b/v\.avi"):
        folder.begin({"stride": 4, "window": 8}, ["a/v.mp4", "b/v.avi"])
    folder.begin({"stride": 4, "window": 8}, ["a/v.mp4", "a/v.mp4"])
