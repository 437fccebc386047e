from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from internvideo.data.feature_writing import FeatureFolder
from internvideo.data.features import FeatureFiles
from internvideo.errors import ConfigError
from internvideo.evaluation.extraction import (
    Extraction,
    FeatureExtractor,
    extract,
    find_preset,
    video_features,
)
from internvideo.video import Video, write_video
from internvideo.zoo.load import load_model

EVERY_FOUR = Extraction(window=8, stride=4)


def frames_of(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (count, 6, 8, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny.save_classifier(tmp_path_factory.mktemp("classifier")))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three videos of 30, 21 and 5 frames, of which the last is shorter than a window."""
    folder = tmp_path_factory.mktemp("videos")
    paths = []
    for number, count in enumerate((30, 21, 5)):
        paths.append(folder / f"v_{number}.mp4")
        write_video(paths[-1], frames_of(count, number), fps=10)
    return paths


def plain_loop(model, path, extraction: Extraction) -> torch.Tensor:
    """Every window read for itself, one at a time."""
    protocol = extraction.protocol(model.protocol)
    rows = []
    with Video(path) as video, torch.no_grad():
        length = min(extraction.window, len(video))
        for start in range(0, len(video) - length + 1, extraction.stride):
            picked = start + protocol.sample(length, video.fps)[0]
            clip = protocol.transform(video.frames(picked.tolist()))
            rows.append(model.model.pooled(clip[None])[0])
    return torch.stack(rows)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_rows_are_those_of_each_window_alone(model, clips, tmp_path, num_workers):
    folder = FeatureFolder(tmp_path)
    extractor = FeatureExtractor(model, EVERY_FOUR)
    told = list(extract(extractor, clips, folder, batch_size=5, num_workers=num_workers))
    assert {each.video: each.rows for each in told} == dict(
        zip(map(str, clips), (6, 4, 1), strict=True)
    )
    store = FeatureFiles(folders=tmp_path).open()
    for path in clips:
        found = store.read(path.stem)
        torch.testing.assert_close(found.features, plain_loop(model, path, EVERY_FOUR))
        assert (found.fps, found.stride, found.window) == (10, 4, 8)
        alone = video_features(model, path, EVERY_FOUR)
        torch.testing.assert_close(alone.features, found.features)
        assert alone.duration == found.duration


@pytest.mark.parametrize("form", ["npy", "safetensors", "zarr"])
def test_every_form_is_read_back(model, clips, tmp_path, form):
    if form == "zarr":
        pytest.importorskip("zarr")
    extractor = FeatureExtractor(model, replace(EVERY_FOUR, dtype="float16"))
    list(extract(extractor, clips[:1], FeatureFolder(tmp_path, form)))
    found = FeatureFiles(folders=tmp_path).open().read("v_0").features
    assert found.dtype == torch.float16
    wanted = plain_loop(model, clips[0], EVERY_FOUR)
    torch.testing.assert_close(found.float(), wanted, rtol=1e-2, atol=1e-2)


def test_layers_tokens_and_published_pixels(model, clips):
    pooled = video_features(model, clips[0], replace(EVERY_FOUR, layer=0)).features
    tokens = video_features(model, clips[0], replace(EVERY_FOUR, layer=0, pool="none")).features
    assert tokens.shape == (6, 8, 32)
    torch.testing.assert_close(tokens.mean(dim=1), pooled)
    bare = video_features(model, clips[0], replace(EVERY_FOUR, pixels="published")).features
    assert not torch.allclose(bare, plain_loop(model, clips[0], EVERY_FOUR), atol=1e-2)
    with pytest.raises(ConfigError, match="layer 9"):
        video_features(model, clips[0], replace(EVERY_FOUR, layer=9))


def test_a_frame_rate_of_its_own(model, clips):
    # At half the rate, 30 frames are 15, of which 4 are a window of 8 frames of the file.
    halved = video_features(model, clips[0], Extraction(window=4, stride=2, fps=5))
    assert (len(halved), halved.fps, halved.duration) == (6, 5, 3)
    doubled = video_features(model, clips[0], Extraction(window=16, stride=8, fps=20))
    assert len(doubled) == 6


def test_a_corrupt_video_ends_nothing(model, clips, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clips[0].read_bytes()[:3000])
    gone = tmp_path / "gone.mp4"
    folder = FeatureFolder(tmp_path / "features")
    extractor = FeatureExtractor(model, EVERY_FOUR)
    told = list(extract(extractor, [clips[0], cut, gone, clips[1]], folder))
    assert {each.video for each in told if each.error} == {str(cut), str(gone)}
    assert len(told) == 4
    names = {path.name for path in folder.root.iterdir()}
    assert names == {"manifest.json", "videos.jsonl", "v_0.npy", "v_1.npy"}


def test_what_is_there_is_skipped_and_other_settings_are_refused(model, clips, tmp_path):
    folder = FeatureFolder(tmp_path)
    list(extract(FeatureExtractor(model, EVERY_FOUR), clips, folder))
    again = list(extract(FeatureExtractor(model, EVERY_FOUR), clips, folder))
    assert all(each.skipped for each in again)
    other = FeatureExtractor(model, replace(EVERY_FOUR, stride=2))
    with pytest.raises(ConfigError, match="stride"):
        list(extract(other, clips, folder))
    twin = tmp_path / "other" / "v_0.mp4"
    with pytest.raises(ConfigError, match=r"v_0\.npy"):
        list(extract(other, [clips[0], twin], FeatureFolder(tmp_path / "new")))
    with pytest.raises(ConfigError, match="thumos14"):
        find_preset("thumos15")


def test_a_stopped_video_goes_on_at_its_row(model, clips, tmp_path):
    extractor = FeatureExtractor(model, EVERY_FOUR)
    whole = FeatureFolder(tmp_path / "whole")
    list(extract(extractor, clips[:1], whole))
    parts = FeatureFolder(tmp_path / "parts")
    parts.begin(extractor.manifest(), [str(clips[0])])
    rows = np.load(whole.root / "v_0.npy")
    assert parts.open(str(clips[0]), total=6, about={}) == 0
    for row in rows[:4]:
        parts.rows(str(clips[0])).append(row)
    again = FeatureFolder(parts.root)
    made = []
    list(
        extract(
            extractor, clips[:1], again, batch_size=1, progress=lambda rows: made.append(len(rows))
        )
    )
    assert made == [5, 6]
    np.testing.assert_allclose(np.load(parts.root / "v_0.npy"), rows, rtol=1e-5, atol=1e-6)


_KILLED = """
import sys
from internvideo.data.feature_writing import FeatureFolder
from internvideo.evaluation.extraction import Extraction, FeatureExtractor, extract
from internvideo.zoo.load import load_model
model, video, out = sys.argv[1:]
import time
extractor = FeatureExtractor(load_model(model), Extraction(window=8, stride=1))
from pathlib import Path
for each in extract(extractor, [video], FeatureFolder(Path(out)), batch_size=1,
                    progress=lambda rows: time.sleep(0.02)):
    print(each)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_loses_no_row(tmp_path):
    saved = tiny.save_classifier(tmp_path / "model")
    video = tmp_path / "long.mp4"
    write_video(video, frames_of(150), fps=10)
    out = tmp_path / "features"
    draft = out / ".long.draft"
    sizes = []
    for _ in range(4):
        run = [sys.executable, "-c", _KILLED, str(saved), str(video), str(out)]
        process = subprocess.Popen(run, stdout=subprocess.DEVNULL, env=os.environ)
        grown = (sizes[-1] if sizes else 0) + 1000
        while not (draft.exists() and draft.stat().st_size > grown):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        sizes.append(draft.stat().st_size)
    assert sizes == sorted(sizes)
    model = load_model(saved)
    every = Extraction(window=8, stride=1)
    [told] = extract(FeatureExtractor(model, every), [video], FeatureFolder(out))
    assert told.rows == 143
    torch.testing.assert_close(
        torch.from_numpy(np.load(out / "long.npy")), plain_loop(model, video, every)
    )
    assert json.loads((out / "videos.jsonl").read_text())["rows"] == 143
