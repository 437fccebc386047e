"""Measure a two-tower model on labelled videos whose classes it is told in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internvideo.data.build import ListKind, open_list
from internvideo.data.samples import EvaluationSource
from internvideo.data.world import EVALUATION_SEED, WorldSource
from internvideo.errors import ConfigError
from internvideo.evaluation.running import running, write_report
from internvideo.formats.class_names import ClassNames
from internvideo.formats.detect import detect_kind
from internvideo.pipeline import VideoModel
from internvideo.results import ZeroShotReport
from internvideo.tasks.zero_shot.evaluate import evaluate_zero_shot
from internvideo.tasks.zero_shot.prompting import (
    DEFAULT_TEMPLATES,
    Ensemble,
    Prompts,
    class_prompts,
    described_classes,
    find_templates,
    readable_name,
)
from internvideo.video import Preprocessing
from internvideo.world import World, action_prompts
from internvideo.zoo.labels import label_maps, label_names

__all__ = [
    "LabelledVideos",
    "labelled_videos",
    "measure_zero_shot",
    "world_videos",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledVideos:
    """Videos, and what their classes are called.

    Attributes:
        source: the videos with the numbers of their classes.
        labels: names of the classes in the order of their numbers.
        described: the texts of each class, where the user describes it; then templates are put
            around these.
        sentences: whole sentences of each class, which need no template.
        name: of the data, for the report.
    """

    source: EvaluationSource
    labels: tuple[str, ...]
    described: Prompts | None = None
    sentences: Prompts | None = None
    name: str = ""


def labelled_videos(
    data: Path,
    *,
    protocol: Preprocessing,
    kind: ListKind | None = None,
    root: str | Path | None = None,
    labels: str | Path | None = None,
    split: str | None = None,
) -> LabelledVideos:
    """Return the videos of an annotation list, or of a folder with one folder for each class.

    Args:
        data: the list, or the folder.
        protocol: the input protocol of the model.
        kind: format of the list; None tells it from the content.
        root: folder of the videos; by default that of the list.
        labels: the classes: a file of one a line, a json object name → label or sentences (any
            language), or the id of a label map such as "kinetics-400/alphabetical".
        split: for lists of several.

    Raises:
        DataError: the list or the labels cannot be used.
        ConfigError: nothing says what the classes are called, or two lists of them differ.
    """
    kind = kind or _kind_of(data)
    known = str(labels) in label_maps()
    file = None if labels is None or known else Path(labels)
    source = open_list(kind, data, protocol=protocol, root=root, labels=file, split=split)
    names = source.clips.class_names
    if known:
        names = _agreeing(label_names(str(labels)), names, data)
    elif names is None and file is not None:
        names = ClassNames.read(file).names
    if names is None:
        raise ConfigError(
            f"{data} has numbers for classes; say what they are called by --labels FILE (one a "
            f"line, in the order of the numbers) or --labels {label_maps()[0]}"
        )
    described = None if file is None else described_classes(file)
    return LabelledVideos(
        source=source,
        labels=names,
        described=described or {name: (readable_name(name, kind),) for name in names},
        name=str(data),
    )


def world_videos(num_clips: int = 600, *, seed: int = EVALUATION_SEED) -> LabelledVideos:
    """Return clips of the procedural world, rendered when they are read.

    Their sentences are held out of the captions that models of the world are trained on.

    Raises:
        ConfigError: fewer than one clip.
    """
    if num_clips < 1:
        raise ConfigError(f"num_clips must be at least 1, got {num_clips}")
    source = WorldSource(World(seed=seed), num_clips=num_clips)
    actions = source.world.style.actions
    # Equally many for each action, as the ensemble of probabilities needs them.
    limit = min(len(action_prompts(action)) for action in actions)
    return LabelledVideos(
        source=source,
        labels=actions,
        sentences={action: tuple(action_prompts(action, limit=limit)) for action in actions},
        name=f"{num_clips} clips of the world, seed {seed}",
    )


def measure_zero_shot(
    model: VideoModel,
    videos: LabelledVideos,
    *,
    templates: str | Path | Sequence[str] | None = None,
    ensemble: Ensemble | None = None,
    name: str | None = None,
    batch_size: int = 16,
    num_workers: int = 2,
    directory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ZeroShotReport:
    """Measure how often the sentences of its class suit a video best.

    Args:
        model: with a text tower, and with the protocol to use.
        videos: from `labelled_videos` or `world_videos`.
        templates: sentences around the class names, see `prompting.find_templates`. None is
            "action16" around English names, and nothing around names in another script or around
            descriptions; the world has sentences of its own.
        ensemble: how the sentences of a class are joined; None is the rule of the model's family.
        name: of the weights, for the report; by default that of the model.
        batch_size: views that go through the model together.
        num_workers: videos that are decoded at once.
        directory: takes `predictions.jsonl` while it runs, from which it goes on after a stop, and
            `report.json` in the end.
        progress: called with (videos done, videos in all).

    Raises:
        DataError: no videos, or a label that is not one of the classes.
        ConfigError: no text tower, unusable labels or templates, or `directory` holds another
            evaluation.
    """
    videos.source.check_labels(len(videos.labels))  # before the text tower reads all sentences
    prompts, told = _prompts(videos, templates, clean=model.prompt_rule.clean)
    how = running(
        model, directory, batch_size=batch_size, num_workers=num_workers, progress=progress
    )
    classifier = model.zero_shot(prompts, ensemble=ensemble)
    report = dataclasses.replace(
        evaluate_zero_shot(classifier, videos.source, running=how),
        model=name or model.name,
        data=videos.name,
        templates=told,
    )
    write_report(report, directory, how.fabric)
    return report


def _prompts(
    videos: LabelledVideos, templates: str | Path | Sequence[str] | None, *, clean: bool
) -> tuple[Prompts, str]:
    """Return the sentences of every class, and what to call them."""
    if templates is None and videos.sentences is not None:
        return videos.sentences, "held-out sentences of the world"
    texts = videos.described or {label: (label,) for label in videos.labels}
    if templates is None:
        one_english_name = all(len(said) == 1 and said[0].isascii() for said in texts.values())
        templates = DEFAULT_TEMPLATES if one_english_name else "none"
    told = templates if isinstance(templates, str) else ", ".join(map(str, _listed(templates)))
    filled = find_templates(templates)
    most = max(len(said) for said in texts.values())
    if most == 1:
        by_text = class_prompts([said[0] for said in texts.values()], filled, clean=clean)
        return dict(zip(texts, by_text.values(), strict=True)), told
    return {
        name: tuple(
            sentence
            for text in said
            for sentence in class_prompts([text], filled, clean=clean)[text]
        )
        for name, said in texts.items()
    }, told


def _kind_of(data: Path) -> ListKind:
    """Return the format of a list; where captions are expected elsewhere, they are classes here."""
    kind = detect_kind(data)
    return "labelled" if kind == "captions" and data.suffix in (".json", ".csv") else kind


def _listed(templates: Path | Sequence[str]) -> Sequence[Any]:
    return [templates] if isinstance(templates, Path) else templates


def _agreeing(
    names: tuple[str, ...], others: tuple[str, ...] | None, data: Path
) -> tuple[str, ...]:
    """Return the names of a label map; the data must not number its classes in another way."""
    if others is not None and tuple(others) != names:
        raise ConfigError(
            f"{data} names {len(others)} classes, the label map {len(names)}, and they are not the "
            "same in the same order; leave out --labels, or give the class list of the data"
        )
    return names
