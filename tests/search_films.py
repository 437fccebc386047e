"""Procedural films with known cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from internvideo.video import write_video

FPS = 8
SHOT = 8  # frames


def scene(rng: np.random.Generator, num_frames: int = SHOT) -> np.ndarray:
    """Return frames of one picture that drifts a little; another one each time."""
    cells = rng.integers(0, 256, (6, 8 + num_frames // 8, 3), np.uint8)
    picture = cells.repeat(8, axis=0).repeat(10, axis=1)
    return np.stack([picture[:, shift : shift + 64] for shift in range(num_frames)])


def write_film(path: Path, seed: int, num_shots: int = 3) -> Path:
    """Write a film of shots of one second, 64 x 48."""
    rng = np.random.default_rng(seed)
    frames = np.concatenate([scene(rng) for _ in range(num_shots)])
    return write_video(path, frames, fps=FPS)
