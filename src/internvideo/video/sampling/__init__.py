"""Which frames of a video a model looks at: pure functions from a frame count to frame indices.

    dense     frames a stride apart               VideoMAE: training, test, pretraining; windows
    sparse    frames spread over the whole video  VideoMAE, UniFormerV2, ViCLIP, InternVideo-MM
    timed     so many frames a second             ViCLIP "fpsX", the retrieval loaders

Every function takes the number of frames of the video first and returns 0-based `int64` indices:
one clip as `(t,)`, several clips of one video as `(clips, t)`. A view is one clip seen through one
spatial crop, so a test protocol of `n` clips and `k` crops has `n * k` views, ordered clip by clip
(view = clip * k + crop); the crops are cut in `internvideo.video.transforms`.

Functions with an `rng` draw at random when one is given (training) and take the fixed middle when
it is `None` (validation). Both the modern `numpy.random.Generator` and the legacy
`numpy.random.RandomState` are accepted; the latter replays the draws of the official code.

Videos shorter than a clip never fail: indices repeat, and stay inside `[0, num_frames - 1]`. What
cannot be is refused: a video without frames, frame rate or duration by a `VideoError`, a clip
length, stride, rate or number of clips that is not positive by a `ConfigError`.
"""

from internvideo.video.sampling.dense import (
    dense_indices,
    dense_test_indices,
    looped_indices,
    pretrain_indices,
    window_indices,
)
from internvideo.video.sampling.indices import FrameIndices, NumpyRandom
from internvideo.video.sampling.sparse import (
    activitynet_indices,
    demo_indices,
    kinetics_sparse_indices,
    linspace_indices,
    segment_indices,
    sparse_test_indices,
    umt_indices,
    uniform_indices,
    uniform_test_indices,
    viclip_indices,
)
from internvideo.video.sampling.timed import fps_indices, per_second_indices, whole_second_indices

__all__ = [
    "FrameIndices",
    "NumpyRandom",
    "activitynet_indices",
    "demo_indices",
    "dense_indices",
    "dense_test_indices",
    "fps_indices",
    "kinetics_sparse_indices",
    "linspace_indices",
    "looped_indices",
    "per_second_indices",
    "pretrain_indices",
    "segment_indices",
    "sparse_test_indices",
    "umt_indices",
    "uniform_indices",
    "uniform_test_indices",
    "viclip_indices",
    "whole_second_indices",
    "window_indices",
]
