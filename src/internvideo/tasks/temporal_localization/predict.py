"""What happens when in a user's videos?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated

from internvideo.config import Fraction
from internvideo.data.features import FeatureSequence
from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.extraction import Extraction, load_feature_encoder, video_features
from internvideo.evaluation.localizer import Localizer
from internvideo.evaluation.moments import Moment, Moments
from internvideo.evaluation.segments import Segments
from internvideo.models.contract import has
from internvideo.tasks.task import AnswerFile, Option
from internvideo.tasks.temporal_localization.video_detector import VideoDetector
from internvideo.video.opening import AnyVideo, name_of
from internvideo.zoo.hub import LoadedModel

__all__ = ["CLIPS", "DEFAULT_DETECTOR", "predict"]

DEFAULT_DETECTOR = "moments-nano"
"""The model that is asked where none is named; it comes with the package."""

CLIPS = AnswerFile(
    "cut",
    "Write the moments as clips into this folder, in a folder for each video.",
    "",
    lambda answer, path: answer.cut(path),
)


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    threshold: Annotated[Fraction, Option("Least score of a moment.")] = 0.3,
    top_k: Annotated[
        int, Option("Moments of a video at most, the surest.", flags=("-k",), minimum=1)
    ] = 100,
) -> Iterator[Moments | VideoError]:
    """Find what happens when in videos.

    The default model, moments-nano, ships with the package and knows 21 actions of the procedural
    world only; for real videos name a detector that was trained on some, such as the folder of a
    run. It looks through the windows of the encoder whose features it was trained on.

    Raises:
        ConfigError: the model is no detector, or does not say what made its features.
    """
    network = model.model
    if isinstance(network, VideoDetector):
        detector, encoder = network.detector, model
        windows = Extraction(window=network.config.window, stride=network.config.stride)
    elif has(network, "moments"):
        origin, device = network.config.origin, next(model.model.parameters()).device
        detector, encoder = network, load_feature_encoder(origin, trained=model.name, device=device)
        windows = Extraction.of(origin)
    else:
        raise ConfigError(
            f"{model.name} finds no moments; give a detector, such as the folder of a run of "
            "temporal localisation, or moments-nano"
        )
    find = Localizer(network=detector)

    def moments(features: FeatureSequence) -> tuple[Moment, ...]:
        found = find([features])[0].by_score()
        found = found[found.scores >= threshold][:top_k]
        return _moments(found, model.class_names or ())

    return _answers(moments, encoder, windows, videos, name=model.name)


def _answers(
    moments: Callable[[FeatureSequence], tuple[Moment, ...]],
    encoder: LoadedModel,
    windows: Extraction,
    videos: Iterable[AnyVideo],
    *,
    name: str,
) -> Iterator[Moments | VideoError]:
    for video in videos:
        try:
            features = video_features(encoder, video, windows)
        except VideoError as error:
            yield error
            continue
        yield Moments(
            video=name_of(video),
            model=name,
            protocol=windows.describe(encoder.name),
            moments=moments(features),
            duration=features.duration or 0.0,
            source=video,
        )


def _moments(found: Segments, names: Sequence[str]) -> tuple[Moment, ...]:
    """Return segments with the names of their classes, in the order of time."""
    moments = [
        Moment(start=float(start), end=float(end), label=names[int(label)], score=float(score))
        for (start, end), score, label in zip(found.times, found.scores, found.labels, strict=True)
    ]
    return tuple(sorted(moments, key=lambda each: (each.start, each.end)))
