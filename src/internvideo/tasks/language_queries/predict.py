"""When in a user's video is what a sentence asks for?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.extraction import (
    Extraction,
    load_feature_encoder,
    video_features,
)
from internvideo.evaluation.text import warn_of_unknown_words
from internvideo.models.contract import has
from internvideo.models.feature_origin import FeatureOrigin
from internvideo.models.vslnet import VSLNet
from internvideo.models.vslnet_text import GivenTextConfig
from internvideo.tasks.language_queries.answer import QueryAnswer
from internvideo.tasks.language_queries.finding import QueryFinder, finder_for
from internvideo.tasks.language_queries.queries import check_words
from internvideo.tasks.task import Option
from internvideo.video.opening import AnyVideo, name_of
from internvideo.zoo.hub import LoadedModel

__all__ = ["DEFAULT_FINDER", "predict"]

DEFAULT_FINDER = "viclip-nano"
"""The model that is asked where none is named; it comes with the package."""

_WINDOW, _STRIDE = 16, 8


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    query: Annotated[
        Sequence[str] | None,
        Option("What to look for; repeat it for several sentences.", flags=("-q",)),
    ] = None,
    top_k: Annotated[int, Option("Spans a sentence.", flags=("-k",), minimum=1)] = 5,
    window: Annotated[
        int | None, Option("Without a trained model: frames that are compared at once (16).")
    ] = None,
    stride: Annotated[
        int | None, Option("Without a trained model: frames from window to window (8).")
    ] = None,
    threshold: Annotated[
        float, Option("Without a trained model: 0 finds all of a video, 1 its likest window.")
    ] = 0.5,
) -> Iterator[QueryAnswer | VideoError]:
    """Find the parts of videos that sentences ask for.

    A VSLNet that was trained by a recipe looks through the windows of the encoder that it was
    trained with. A model with two towers, such as the default viclip-nano, needs no training: it
    finds stretches whose windows are like the sentence.

    Raises:
        ConfigError: no sentence, one without words, or a model that finds nothing by words.
    """
    texts = [check_words(text) for text in query or ()]
    if not texts:
        raise ConfigError('no query: say what to look for, such as --query "when does it vanish?"')
    encoder, origin = _encoder(model, window=window, stride=stride)
    towers = encoder if _reads_by(model, origin) else None
    finder = finder_for(model, top_k=top_k, threshold=threshold, towers=towers)
    if has(encoder.model, "text") and not isinstance(model.model, VSLNet):
        warn_of_unknown_words(encoder.two_towers.tokenizer, texts, name=encoder.name, warned=set())
    return _answers(finder, encoder, origin, videos, texts, name=model.name)


def _encoder(
    model: LoadedModel, *, window: int | None, stride: int | None
) -> tuple[LoadedModel, FeatureOrigin]:
    """Return what makes the features that a model sees, and which windows it looks through."""
    if not isinstance(model.model, VSLNet):
        length = window or _WINDOW
        step = stride or min(_STRIDE, length)
        return model, FeatureOrigin(model=model.name, window=length, stride=step)
    if window is not None or stride is not None:
        raise ConfigError(
            f"{model.name} was trained on windows of its own; leave out --window and --stride"
        )
    origin = model.model.config.origin
    device = next(model.model.parameters()).device
    encoder = load_feature_encoder(origin, trained=model.name, device=device)
    assert origin is not None  # else there were no encoder
    return encoder, origin


def _reads_by(model: LoadedModel, origin: FeatureOrigin) -> bool:
    """Tell whether the encoder of the features also makes the vectors of sentences."""
    if not isinstance(model.model, VSLNet):
        return False
    text = model.model.config.text
    return isinstance(text, GivenTextConfig) and text.model == origin.model


def _answers(
    finder: QueryFinder,
    encoder: LoadedModel,
    origin: FeatureOrigin,
    videos: Iterable[AnyVideo],
    texts: Sequence[str],
    *,
    name: str,
) -> Iterator[QueryAnswer | VideoError]:
    windows = Extraction.of(origin)
    for video in videos:
        try:
            features = video_features(encoder, video, windows)
        except VideoError as error:
            yield error
            continue
        found = finder.find(features, features.duration, texts)
        yield QueryAnswer(
            video=name_of(video),
            found=tuple(zip(texts, found, strict=True)),
            duration=features.duration or 0.0,
            model=name,
            protocol=f"{windows.describe(encoder.name)}; {finder.describe()}",
        )
