"""Zero-shot classification: a video is what its embedding is nearest to, among sentences (ViCLIP).

Every class is described by one or several sentences. Its weight vector is the MEAN of their
unit-norm embeddings, and the score of a video is its unit-norm embedding times that vector: the
mean cosine over the sentences. The mean is not scaled back to unit length (the published numbers
are made so; other CLIP code does it, which can change the order). The vectors are computed once per
set of classes.

Nothing is trained here, so of the three verbs of a task there are two, `evaluate` and `predict`;
training is `internvideo.tasks.pretraining.contrastive`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.errors import ConfigError, DataError, UnknownNameError, did_you_mean
from internvideo.metrics import dual_softmax, top_k_accuracy
from internvideo.models.tokenizer import WordTokenizer, clean_caption, trim_padding
from internvideo.models.viclip import ViCLIP
from internvideo.results import Classification
from internvideo.video.preprocessing import Preprocessing

if TYPE_CHECKING:
    from internvideo.video import Video

__all__ = [
    "ZeroShotClassifier",
    "class_embeddings",
    "class_prompts",
    "class_weights",
    "prompt_templates",
    "zero_shot_metrics",
]

_log = logging.getLogger(__name__)
_TEXT_BATCH = 256


@cache
def _templates() -> dict[str, tuple[str, ...]]:
    text = (Path(__file__).parent / "prompts.json").read_text(encoding="utf-8")
    return {name: tuple(templates) for name, templates in json.loads(text).items()}


def prompt_templates(name: str) -> tuple[str, ...]:
    """Return a published set of templates; `{}` stands for the class name.

    `action16` makes the zero-shot numbers of ViCLIP; `kinetics28` and `imagenet80` turn class lists
    into captions for pretraining.

    Raises:
        UnknownNameError: there is no such set.
    """
    known = _templates()
    if name not in known:
        raise UnknownNameError(
            f"no prompt templates '{name}'; there are {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def class_prompts(
    names: Iterable[str], templates: Sequence[str] = ("{}",), *, clean: bool = True
) -> dict[str, tuple[str, ...]]:
    """Return the sentences of each class: every template filled with its name.

    Args:
        names: the classes.
        templates: sentences in which `{}` stands for the name, see `prompt_templates`.
        clean: apply `clean_caption`, as the published evaluation does (the demo does not).

    Raises:
        ConfigError: no classes, a repeated or empty name, or a template without `{}`.
    """
    if wrong := [template for template in templates if "{}" not in template]:
        raise ConfigError(f"template {wrong[0]!r} has no {{}} for the class name")
    prompts: dict[str, tuple[str, ...]] = {}
    for name in names:
        if not name.strip():
            raise ConfigError("a label is empty; give every class a name")
        if name in prompts:
            raise ConfigError(f"label {name!r} is given twice")
        filled = [template.replace("{}", name) for template in templates]
        prompts[name] = tuple(clean_caption(text) if clean else text for text in filled)
    if not prompts:
        raise ConfigError("no labels: give at least one")
    return prompts


@torch.inference_mode()
def class_embeddings(
    model: ViCLIP, prompts: Mapping[str, Sequence[str]], *, renormalize: bool = False
) -> Float[Tensor, "k e"]:
    """Return the weight vector of each class, on the device of the model.

    Args:
        model: in evaluation mode.
        prompts: the sentences of each class; classes may have different numbers of them.
        renormalize: scale the mean back to unit length (not what the published numbers do).
    """
    texts = [text for sentences in prompts.values() for text in sentences]
    device = model.temp.device
    embedded = [
        model.encode_text(
            trim_padding(model.tokenizer(texts[start : start + _TEXT_BATCH])).to(device)
        )
        for start in range(0, len(texts), _TEXT_BATCH)
    ]
    owner = torch.tensor(
        [i for i, sentences in enumerate(prompts.values()) for _ in sentences], device=device
    )
    return class_weights(torch.cat(embedded), owner, renormalize=renormalize)


def class_weights(
    embeddings: Float[Tensor, "p e"], owner: Int[Tensor, "p"], *, renormalize: bool = False
) -> Float[Tensor, "k e"]:
    """Return the mean of the unit-norm sentence embeddings of each class.

    Args:
        embeddings: of all sentences; they are scaled to unit length here.
        owner: the class of each sentence, 0 to k - 1, each at least once.
        renormalize: scale the means to unit length.
    """
    unit = torch.nn.functional.normalize(embeddings.float(), dim=-1)
    num_classes = int(owner.max()) + 1
    sums = unit.new_zeros(num_classes, unit.shape[1]).index_add_(0, owner, unit)
    means = sums / owner.bincount(minlength=num_classes)[:, None]
    return torch.nn.functional.normalize(means, dim=-1) if renormalize else means


def zero_shot_metrics(scores: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> dict[str, float]:
    """Return `top1`, `top5`, `avg` = (top1 + top5) / 2 in percent, plain and after dual softmax."""
    metrics: dict[str, float] = {}
    for suffix, matrix in (("", scores), ("_dsl", dual_softmax(scores))):
        top1, top5 = (top_k_accuracy(matrix, labels, k) for k in (1, 5))
        metrics |= {
            f"top1{suffix}": top1,
            f"top5{suffix}": top5,
            f"avg{suffix}": round((top1 + top5) / 2, 3),
        }
    return metrics


class ZeroShotClassifier:
    """Classifies videos by sentences.

    Args:
        model: a ViCLIP; it is put into evaluation mode.
        preprocessing: how a video becomes clips, from the model's card.
        prompts: the sentences of each class, see `class_prompts`.
        renormalize: see `class_embeddings`.
        logit_scale: factor of the cosines in front of the softmax; None is the model's own
            1 / temperature, the official demo has 100.
        name: name of the model, for the results.

    Example:
        >>> classifier = ZeroShotClassifier(
        ...     model, preprocessing, class_prompts(["abseiling", "air drumming"])
        ... )  # doctest: +SKIP
        >>> classifier.predict(Video("clip.mp4")).label  # doctest: +SKIP
        'abseiling'
    """

    def __init__(
        self,
        model: ViCLIP,
        preprocessing: Preprocessing,
        prompts: Mapping[str, Sequence[str]],
        *,
        renormalize: bool = False,
        logit_scale: float | None = None,
        name: str = "",
    ) -> None:
        self.model = model.eval()
        self.preprocessing = preprocessing
        self.labels = tuple(prompts)
        self.logit_scale = 1 / model.temp.detach().item() if logit_scale is None else logit_scale
        self.name = name
        self.weights = class_embeddings(model, prompts, renormalize=renormalize)
        self._warn_of_unknown_words(prompts)

    def _warn_of_unknown_words(self, prompts: Mapping[str, Sequence[str]]) -> None:
        tokenizer = self.model.tokenizer
        if not isinstance(tokenizer, WordTokenizer):
            return
        texts = " ".join(text for sentences in prompts.values() for text in sentences)
        if unknown := tokenizer.unknown_words(texts):
            _log.warning(
                "%s knows %d words; not among them, and read as one unknown word: %s",
                self.name or "the model",
                len(tokenizer.vocabulary),
                ", ".join(unknown),
            )

    @torch.inference_mode()
    def scores(self, clips: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:
        """Return the mean cosine of each clip with the sentences of each class."""
        embeddings = self.model.encode_video(clips.to(self.model.temp.device))
        return embeddings.float() @ self.weights.T

    def predict(self, video: Video) -> Classification:
        """Classify one video; the scores of several views are averaged."""
        scores = self.scores(self.preprocessing.load(video)).mean(dim=0)
        probabilities = (self.logit_scale * scores).softmax(dim=0)
        return Classification.from_scores(
            video.name,
            self.labels,
            scores.tolist(),
            probabilities.tolist(),
            model=self.name,
            protocol=self.preprocessing.describe(),
        )

    def evaluate(
        self, batches: Iterable[tuple[Float[Tensor, "b c t y x"], Int[Tensor, "b"]]]
    ) -> dict[str, float]:
        """Return `zero_shot_metrics` over batches of (clips, class indices).

        Raises:
            DataError: there are no clips, or a class index is outside the classes.
        """
        scores, labels = [], []
        for clips, label in batches:
            scores.append(self.scores(clips).cpu())
            labels.append(label.cpu())
        if not scores:
            raise DataError("nothing to evaluate: no clips were given")
        label = torch.cat(labels)
        if int(label.min()) < 0 or int(label.max()) >= len(self.labels):
            raise DataError(
                f"class indices reach from {int(label.min())} to {int(label.max())}, but there are "
                f"{len(self.labels)} classes"
            )
        return zero_shot_metrics(torch.cat(scores), label)
