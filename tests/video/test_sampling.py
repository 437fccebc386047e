"""Frame indices: exact values, and properties that hold for every video length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from internvideo.errors import ConfigError, VideoError
from internvideo.video import sampling

LENGTHS = st.integers(1, 500)
CLIP_LENGTHS = st.integers(1, 40)
STRIDES = st.integers(1, 12)
SEEDS = st.integers(0, 2**31)

# every rule that returns one clip of `clip_length` indices: name -> call(n, t, rng)
CLIPS = {
    "dense": lambda n, t, rng: sampling.dense_indices(n, clip_length=t, frame_stride=3, rng=rng),
    "dense center": lambda n, t, rng: sampling.dense_indices(n, clip_length=t, frame_stride=3),
    "pretrain": lambda n, t, rng: sampling.pretrain_indices(
        n, clip_length=t, frame_stride=2, rng=rng
    ),
    "pretrain center": lambda n, t, rng: sampling.pretrain_indices(
        n, clip_length=t, frame_stride=2
    ),
    "segment": lambda n, t, rng: sampling.segment_indices(n, clip_length=t, rng=rng),
    "segment middle": lambda n, t, rng: sampling.segment_indices(n, clip_length=t),
    "kinetics sparse": lambda n, t, rng: sampling.kinetics_sparse_indices(
        n, clip_length=t, rng=rng
    ),
    "kinetics sparse middle": lambda n, t, rng: sampling.kinetics_sparse_indices(n, clip_length=t),
    "activitynet": lambda n, t, rng: sampling.activitynet_indices(
        n, clip_length=t, duration=10.0, start=2.0, end=9.5, rng=rng
    ),
    "activitynet middle": lambda n, t, rng: sampling.activitynet_indices(
        n, clip_length=t, duration=10.0, start=2.0, end=9.5
    ),
    "viclip middle": lambda n, t, rng: sampling.viclip_indices(n, clip_length=t),
    "viclip rand": lambda n, t, rng: sampling.viclip_indices(
        n, clip_length=t, rule="rand", rng=rng
    ),
    "viclip start": lambda n, t, rng: sampling.viclip_indices(
        n, clip_length=t, rule="fix_start", offset=2
    ),
    "demo": lambda n, t, rng: sampling.demo_indices(n, clip_length=t),
    "linspace": lambda n, t, rng: sampling.linspace_indices(n, clip_length=t),
    "uniform": lambda n, t, rng: sampling.uniform_indices(n, clip_length=t, rng=rng),
    "uniform part": lambda n, t, rng: sampling.uniform_indices(
        n, clip_length=t, rng=rng, duration=10.0, start=1.5, end=11.0
    ),
}

# every rule that returns several clips: name -> call(n, t, clips)
MULTI_CLIPS = {
    "dense": lambda n, t, clips: sampling.dense_test_indices(
        n, clip_length=t, frame_stride=3, num_clips=clips
    ),
    "sparse": lambda n, t, clips: sampling.sparse_test_indices(n, clip_length=t, num_clips=clips),
    "uniform": lambda n, t, clips: sampling.uniform_test_indices(n, clip_length=t, num_clips=clips),
    "uniform part": lambda n, t, clips: sampling.uniform_test_indices(
        n, clip_length=t, num_clips=clips, duration=8.0, start=7.5
    ),
}


@pytest.mark.parametrize("name", CLIPS)
@settings(deadline=None, max_examples=40)
@given(num_frames=LENGTHS, clip_length=CLIP_LENGTHS, seed=SEEDS)
def test_a_clip_is_full_ordered_and_inside_the_video(name, num_frames, clip_length, seed):
    indices = CLIPS[name](num_frames, clip_length, np.random.default_rng(seed))
    assert indices.dtype == np.int64
    assert indices.shape == (clip_length,)
    assert indices.min() >= 0
    assert indices.max() < num_frames
    assert np.all(np.diff(indices) >= 0)


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
@settings(deadline=None, max_examples=40)
@given(num_frames=LENGTHS, seed=SEEDS)
def test_the_same_seed_draws_the_same_clip(name, kind, num_frames, seed):
    first = CLIPS[name](num_frames, 8, kind(seed))
    assert np.array_equal(first, CLIPS[name](num_frames, 8, kind(seed)))


@pytest.mark.parametrize("name", MULTI_CLIPS)
@settings(deadline=None, max_examples=40)
@given(num_frames=LENGTHS, clip_length=CLIP_LENGTHS, num_clips=st.integers(1, 11))
def test_views_are_full_ordered_and_inside_the_video(name, num_frames, clip_length, num_clips):
    views = MULTI_CLIPS[name](num_frames, clip_length, num_clips)
    assert views.dtype == np.int64
    assert views.shape == (num_clips, clip_length)
    assert views.min() >= 0
    assert views.max() < num_frames
    assert np.all(np.diff(views, axis=1) >= 0)
    assert np.all(np.diff(views, axis=0) >= 0)  # later clips never begin earlier


@settings(deadline=None, max_examples=40)
@given(num_frames=LENGTHS, clip_length=CLIP_LENGTHS, frame_stride=STRIDES, clips=st.integers(2, 9))
@example(num_frames=245, clip_length=1, frame_stride=1, clips=8)  # ends at frame 243
def test_dense_test_clips_reach_from_the_first_to_the_last_frame(
    num_frames, clip_length, frame_stride, clips
):
    views = sampling.dense_test_indices(
        num_frames, clip_length=clip_length, frame_stride=frame_stride, num_clips=clips
    )
    assert views[0, 0] == 0
    left_out = (num_frames - 1) // frame_stride * frame_stride - views[-1, -1]
    assert left_out in (0, frame_stride)  # the start is a rounded product, as in the reference
    assert set(np.diff(views).ravel()) <= {0, frame_stride}


def test_one_dense_test_clip_lies_in_the_centre():
    (clip,) = sampling.dense_test_indices(100, clip_length=4, frame_stride=5)
    assert clip.tolist() == [40, 45, 50, 55]


@pytest.mark.parametrize("num_frames", [1, 7, 15])
def test_kinetics_sparse_on_short_videos_covers_the_video_evenly(num_frames):
    indices = sampling.kinetics_sparse_indices(num_frames, clip_length=16)
    counts = np.bincount(indices, minlength=num_frames)
    assert counts.max() - counts.min() <= 1


@settings(deadline=None, max_examples=40)
@given(num_frames=st.integers(16, 400), seed=SEEDS)
def test_segment_draws_stay_in_their_segments(num_frames, seed):
    length = num_frames // 16
    indices = sampling.segment_indices(num_frames, clip_length=16, rng=np.random.default_rng(seed))
    assert (indices // length).tolist() == list(range(16))


def test_random_rules_use_the_whole_segment():
    rng = np.random.default_rng(0)
    drawn = {
        "segment": [sampling.segment_indices(40, clip_length=8, rng=rng) for _ in range(300)],
        "uniform": [sampling.uniform_indices(41, clip_length=8, rng=rng) for _ in range(300)],
        "viclip": [
            sampling.viclip_indices(40, clip_length=8, rule="rand", rng=rng) for _ in range(300)
        ],
        "kinetics": [
            sampling.kinetics_sparse_indices(40, clip_length=8, rng=rng) for _ in range(300)
        ],
    }
    reached = {name: sorted({int(clip[1]) for clip in clips}) for name, clips in drawn.items()}
    assert reached == {
        "segment": [5, 6, 7, 8, 9],
        "uniform": [5, 6, 7, 8, 9, 10],  # both borders
        "viclip": [5, 6, 7, 8],  # never the last frame of an interval
        "kinetics": [5, 6, 7, 8],
    }


def test_viclip_random_on_a_short_video_takes_a_sorted_subset():
    rng = np.random.default_rng(3)
    clip = sampling.viclip_indices(9, clip_length=8, rule="rand", rng=rng)
    assert len(set(clip.tolist())) == 8
    assert clip.tolist() == sorted(clip.tolist())


def test_viclip_exact_values():
    assert sampling.viclip_indices(300, clip_length=8).tolist() == [
        *(18, 55, 93, 130, 168, 205, 243, 280)
    ]
    assert sampling.viclip_indices(5, clip_length=8).tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    assert sampling.viclip_indices(5, clip_length=8, pad=False).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="pass an rng"):
        sampling.viclip_indices(5, clip_length=8, rule="rand")
    with pytest.raises(ConfigError, match="'middle', 'rand' or 'fix_start'"):
        sampling.viclip_indices(5, clip_length=8, rule="centre")


def test_demo_rule_ignores_the_end_of_the_video():
    assert sampling.demo_indices(23, clip_length=8).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert sampling.demo_indices(3, clip_length=8).tolist() == [0, 1, 2, 2, 2, 2, 2, 2]


def test_uniform_part_counts_from_its_start():
    (clip,) = sampling.uniform_test_indices(100, clip_length=4, duration=10.0, start=5.0, end=9.0)
    assert clip.tolist() == [54, 64, 74, 83]
    with pytest.raises(ConfigError, match="duration"):
        sampling.uniform_test_indices(100, clip_length=4, start=5.0)


@settings(deadline=None, max_examples=40)
@given(num_frames=LENGTHS, clip_length=CLIP_LENGTHS, stride=STRIDES, frame_stride=STRIDES)
def test_windows_slide_over_the_whole_video(num_frames, clip_length, stride, frame_stride):
    windows = sampling.window_indices(
        num_frames, clip_length=clip_length, stride=stride, frame_stride=frame_stride
    )
    span = (clip_length - 1) * frame_stride + 1
    assert windows.shape == (max((num_frames - span) // stride, 0) + 1, clip_length)
    assert windows.min() >= 0
    assert windows.max() < num_frames
    assert np.all(np.diff(windows[:, 0]) == stride)
    if num_frames >= span:
        assert np.all(np.diff(windows, axis=1) == frame_stride)


@settings(deadline=None, max_examples=40)
@given(
    num_frames=LENGTHS,
    fps=st.floats(0.5, 240, allow_nan=False),
    rate=st.sampled_from([0.5, 1.0, 2.0, 8.0]),
    max_frames=st.integers(1, 20),
)
def test_rules_by_time_give_few_valid_frames(num_frames, fps, rate, max_frames):
    by_window = sampling.fps_indices(num_frames, fps=fps, rate=rate, max_frames=max_frames)
    by_second = sampling.per_second_indices(num_frames, fps=fps, rate=rate, max_frames=max_frames)
    whole = sampling.whole_second_indices(num_frames, fps=fps, max_frames=max_frames)
    for indices in (by_window, by_second, whole):
        assert indices.dtype == np.int64
        assert 1 <= len(indices) <= max_frames
        assert indices.min() >= 0
        assert indices.max() < num_frames
        assert np.all(np.diff(indices) >= 0)


def test_rules_by_time_exact_values():
    assert sampling.fps_indices(300, fps=25.0, rate=0.5).tolist() == [25, 75, 125, 175, 225, 275]
    assert sampling.fps_indices(1, fps=25.0, rate=0.5).tolist() == [0]
    swapped = sampling.per_second_indices(600, fps=30.0, max_frames=12, start=7, end=3)
    assert swapped.tolist() == [90, 120, 150, 180, 210]
    beyond = sampling.per_second_indices(60, fps=30.0, max_frames=12, start=50, end=60)
    assert beyond.tolist() == [59]
    tail = sampling.whole_second_indices(376, fps=25.0, max_frames=4, keep="tail")
    assert tail.tolist() == [300, 325, 350, 375]


@pytest.mark.parametrize("name", CLIPS)
def test_an_empty_video_is_refused(name):
    with pytest.raises(VideoError, match="0 frames"):
        CLIPS[name](0, 8, np.random.default_rng(0))


def test_impossible_counts_and_rates_are_refused():
    with pytest.raises(ConfigError, match="clip_length is 0"):
        sampling.linspace_indices(10, clip_length=0)
    with pytest.raises(ConfigError, match="num_clips is 0"):
        sampling.sparse_test_indices(10, clip_length=4, num_clips=0)
    with pytest.raises(VideoError, match="frame rate"):
        sampling.fps_indices(10, fps=0.0, rate=1.0)
    with pytest.raises(ConfigError, match="rate is 0"):
        sampling.per_second_indices(10, fps=25.0, rate=0, max_frames=4)
    with pytest.raises(VideoError, match="duration"):
        sampling.activitynet_indices(10, clip_length=4, duration=0.0, start=0.0, end=1.0)
