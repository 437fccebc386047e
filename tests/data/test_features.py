"""Reading the features of untrimmed videos, and refusing those that do not fit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from internvideo.data.features import FeatureFiles, FeatureSequence, read_rows
from internvideo.errors import ConfigError, DataError
from internvideo.models.feature_origin import FeatureOrigin

ROWS = torch.arange(12.0).reshape(4, 3)


def _write(path, rows=ROWS):
    match path.suffix:
        case ".npy":
            np.save(path, rows.numpy())
        case ".pt":
            torch.save(rows, path)
        case _:
            save_file({"features": rows}, path)
    return path


@pytest.mark.parametrize("ending", [".npy", ".pt", ".safetensors"])
def test_every_kind_of_file_gives_its_rows(tmp_path, ending):
    assert torch.equal(read_rows(_write(tmp_path / f"a{ending}")), ROWS)


def test_an_npy_is_mapped_and_not_changed_by_its_reader(tmp_path):
    path = _write(tmp_path / "a.npy")
    read_rows(path)[0] = -1.0
    assert torch.equal(read_rows(path), ROWS)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (torch.zeros(4, 3, 1), r"\(4, 3, 1\)"),
        (torch.zeros(4, 3, dtype=torch.int64), "int64"),
        (torch.zeros(0, 3), "no rows"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(tmp_path, rows, named):
    with pytest.raises(DataError, match=named):
        read_rows(_write(tmp_path / "a.npy", rows))


def test_nothing_in_a_file_is_executed(tmp_path):
    torch.save({"features": print}, tmp_path / "a.pt")
    np.save(tmp_path / "b.npy", np.array([print], object))
    for name in ("a.pt", "b.npy"):
        with pytest.raises(DataError, match=name):
            read_rows(tmp_path / name)


def test_the_tables_of_a_folder_say_what_rows_mean(tmp_path):
    for name in "ab":
        _write(tmp_path / f"{name}.npy")
    (tmp_path / "manifest.json").write_text(json.dumps({"fps": 30, "stride": 16, "window": 32}))
    (tmp_path / "videos.jsonl").write_text('{"video": "b", "fps": 15, "duration": 4.0}\n')
    store = FeatureFiles(folders=tmp_path).open()
    a, b = store.read("a"), store.read("b")
    assert (a.fps, a.stride, a.window, a.duration) == (30, 16, 32, None)
    assert (b.fps, b.stride, b.window, b.duration) == (15, 16, 32, 4.0)
    assert a.seconds_per_row == 16 / 30


def test_a_folder_knows_what_made_it(tmp_path):
    store = FeatureFiles(folders=tmp_path).open()
    assert store.origin() is None
    manifest = {"model": "nano", "window": 16, "stride": 4, "fps": None, "weights_sha256": "ab"}
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "pool": "mean"}))
    store = FeatureFiles(folders=tmp_path).open()
    origin = FeatureOrigin(model="nano", window=16, stride=4, weights_sha256="ab")
    assert store.origin() == origin
    moved = replace(origin, model="copy/of/nano", weights_sha256="")
    assert store.origin(moved) == moved
    with pytest.raises(ConfigError, match=r"model\.origin\.stride is 8"):
        store.origin(replace(origin, stride=8))


def test_what_a_user_says_goes_before_the_tables(tmp_path):
    _write(tmp_path / "v_a.npy")
    (tmp_path / "manifest.json").write_text('{"fps": 30, "stride": 16}')
    found = FeatureFiles(folders=tmp_path, stride=8.0, name="v_{id}").open().read("a")
    assert (found.fps, found.stride, found.window) == (30, 8, 8)


def test_rows_can_be_spread_over_a_video(tmp_path):
    _write(tmp_path / "a.npy")
    files = FeatureFiles(folders=tmp_path, stride="spread")
    found = files.open().read("a", fps=10.0, duration=8.0)
    assert found.seconds_per_row == 2.0
    with pytest.raises(ConfigError, match="duration of a"):
        files.open().read("a")


def test_channels_of_folders_are_joined(tmp_path):
    for name, rows in (("slow", ROWS), ("fast", 2 * ROWS), ("short", ROWS[:3])):
        (tmp_path / name).mkdir()
        _write(tmp_path / name / "a.npy", rows)

    def joined(*names):
        folders = tuple(tmp_path / name for name in names)
        return FeatureFiles(folders=folders, fps=30.0, stride=16.0).open().read("a")

    assert torch.equal(joined("slow", "fast").features, torch.cat([ROWS, 2 * ROWS], dim=1))
    with pytest.raises(DataError, match=r"4 rows .* has 3"):
        joined("slow", "short")


def test_what_is_missing_is_named(tmp_path):
    _write(tmp_path / "video.npy")
    files = FeatureFiles(folders=tmp_path, fps=30.0)
    with pytest.raises(ConfigError, match="stride"):
        files.open().read("video")
    with pytest.raises(DataError, match="Did you mean 'video'"):
        files.open().read("vidoe")
    assert "video" in files.open()
    assert "vidoe" not in files.open()
    with pytest.raises(DataError, match="no folder"):
        FeatureFiles(folders=tmp_path / "none").open()


def test_a_length_that_disagrees_is_refused_with_both_lengths(tmp_path):
    _write(tmp_path / "a.npy", torch.zeros(300, 2))
    store = FeatureFiles(folders=tmp_path, fps=30.0, stride=16.0).open()
    with pytest.raises(DataError, match=r"300 rows.* 160\.0 s.* 480\.0 s, about 900 rows"):
        store.read("a", duration=480.0)


@given(
    frames=st.integers(1, 20_000),
    stride=st.integers(1, 32),
    longer=st.integers(0, 32),
    fps=st.floats(5, 60),
)
def test_any_usual_count_of_windows_fits_its_video(frames, stride, longer, fps):
    window = stride + longer
    inside = max((frames - window) // stride + 1, 1)
    padded = -(-frames // stride)
    for count in (inside, padded):
        found = FeatureSequence(
            features=torch.zeros(count, 1), fps=fps, stride=stride, window=window
        )
        found.check_duration(frames / fps, "a")


def test_rows_are_a_view():
    found = FeatureSequence(features=ROWS, fps=30.0, stride=15.0, window=15.0)
    part = found.rows(1, 3)
    assert part.features.data_ptr() == ROWS[1:].data_ptr()
    assert part.duration == 1.0
