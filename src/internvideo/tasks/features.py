"""Options of the evaluations that look at features in place of video, and the videos so read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from internvideo.data.feature_videos import AnnotatedVideos, FeatureVideoSource
from internvideo.data.features import FeatureFiles
from internvideo.errors import ConfigError
from internvideo.tasks.task import Option

__all__ = [
    "FeatureName",
    "FeatureRate",
    "FeatureStride",
    "FeatureWindow",
    "Features",
    "Resamples",
    "read_by_features",
]

Features: TypeAlias = Annotated[
    Sequence[str] | None,
    Option(
        "Folder of the videos' features, a file each; repeat it to join the channels of several."
    ),
]
FeatureStride: TypeAlias = Annotated[
    str | None, Option("Frames from row to row, or spread: rows lie evenly over the video.")
]
FeatureWindow: TypeAlias = Annotated[
    float | None, Option("Frames that a row has seen; by default the stride.")
]
FeatureRate: TypeAlias = Annotated[
    float | None, Option("Frames per second that stride and window are counted at.")
]
FeatureName: TypeAlias = Annotated[
    str, Option("Name of a feature file without its ending, such as v_{id}.")
]
Resamples: TypeAlias = Annotated[
    int, Option("Of the bootstrap over videos; 0 leaves out the intervals.", minimum=0)
]


def read_by_features(
    annotated: AnnotatedVideos,
    features: Sequence[str] | None,
    *,
    stride: str | None,
    window: float | None,
    rate: float | None,
    name: str,
    model: str,
) -> FeatureVideoSource:
    """Return annotated videos that are read as their features.

    Args:
        annotated: the videos.
        features: folders; None is refused.
        stride: frames from row to row, "spread", or what the folders say.
        window: frames of a row, or what the folders say.
        rate: frames per second of both, likewise.
        name: of a file without its ending.
        model: who looks at them.

    Raises:
        ConfigError: no folder is given, or a stride that is no number.
        DataError: there is no such folder.
    """
    if not features:
        raise ConfigError(
            f"{model} looks at features, not at video: give their folder with --features "
            "(`internvideo extract` makes them)"
        )
    files = FeatureFiles(
        folders=tuple(map(Path, features)),
        fps=rate,
        stride=_stride(stride),
        window=window,
        name=name,
    )
    return FeatureVideoSource(annotated, files.open())


def _stride(text: str | None) -> float | Literal["spread"] | None:
    if text is None or text == "spread":
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--feature-stride is {text!r}; expected a number, or spread") from None
