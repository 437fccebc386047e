"""How well sentences recognise labelled videos, video by video.

    source ──► scores "v k" of all views of a video ──► their mean ──► rank of the true class
           ──► predictions.jsonl, one line a video ──► ZeroShotReport

The scores of all videos are kept too (n x k), for the dual softmax over them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError
from internvideo.evaluation.accuracy import VideoPrediction
from internvideo.evaluation.data import AnnotatedData, open_videos
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.ranking import dual_softmax
from internvideo.evaluation.report import answered_and_failures
from internvideo.evaluation.text import Ensemble, prompt_rule
from internvideo.formats.class_names import ClassNames
from internvideo.tasks.task import Option
from internvideo.tasks.zero_shot.classifier import (
    ZeroShotClassifier,
    equal_classes,
    ranking_metrics,
    refuse_equal_classes,
)
from internvideo.tasks.zero_shot.prompting import (
    DEFAULT_TEMPLATES,
    Prompts,
    class_prompts,
    described_classes,
    find_templates,
    readable_name,
)
from internvideo.tasks.zero_shot.report import ZeroShotReport
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import action_prompts
from internvideo.zoo.hub import LoadedModel
from internvideo.zoo.labels import label_maps, label_names

__all__ = ["LabelledVideos", "evaluate", "open_labelled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledVideos:
    """Videos, and what their classes are called.

    Attributes:
        source: the videos with the numbers of their classes.
        labels: names of the classes in the order of their numbers.
        described: the texts of each class, where the user describes it; then templates are put
            around these.
        sentences: whole sentences of each class, which need no template.
    """

    source: EvaluationSource
    labels: tuple[str, ...]
    described: Prompts | None = None
    sentences: Prompts | None = None


def open_labelled(data: AnnotatedData, protocol: Preprocessing) -> LabelledVideos:
    """Return the videos of an annotation list, of a folder of one folder a class, or of the world.

    `data.labels` is a file of one class a line, a json object name → label or sentences (any
    language), or the id of a label map such as "kinetics-400/alphabetical". The sentences of the
    world are held out of the captions that models of the world are trained on.

    Raises:
        DataError: the list or the labels cannot be used.
        ConfigError: nothing says what the classes are called, or two lists of them differ.
    """
    if data.is_world:
        return _world(data)
    known = data.labels in label_maps()
    file = None if data.labels is None or known else Path(data.labels)
    source = open_videos(data.with_class_list(file), protocol)
    names = source.class_names
    if known:
        names = _agreeing(label_names(str(data.labels)), names, data.path)
    elif names is None and file is not None:
        names = ClassNames.read(file).names
    if names is None:
        raise ConfigError(
            f"{data.path} has numbers for classes; say what they are called by --labels FILE (one "
            f"a line, in the order of the numbers) or --labels {label_maps()[0]}"
        )
    described = None if file is None else described_classes(file)
    kind = data.with_class_list(file).format
    return LabelledVideos(
        source=source,
        labels=names,
        described=described or {name: (readable_name(name, kind or ""),) for name in names},
    )


def _world(data: AnnotatedData) -> LabelledVideos:
    source = data.world_source()
    actions = source.world.style.actions
    # Equally many for each action, as the ensemble of probabilities needs them.
    limit = min(len(action_prompts(action)) for action in actions)
    return LabelledVideos(
        source=source,
        labels=actions,
        sentences={action: tuple(action_prompts(action, limit=limit)) for action in actions},
    )


class SentencePredictor(Answerer[VideoPrediction]):
    """Ranks the true class of a video, which `source` has, among classes in sentences."""

    def __init__(self, classifier: ZeroShotClassifier, source: EvaluationSource) -> None:
        super().__init__(classifier.network, classifier.protocol)
        self.classifier = classifier
        self.source = source

    def answer(self, batch: Batch) -> list[VideoPrediction]:
        """Return the classes of each video by their score, averaged over its views."""
        found: list[VideoPrediction] = []
        for video, views in batch.each(self.classifier.scores):
            scores = views.mean(dim=0)
            found.append(
                VideoPrediction.of(
                    video,
                    self.source.label(video.index),
                    # Of equal scores the last class comes first, as in the reference.
                    order=scores.argsort(stable=True).flip(0),
                    shares=self.classifier.probabilities(scores),
                    scores=scores,
                )
            )
        return found

    def from_json(self, line: dict[str, Any]) -> VideoPrediction:
        """Return the prediction of a line, with the scores that the dual softmax needs."""
        return VideoPrediction.from_dict(line, with_scores=True)

    def identity(self) -> dict[str, Any]:
        """Add the sentences of the classes, and how they are combined."""
        classes = [[name, *texts] for name, texts in self.classifier.prompts.items()]
        text = json.dumps(classes, ensure_ascii=False)
        return {
            **super().identity(),
            "classes": hashlib.sha256(text.encode()).hexdigest(),
            "ensemble": self.classifier.ensemble,
        }


def evaluate(
    model: LoadedModel,
    videos: LabelledVideos,
    *,
    loop: EvalLoop,
    templates: Annotated[
        str | Path | Sequence[str] | None,
        Option("action16, single, doing, none; 'a clip of {}'; or a file.", flags=("-t",)),
    ] = None,
    rule: Annotated[Ensemble | None, Option("How the sentences of a class are combined.")] = None,
) -> ZeroShotReport:
    """Measure how well a model recognises classes that it knows from words alone.

    The classes come from --labels: a file of one per line in the order of their numbers, or a JSON
    object from the name in the data to a label, or to sentences, in any language. A file of
    --templates has a sentence per line, with {} for the label.

    The default templates are "action16" around English names, and none around names in another
    script or around descriptions; the world has sentences of its own. The default rule is that of
    the model's family.

    Raises:
        DataError: no videos, or a label that is not one of the classes.
        ConfigError: no text tower, unusable labels or templates, labels that are all the same to
            the model, or the folder belongs to another
            evaluation.
    """
    videos.source.check_labels(len(videos.labels))  # before the text tower reads all sentences
    family = prompt_rule(model.architecture)
    prompts, described = _prompts(videos, templates, clean=family.clean)
    equal = equal_classes(model.two_towers.tokenizer, prompts)
    if equal and len(equal[0]) == len(prompts):
        refuse_equal_classes(model.two_towers.tokenizer, prompts, name=model.name)
    classifier = ZeroShotClassifier(
        model.two_towers, model.protocol, prompts, ensemble=rule or family.ensemble, name=model.name
    )
    answered = loop.run(SentencePredictor(classifier, videos.source), videos.source)
    predictions, failures = answered_and_failures(answered)
    reranked: dict[str, float] = {}
    if predictions:
        scores = dual_softmax(torch.tensor([each.scores for each in predictions]))
        reranked = ranking_metrics(scores, torch.tensor([each.label for each in predictions]))
    return ZeroShotReport(
        labels=classifier.labels,
        predictions=tuple(predictions),
        failures=failures,
        protocol=classifier.protocol.describe(),
        model=model.name,
        templates=described,
        sentences=tuple(prompts[classifier.labels[0]]),
        ensemble=classifier.ensemble,
        dual_softmax=reranked,
        equal_labels=equal,
    )


def _prompts(
    videos: LabelledVideos, templates: str | Path | Sequence[str] | None, *, clean: bool
) -> tuple[Prompts, str]:
    """Return the sentences of every class, and what to call them."""
    if templates is None and videos.sentences is not None:
        return videos.sentences, "held-out sentences of the world"
    texts = videos.described or {label: (label,) for label in videos.labels}
    if templates is None:
        one_english_name = all(len(each) == 1 and each[0].isascii() for each in texts.values())
        templates = DEFAULT_TEMPLATES if one_english_name else "none"
    named = [templates] if isinstance(templates, str | Path) else templates
    described, filled = ", ".join(map(str, named)), find_templates(templates)
    if max(len(each) for each in texts.values()) == 1:
        by_text = class_prompts([each[0] for each in texts.values()], filled, clean=clean)
        return dict(zip(texts, by_text.values(), strict=True)), described
    return {
        name: tuple(
            sentence
            for text in each
            for sentence in class_prompts([text], filled, clean=clean)[text]
        )
        for name, each in texts.items()
    }, described


def _agreeing(names: tuple[str, ...], others: tuple[str, ...] | None, data: str) -> tuple[str, ...]:
    """Return the names of a label map, refusing data that number their classes differently."""
    if others is not None and tuple(others) != names:
        raise ConfigError(
            f"{data} names {len(others)} classes, the label map {len(names)}, and they are not the "
            "same in the same order; leave out --labels, or give the class list of the data"
        )
    return names
