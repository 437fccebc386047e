"""Finding the sentence that fits a user's video best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.text import prompt_rule
from internvideo.evaluation.videos import label_videos
from internvideo.tasks.task import Option
from internvideo.tasks.zero_shot.classifier import ZeroShotClassifier, refuse_equal_classes
from internvideo.tasks.zero_shot.prompting import class_prompts, find_templates
from internvideo.video.opening import AnyVideo
from internvideo.zoo.hub import LoadedModel

__all__ = ["predict", "sentence_classifier"]


def sentence_classifier(
    model: LoadedModel,
    labels: Sequence[str] | None,
    templates: str | Path | Sequence[str] = "none",
    *,
    warned: set[str] | None = None,
) -> ZeroShotClassifier:
    """Return a classifier of videos by these labels, by the rule of the model's family.

    Raises:
        ConfigError: no text tower, no labels, or unusable ones.
    """
    towers = model.two_towers
    if labels is None:
        raise ConfigError(
            f"{model.name} answers with labels that you give: pass some sentences, such as "
            "'something grows'; --labels on the command line, one by one or as a file"
        )
    if len(labels) == 1:
        raise ConfigError(
            f"{labels[0]!r} alone fits every video by 100 %, as shares are among the labels; give "
            "at least two, such as what else it could be"
        )
    rule = prompt_rule(model.architecture)
    prompts = class_prompts(tuple(labels), find_templates(templates), clean=rule.clean)
    refuse_equal_classes(model.two_towers.tokenizer, prompts, name=model.name)
    return ZeroShotClassifier(
        towers, model.protocol, prompts, ensemble=rule.ensemble, name=model.name, warned=warned
    )


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    labels: Annotated[
        Sequence[str] | None,
        Option(
            "A label; repeat it. A file, or @FILE, gives one label a line.",
            flags=("-l",),
            from_files=True,
        ),
    ] = None,
    templates: Annotated[
        str,
        Option(
            "Sentences around each label: none, single ('A video of {}'), action16 (the 16 of the "
            "papers), one of your own such as 'a clip of {}', or a file of one a line."
        ),
    ] = "none",
    top_k: Annotated[
        int | None, Option("Show only the best K answers.", flags=("-k",), minimum=1)
    ] = None,
) -> Iterator[Classification | VideoError]:
    """Say which of your labels fits each video best.

    The probabilities are shares among the labels that you give, so give at least two: they say
    which fits best, never that one is true.

    Raises:
        ConfigError: no text tower, no labels, or unusable ones.
    """
    return label_videos(sentence_classifier(model, labels, templates), videos, top_k=top_k)
