"""The declared input protocol: presets, views, one decode for all views, errors."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.errors import ConfigError, InternVideoError
from internvideo.video import transforms
from internvideo.video.augment import AUGMENTATIONS
from internvideo.video.preprocessing import PRESETS, Preprocessing, frame_mask
from internvideo.video.training_input import TrainingInput

SIZES = [(60, 80), (80, 60), (64, 64), (33, 57), (16, 301), (1, 1)]


class FakeVideo:
    """Random frames in memory; remembers what was asked for."""

    def __init__(self, num_frames: int, height: int, width: int, *, fps: float = 25.0) -> None:
        generator = torch.Generator().manual_seed(num_frames)
        shape = (num_frames, height, width, 3)
        self.data = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        self.num_frames, self.fps = num_frames, fps
        self.calls: list[list[int]] = []

    def frames(self, indices) -> torch.Tensor:
        self.calls.append(list(indices))
        return self.data[torch.as_tensor(indices)]


def small(name: str) -> Preprocessing:
    """Return a preset at a size that tests can afford."""
    preset = PRESETS[name]
    size = 32 if preset.resize_size > preset.crop_size else 28
    return dataclasses.replace(preset, resize_size=size, crop_size=28)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("num_frames", [1, 40])
def test_every_preset_loads_any_video(name, height, width, num_frames):
    protocol = small(name)
    video = FakeVideo(num_frames, height, width)
    views = protocol.load(video)
    assert views.shape == (protocol.num_views, 3, protocol.num_frames, 28, 28)
    assert views.dtype == torch.float32
    low = min(-m / s for m, s in zip(protocol.mean, protocol.std, strict=True))
    high = max((1 - m) / s for m, s in zip(protocol.mean, protocol.std, strict=True))
    assert low - 1e-4 <= views.min()
    assert views.max() <= high + 1e-4
    (wanted,) = video.calls  # one call, every frame once
    assert wanted == sorted(set(wanted))


@pytest.mark.parametrize("name", PRESETS)
def test_views_are_clips_times_crops_of_transform(name):
    protocol = small(name)
    video = FakeVideo(90, 40, 52)
    views = protocol.load(video)
    for clip, indices in enumerate(protocol.sample(video.num_frames, video.fps)):
        for crop in range(protocol.num_crops):
            expected = protocol.transform(video.data[indices], crop_index=crop)
            assert torch.equal(views[clip * protocol.num_crops + crop], expected)


def test_published_view_counts():
    views = {name: (p.num_frames, p.num_clips, p.num_crops) for name, p in PRESETS.items()}
    assert views == {
        "videomae-kinetics": (16, 5, 3),
        "videomae-ssv2": (16, 2, 3),
        "videomae-validation": (16, 1, 1),
        "viclip-eval": (8, 1, 1),
        "viclip-demo": (8, 1, 1),
        "umt-kinetics": (8, 4, 3),
        "umt-ssv2": (8, 2, 3),
        "umt-multimodal": (4, 1, 1),
        "uniformerv2-kinetics": (8, 4, 3),
        "uniformerv2-sth": (16, 1, 3),
        "internvideo-mm": (8, 1, 1),
        "internvideo-mm-qa": (8, 1, 1),
        "retrieval": (12, 1, 1),
        "retrieval-whole-second": (12, 1, 1),
        "offline-objects": (8, 1, 3),
        "tal-features": (16, 1, 1),
        "interaction": (16, 5, 3),
        "nano": (16, 1, 1),
        "open-set": (32, 1, 1),
        "ava": (16, 1, 1),
        "ego4d-scod": (1, 1, 1),
        "ego4d-fhp": (8, 2, 1),
        "ego4d-sta": (16, 1, 1),
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_protocol_survives_json(name):
    protocol = PRESETS[name]
    text = json.dumps(protocol.to_dict())
    restored = Preprocessing.from_dict(json.loads(text))
    assert restored == protocol
    assert hash(restored) == hash(protocol)


@pytest.mark.parametrize("name", PRESETS)
def test_the_description_is_one_line_that_names_the_protocol(name):
    line = PRESETS[name].describe()
    assert "\n" not in line
    num_frames = PRESETS[name].num_frames
    assert f"{num_frames} frame{'s' if num_frames > 1 else ''} " in line
    assert f"crop {PRESETS[name].crop_size}" in line


def test_description_exact():
    assert PRESETS["videomae-kinetics"].describe() == (
        "16 frames x 5 clips x 3 crops (dense stride 4) · short-side 224, crop 224 "
        "(bilinear, no antialias, uint8) · mean 0.485/0.456/0.406 std 0.229/0.224/0.225 · RGB"
    )


def test_different_protocols_have_different_descriptions():
    lines = {protocol.describe() for protocol in PRESETS.values()}
    assert len(lines) == len(PRESETS)


def test_bgr_reverses_the_channels():
    rgb = small("uniformerv2-sth")
    rgb = dataclasses.replace(rgb, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2), channel_order="rgb")
    bgr = dataclasses.replace(rgb, channel_order="bgr")
    frames = FakeVideo(4, 40, 50).data
    assert torch.equal(bgr.transform(frames), rgb.transform(frames).flip(0))
    assert torch.equal(bgr.resize(frames), rgb.resize(frames))


def test_mean_and_std_are_in_the_order_of_the_model():
    bgr = Preprocessing(
        num_frames=1, resize_size=4, crop_size=4, channel_order="bgr", mean=(0.1, 0.2, 0.3)
    )
    frames = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    expected = [-m / s for m, s in zip(bgr.mean, bgr.std, strict=True)]
    torch.testing.assert_close(bgr.transform(frames)[:, 0, 0, 0], torch.tensor(expected))


def test_resize_then_normalize_is_transform_also_for_batches():
    protocol = small("nano")
    clips = [FakeVideo(16, 40, 50).data, FakeVideo(17, 30, 60).data[:16]]
    batch = torch.stack([protocol.resize(clip) for clip in clips])
    assert batch.dtype == torch.uint8
    normalized = protocol.normalize(batch)
    assert normalized.shape == (2, 3, 16, 28, 28)
    for clip, result in zip(clips, normalized, strict=True):
        assert torch.equal(result, protocol.transform(clip))


def test_the_default_crop_is_the_central_one():
    protocol = small("videomae-kinetics")
    frames = FakeVideo(2, 40, 90).data
    assert torch.equal(protocol.transform(frames), protocol.transform(frames, crop_index=1))
    with pytest.raises(ConfigError, match="crop 3 does not exist"):
        protocol.transform(frames, crop_index=3)


def test_squash_shows_the_whole_frame_and_short_side_its_centre():
    frames = torch.zeros(1, 32, 96, 3, dtype=torch.uint8)
    frames[:, :, :32] = 255
    squash = Preprocessing(num_frames=1, resize_rule="squash", resize_size=32, crop_size=32)
    assert squash.resize(frames).float().mean() == pytest.approx(85, abs=3)
    assert dataclasses.replace(squash, resize_rule="short-side").resize(frames).max() == 0


@given(
    num_frames=st.integers(1, 300),
    name=st.sampled_from(sorted(PRESETS)),
    fps=st.floats(1, 120),
)
@settings(deadline=None, max_examples=50)
def test_samples_are_rows_of_valid_indices(num_frames, name, fps):
    protocol = PRESETS[name]
    clips = protocol.sample(num_frames, fps)
    if protocol.is_timed:
        assert clips.shape[0] == 1
        assert 1 <= clips.shape[1] <= protocol.num_frames
        assert np.all(np.diff(clips) > 0)
    else:
        assert clips.shape == (protocol.num_clips, protocol.num_frames)
    assert clips.min() >= 0
    assert clips.max() < num_frames
    assert np.array_equal(clips, protocol.sample(num_frames, fps))


def test_a_frame_rate_keeps_the_clip_as_long_in_seconds():
    protocol = dataclasses.replace(PRESETS["videomae-kinetics"], num_clips=1, frame_rate=30.0)
    assert np.array_equal(protocol.sample(1200, 60.0), 2 * protocol.sample(600, 30.0) + [[0]])
    assert np.diff(protocol.sample(300, 15.0)).max() == 2
    assert np.diff(protocol.sample(300, 1.0)).max() == 1
    assert "stride 4 at 30 fps" in protocol.describe()
    with pytest.raises(ConfigError, match="pass the frame rate"):
        protocol.sample(300)


def test_by_the_clock_a_short_video_ends_in_zeros():
    protocol = small("retrieval")
    video = FakeVideo(130, 40, 52, fps=25.0)
    views = protocol.load(video)
    assert video.calls == [[0, 25, 50, 75, 100, 125]]
    assert frame_mask(views).tolist() == [[True] * 6 + [False] * 6]
    six = dataclasses.replace(protocol, num_frames=6)
    assert torch.equal(views[:, :, :6], six.load(video))
    assert torch.equal(protocol.transform(video.data[video.calls[0]]), views[0])
    black = frame_mask(protocol.transform(torch.zeros(3, 40, 52, 3, dtype=torch.uint8)))
    assert black.tolist() == [True] * 3 + [False] * 9
    assert frame_mask(protocol.load(FakeVideo(900, 40, 52, fps=25.0))).all()


def test_by_the_clock_rate_and_end_are_chosen():
    protocol = PRESETS["retrieval"]
    first = dataclasses.replace(protocol, max_seconds=3.0, frame_rate=2.0)
    assert first.sample(300, 30.0).tolist() == [[0, 15, 30, 45, 60, 75, 90]]
    assert "per-second at 2 fps, zeros behind the end, up to 3 s" in first.describe()
    whole = dataclasses.replace(PRESETS["retrieval-whole-second"], max_seconds=2.5, num_frames=4)
    assert whole.sample(300, 29.97).tolist() == [[0, 29, 58, 87]]
    with pytest.raises(ConfigError, match="pass the frame rate"):
        protocol.sample(300)


@pytest.mark.parametrize("preset", ["retrieval", "nano"])
@pytest.mark.parametrize("augmentation", [None, "videomae-finetune"])
def test_training_clips_are_what_evaluation_sees(preset, augmentation):
    """A batch of a long and a short video; only the pixels of an augmentation differ."""
    protocol = dataclasses.replace(small(preset), num_frames=8)
    chosen = augmentation and dataclasses.replace(AUGMENTATIONS[augmentation], size=28)
    training = TrainingInput(protocol, chosen)
    videos = [FakeVideo(200, 40, 52), FakeVideo(60, 52, 40)]
    rng = np.random.default_rng(0)
    prepared = [
        training.prepare(video.frames(protocol.sample(video.num_frames, video.fps)[0]), rng)
        for video in videos
    ]
    batch = {name: torch.stack([each[name] for each in prepared]) for name in prepared[0]}
    clips = training.finish(batch)
    seen = torch.cat([protocol.load(video) for video in videos])
    assert frame_mask(clips).tolist() == frame_mask(seen).tolist()
    assert frame_mask(clips).sum(dim=1).tolist() == ([8, 3] if protocol.is_timed else [8, 8])
    if augmentation is None:
        assert torch.equal(clips, seen)


def test_videomae_normalisation_matches_the_formula():
    protocol = small("videomae-validation")
    frames = FakeVideo(2, 28, 28).data
    expected = (frames.double() / 255 - torch.tensor(transforms.IMAGENET_MEAN).double()) / (
        torch.tensor(transforms.IMAGENET_STD).double()
    )
    clip = protocol.transform(frames)
    torch.testing.assert_close(clip, expected.permute(3, 0, 1, 2).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampling": "dens"}, "Did you mean 'dense'"),
        ({"resize_rule": "short_side"}, "Did you mean 'short-side'"),
        ({"interpolation": "nearest"}, "'interpolation': .*'bilinear' or 'bicubic'.*'nearest'"),
        ({"channel_order": "RGB"}, "Did you mean 'rgb'"),
        ({"crop_rounding": "up"}, "'crop_rounding': .*'floor', 'even', 'ceil' or 'steps'.*'up'"),
        ({"resize_dtype": "fp16"}, "'resize_dtype': .*'uint8' or 'float'.*'fp16'"),
        ({"num_frames": 0}, "'num_frames': .*greater than 0, got 0"),
        ({"num_frames": 8.0}, "'num_frames': .*integer, got 8.0"),
        ({"num_crops": True}, "'num_crops': .*integer, got True"),
        ({"antialias": "yes"}, "'antialias': .*boolean, got 'yes'"),
        ({"crop_size": 300}, "larger than resize_size"),
        ({"num_clips": 2}, "takes one clip per video"),
        ({"frame_stride": 2}, "has no frame_stride.* one of: dense, center"),
        ({"frame_rate": 10.0}, "has no frame_rate.* one of: dense, center, loop, per-second"),
        ({"max_seconds": 31.0}, "has no max_seconds.* one of: per-second, whole-second"),
        ({"sampling": "whole-second", "frame_rate": 0.5}, "frame_rate is 0.5.* whole number"),
        ({"sampling": "dense", "frame_rate": 0.0}, "'frame_rate': .*greater than 0, got 0.0"),
        ({"mean": (0.5, 0.5)}, "'mean.2' is missing"),
        ({"std": (0.5, 0.5, "x")}, "'std.2': .*number, got 'x'"),
        ({"std": (0.5, 0.5, 0.0)}, "'std.2': .*greater than 0, got 0.0"),
    ],
)
def test_impossible_protocols_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessing(**{"num_frames": 8, **values})


def test_unknown_and_missing_keys_are_named():
    with pytest.raises(ConfigError, match=r"'num_frame'.*Did you mean 'num_frames'"):
        Preprocessing.from_dict({"num_frame": 8})
    with pytest.raises(ConfigError, match="'num_frames' is missing"):
        Preprocessing.from_dict({"sampling": "middle"})


def test_a_video_without_frames_is_refused():
    with pytest.raises(InternVideoError, match="0 frames"):
        PRESETS["nano"].sample(0)
