"""Zero-shot classification: a video is what its embedding is nearest to, among sentences.

Every class is described by one or several sentences. There are two published rules for how the
cosines of a video with them become the score of a class:

* "cosine" (ViCLIP): the MEAN of the cosines, which is the unit-norm video times the mean of the
  unit-norm sentences. That mean is not scaled back to unit length (the published numbers are made
  so; other CLIP code does it, which can change the order).
* "probability" (InternVideo-MM): for each template a softmax over the classes of
  exp(logit_scale) · cosine, then the mean over the templates.

The sentences are embedded once per set of classes. Any `DualEncoder` will do: ViCLIP,
InternVideo-MM.

Letters: b clips, k classes, p sentences (in all, or of a class), e joint dimension.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.engine import Answerer, Batch
from internvideo.evaluation.ranking import top_k_accuracy
from internvideo.evaluation.text import Ensemble, embed_sentences, warn_of_unknown_words
from internvideo.models.contract import DualEncoder
from internvideo.models.tokenizer import Tokenizer
from internvideo.tasks.zero_shot.prompting import Prompts
from internvideo.video.preprocessing import Preprocessing

__all__ = [
    "ZeroShotClassifier",
    "class_embeddings",
    "class_weights",
    "equal_classes",
    "prompt_probabilities",
    "ranking_metrics",
    "refuse_equal_classes",
]

_SHOWN = 3


def class_embeddings(
    model: DualEncoder, prompts: Prompts, *, renormalize: bool = False
) -> Float[Tensor, "k e"]:
    """Return the weight vector of each class, on the device of the model.

    Args:
        model: in evaluation mode.
        prompts: the sentences of each class; classes may have different numbers of them.
        renormalize: scale the mean back to unit length (not what the published numbers do).
    """
    embedded = embed_sentences(model, [text for texts in prompts.values() for text in texts])
    owner = torch.tensor(
        [i for i, texts in enumerate(prompts.values()) for _ in texts], device=embedded.device
    )
    return class_weights(embedded, owner, renormalize=renormalize)


def class_weights(
    embeddings: Float[Tensor, "p e"], owner: Int[Tensor, "p"], *, renormalize: bool = False
) -> Float[Tensor, "k e"]:
    """Return the mean of the unit-norm sentence embeddings of each class.

    Args:
        embeddings: of all sentences; they are scaled to unit length here.
        owner: the class of each sentence, 0 to k - 1, each at least once.
        renormalize: scale the means to unit length.
    """
    unit = F.normalize(embeddings.float(), dim=-1)
    num_classes = int(owner.max()) + 1
    sums = unit.new_zeros(num_classes, unit.shape[1]).index_add_(0, owner, unit)
    means = sums / owner.bincount(minlength=num_classes)[:, None]
    return F.normalize(means, dim=-1) if renormalize else means


def prompt_probabilities(
    videos: Float[Tensor, "b e"], sentences: Float[Tensor, "p k e"], logit_scale: Float[Tensor, ""]
) -> Float[Tensor, "b k"]:
    """Return the mean over templates of the softmax over classes (InternVideo-MM's ensemble).

    Args:
        videos: embeddings; they are scaled to unit length here.
        sentences: embeddings of template p filled with class k, likewise.
        logit_scale: factor of the cosines.
    """
    videos, sentences = (F.normalize(each.float(), dim=-1) for each in (videos, sentences))
    logits = logit_scale * torch.einsum("be,pke->bpk", videos, sentences)
    return logits.softmax(dim=-1).mean(dim=1)


def ranking_metrics(scores: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> dict[str, float]:
    """Return `top1`, `top5` and `avg` = (top1 + top5) / 2, in percent."""
    top1, top5 = (top_k_accuracy(scores, labels, k) for k in (1, 5))
    return {"top1": top1, "top5": top5, "avg": round((top1 + top5) / 2, 3)}


def equal_classes(tokenizer: Tokenizer, prompts: Prompts) -> tuple[tuple[str, ...], ...]:
    """Return the groups of classes whose sentences have the same tokens, such as unknown words.

    Which of a group a model chooses is chance.
    """
    owners = [label for label, sentences in prompts.items() for _ in sentences]
    rows = tokenizer([text for sentences in prompts.values() for text in sentences])
    tokens: dict[str, list[Any]] = {label: [] for label in prompts}
    for label, row in zip(owners, as_list(rows), strict=True):
        tokens[label].append(row)
    same: dict[str, list[str]] = {}
    for label, read in tokens.items():
        same.setdefault(repr(read), []).append(label)
    return tuple(tuple(labels) for labels in same.values() if len(labels) > 1)


def refuse_equal_classes(tokenizer: Tokenizer, prompts: Prompts, *, name: str) -> None:
    """Refuse classes that are the same to a model, see `equal_classes`.

    Raises:
        ConfigError: there are some.
    """
    equal = equal_classes(tokenizer, prompts)
    if equal:
        shown = ", ".join(repr(label) for label in equal[0][:_SHOWN])
        more = sum(map(len, equal)) - min(len(equal[0]), _SHOWN)
        raise ConfigError(
            f"{name or 'the model'} reads {shown}{f' and {more} more' if more else ''} as the "
            "same words, so it cannot tell them apart; put them into other words, or take a model "
            "that knows these"
        )


class ZeroShotClassifier(Answerer[Classification]):
    """Classifies videos by sentences.

    Args:
        model: a ViCLIP, an InternVideo-MM, or another `DualEncoder` that is an `nn.Module`; it is
            put into evaluation mode.
        protocol: how a video becomes clips, from the model's card.
        prompts: the sentences of each class, see `prompting.class_prompts`.
        ensemble: how the sentences of a class are combined, see the module's docstring.
        renormalize: see `class_embeddings`; for "cosine" only.
        logit_scale: factor of the cosines in front of the softmax; None is the model's own
            1 / temperature, the official demo of ViCLIP has 100.
        name: name of the model, for the results.
        warned: unknown words of earlier warnings.

    Raises:
        ConfigError: the ensemble "probability" with classes of different numbers of sentences.
    """

    def __init__(
        self,
        model: DualEncoder,
        protocol: Preprocessing,
        prompts: Prompts,
        *,
        ensemble: Ensemble = "cosine",
        renormalize: bool = False,
        logit_scale: float | None = None,
        name: str = "",
        warned: set[str] | None = None,
    ) -> None:
        super().__init__(cast(nn.Module, model).eval(), protocol)
        self.model = model
        self.prompts = prompts
        self.labels = tuple(prompts)
        self.ensemble = ensemble
        self.logit_scale = (
            1 / model.temperature().detach().item() if logit_scale is None else logit_scale
        )
        self.name = name
        self.weights = self._weights(renormalize=renormalize)
        texts = (text for sentences in prompts.values() for text in sentences)
        warned = set() if warned is None else warned
        warn_of_unknown_words(model.tokenizer, texts, name=name, warned=warned)

    def _weights(self, *, renormalize: bool) -> Float[Tensor, "*p k e"]:
        """Return one vector per class, or one per sentence for the ensemble of probabilities."""
        if self.ensemble == "cosine":
            return class_embeddings(self.model, self.prompts, renormalize=renormalize)
        counts = {len(sentences) for sentences in self.prompts.values()}
        if len(counts) > 1:
            raise ConfigError(
                f"classes with {min(counts)} to {max(counts)} sentences have no common templates: "
                "the ensemble 'probability' needs equally many for each class; use 'cosine'"
            )
        texts = [text for turn in zip(*self.prompts.values(), strict=True) for text in turn]
        rows = embed_sentences(self.model, texts)
        return rows.reshape(-1, len(self.labels), rows.shape[1])

    @torch.no_grad()
    def scores(self, clips: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:
        """Return the score of each class: by `ensemble`, its mean cosine or its probability."""
        videos = self.model.encode_video(clips.to(self.weights.device)).float()
        if self.ensemble == "cosine":
            return videos @ self.weights.T
        scale = self.weights.new_tensor(self.logit_scale)
        return prompt_probabilities(videos, self.weights, scale)

    def probabilities(self, scores: Float[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        """Return the share of each class from scores that were averaged over views."""
        if self.ensemble == "probability":
            return scores
        return (self.logit_scale * scores).softmax(dim=-1)

    def answer(self, batch: Batch) -> list[Classification]:
        """Return the classes of each video; the scores of several views are averaged."""
        described = self.protocol.describe()
        found: list[Classification] = []
        for video, views in batch.each(self.scores):
            scores = views.mean(dim=0)
            found.append(
                Classification.from_scores(
                    video.name,
                    self.labels,
                    as_list(scores),
                    as_list(self.probabilities(scores)),
                    model=self.name,
                    protocol=described,
                )
            )
        return found
