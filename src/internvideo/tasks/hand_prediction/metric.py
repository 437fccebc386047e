"""How far predicted hands are from the true ones, in pixels.

Twenty numbers say where the hands are: five key frames, in each left x, left y, right x, right y.
A hand that is not annotated is at (0, 0) and does not count.

Source: Grauman et al. (2022), Ego4D, arXiv 2110.07058, appendix on future hand prediction (fixture
`ego4d-fhp-metrics`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from internvideo.annotations import VideoAnnotation
from internvideo.formats.ego4d_fhp import KEY_FRAMES

__all__ = ["NUM_COORDINATES", "displacements", "distances", "mean_hands", "targets_of"]

NUM_COORDINATES = 4 * len(KEY_FRAMES)
"""Two hands of two coordinates in each key frame."""


def targets_of(video: VideoAnnotation) -> Float[np.ndarray, " 20"]:
    """Return the annotated hands of a clip in pixels; zeros where there is none."""
    hands = np.zeros((len(KEY_FRAMES), 2, 2))
    for each in video.hands:
        hands[each.key_frame, each.hand] = each.point
    return np.reshape(hands, NUM_COORDINATES)


def mean_hands(targets: Float[np.ndarray, "n 20"]) -> Float[np.ndarray, " 20"]:
    """Return the mean place of each hand at each key frame, over the clips that show it."""
    points = np.reshape(targets, (len(targets), -1, 2))
    shown = (points != 0).any(axis=-1, keepdims=True)
    return np.reshape(points.sum(axis=0) / np.maximum(shown.sum(axis=0), 1), -1)


def distances(
    predictions: Float[np.ndarray, "n 20"], targets: Float[np.ndarray, "n 20"]
) -> tuple[Float[np.ndarray, "n 5 2"], Bool[np.ndarray, "n 5 2"]]:
    """Return the distance of each hand in pixels, and which hands are annotated."""
    found, true = (np.reshape(each, (-1, 5, 2, 2)) for each in (predictions, targets))
    return np.linalg.norm(found - true, axis=-1), (true != 0).any(axis=-1)


def displacements(
    predictions: Float[np.ndarray, "n 20"], targets: Float[np.ndarray, "n 20"]
) -> dict[str, float]:
    """Return mean distances in pixels; NaN where no such hand is annotated.

    Every annotated hand of a key frame counts once, however many there are in its clip.

    Returns:
        "left_mean" and "right_mean" over all key frames, "left_contact" and "right_contact" over
        the last one.
    """
    distance, counts = distances(predictions, targets)
    result: dict[str, float] = {}
    for hand, name in enumerate(("left", "right")):
        for kind, frames in (("mean", slice(None)), ("contact", slice(-1, None))):
            held = distance[:, frames, hand][counts[:, frames, hand]]
            result[f"{name}_{kind}"] = float(held.mean()) if held.size else float("nan")
    return result
