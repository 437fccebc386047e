"""Hard cuts: where a frame differs from the one before far more than its neighbours do.

    difference  ▁▂▁▁▂█▁▁▂▁   a cut: one high value among low ones
                ▃▅▆▅▆▅▆▅▄▃   a camera that turns: high, but so are all around it
                ▁▁▂▁██▁▁▂▁   a flash: two, there and back

The difference of two frames is the mean of |a − b| over a coarse grid of their colours, in grey
levels. `docs/search.md` has what this finds, beside PySceneDetect. Dissolves and fades are no cuts.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from internvideo.video.preprocessing import FrameSource

__all__ = ["cuts_among", "find_cuts", "frame_differences"]

_LEAST = 8.0  # grey levels
_RATIO = 2.0
_NEIGHBOURS = 4  # frames on each side
_PIECE = 32
_ROWS, _COLUMNS, _CELL = 36, 64, 4  # pixels that are looked at; those of a cell are averaged


def find_cuts(video: FrameSource) -> list[int]:
    """Return the first frame of every shot but the first, decoding the whole video once.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    return cuts_among(frame_differences(video))


def frame_differences(video: FrameSource) -> Float[np.ndarray, " t"]:
    """Return by how many grey levels each frame differs from the one before; 0 for the first."""
    differences: list[np.ndarray] = []
    last: np.ndarray | None = None
    for start in range(0, video.num_frames, _PIECE):
        piece = range(start, min(start + _PIECE, video.num_frames))
        grids = _grids(video.frames(piece).numpy())
        before = grids[:1] if last is None else last
        steps = np.diff(np.concatenate([before, grids]), axis=0)
        differences.append(np.abs(steps).mean(axis=(1, 2, 3)))
        last = grids[-1:]
    return np.concatenate(differences)


def cuts_among(differences: Float[np.ndarray, " t"]) -> list[int]:
    """Return the frames at which there is a cut.

    >>> cuts_among(np.array([0, 1, 1, 40, 1, 2, 1, 30, 30, 1], float))
    [3]
    """
    padded = np.pad(differences.astype(np.float64), _NEIGHBOURS)
    size = 2 * _NEIGHBOURS + 1
    around = np.lib.stride_tricks.sliding_window_view(padded, size).copy()
    around[:, _NEIGHBOURS] = 0
    is_cut = (differences > _LEAST) & (differences > _RATIO * around.max(axis=1))
    return np.flatnonzero(is_cut).tolist()


def _grids(frames: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, "t y x c"]:
    """Return the mean colours of the cells of a coarse grid over each frame."""
    height, width = frames.shape[1:3]
    rows = np.linspace(0, height - 1, min(height, _ROWS)).astype(int)
    columns = np.linspace(0, width - 1, min(width, _COLUMNS)).astype(int)
    few = frames[:, rows[:, None], columns].astype(np.float32)
    down, across = max(len(rows) // _CELL, 1), max(len(columns) // _CELL, 1)
    few = few[:, : down * (len(rows) // down), : across * (len(columns) // across)]
    cells = few.reshape(len(few), down, -1, across, few.shape[2] // across, few.shape[3])
    return cells.mean(axis=(2, 4))
