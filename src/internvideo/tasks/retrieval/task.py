"""Fine-tuning for retrieval: the video of a caption, among all videos of the batch, and back.

A batch has one caption a clip; `data.every_caption` decides whether a clip comes once an epoch with
a caption drawn, or once for each of its captions. The published models have the plain symmetric
cross-entropy of the batches of all processes; the other losses are options.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from internvideo.config import Fraction, NonNegative, Positive, config_class
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list, from_numpy
from internvideo.models.contract import TextTokens
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.models.uniformerv2 import UniFormerV2
from internvideo.tasks.parts import Parts
from internvideo.tasks.retrieval.frames import FrameRetriever, TwoTowers
from internvideo.tasks.retrieval.headers import TokenWiseHeader
from internvideo.tasks.retrieval.losses import (
    Decorrelation,
    cross_entropy,
    decorrelation_loss,
    dual_softmax_loss,
    max_margin_loss,
    mil_nce_loss,
    symmetric,
)
from internvideo.train.captions import CaptionInput
from internvideo.train.collectives import (
    gather_rows,
    gather_with_gradient,
    group_size,
    training_group,
)
from internvideo.train.contrast import Exchange, blockwise_contrast, caption_ids
from internvideo.train.optim import EMBEDDING_NAMES
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput
from internvideo.zoo.starts import average_with_start, load_towers

__all__ = ["RetrievalConfig", "RetrievalTraining", "build", "frozen_names"]

_EMBEDDINGS = EMBEDDING_NAMES | {"ln_pre", "text_mask_embedding", "token_embedding"}
# COMPAT: what the published fine-tuning of InternVideo-MM freezes beside the embeddings, as it
# spares the projection by names of CLIP ("visual.proj") that this model does not have; pinned by
# golden `retrieval-vqa-param-groups`.
_PUBLISHED_TOO = frozenset({"balance", "temporal_cls_token", "visual_ln_post", "visual_proj"})


@config_class
class RetrievalConfig:
    """Fine-tuning of two towers, or of a `FrameRetriever`, for text-video retrieval."""

    kind: Literal["retrieval"] = "retrieval"
    loss: Literal["contrast", "max-margin", "mil-nce"] = Field(
        default="contrast", description="contrast: symmetric cross-entropy"
    )
    positives: Literal["pair", "video", "caption"] = Field(
        default="video",
        description="what else is no negative, where the loss is contrast: captions of one video, "
        "or equal captions; as published (pair): nothing",
    )
    margin: Positive = Field(default=0.1, description="of max-margin, on cosines")
    dual_softmax: NonNegative = Field(
        default=0.0, description="weight of a second cross-entropy, with priors over the batch"
    )
    dual_softmax_temperature: Positive = 1000.0
    decorrelation: Decorrelation = Field(
        default="none", description="of channels, for a token-wise header: which tokens are matched"
    )
    decorrelation_weight: NonNegative = 1e-3
    gradient: Literal["exact", "own-rows"] = Field(
        default="exact",
        description="of the towers, of the loss of all processes; the published code divides it by "
        "their number, and that of the temperature not",
    )
    freeze: Literal["nothing", "embeddings", "published"] = Field(
        default="nothing", description="what comes before the blocks; published: and what follows"
    )
    average_with: str | None = Field(
        default=None, description='an image CLIP; `init` is averaged with it first ("mergeclip")'
    )
    average_weight: Fraction = Field(default=0.5, description="share of `init` in that")
    clean_captions: bool = Field(default=False, description="lower case without punctuation")
    exchange: Exchange = Field(
        default="gather",
        description="how processes share their texts: all at once, or round a ring (less memory)",
    )


class RetrievalTraining(TrainableTask[TwoTowers | FrameRetriever]):
    """Trains a two-tower model, or one with a header over frames, on captioned clips.

    Raises:
        ConfigError: the model cannot be trained so.
    """

    def __init__(
        self,
        model: TwoTowers | FrameRetriever,
        preprocessing: Preprocessing,
        config: RetrievalConfig,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        _check(model, config)
        self.model = model
        self.preprocessing = preprocessing
        self.config = config
        self.captions = CaptionInput(model.tokenizer, clean=config.clean_captions)
        self.input = TrainingInput(preprocessing, augmentation)
        if isinstance(model, InternVideoMM) and model.caption_decoder is not None:
            # data-parallel training wants a gradient of the others
            model.caption_decoder.requires_grad_(False)
        if config.freeze != "nothing":
            frozen = frozen_names(model, published=config.freeze == "published")
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(parameter.requires_grad and name not in frozen)

    # --- in the data worker -------------------------------------------------------------------

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return uint8 frames "t h w c", what was drawn, the caption, and an id of the video.

        Raises:
            DataError: no caption, or one without words.
        """
        frames = self.input.prepare(from_numpy(sample.frames), rng)
        video_id = caption_ids([sample.key])[0]
        return [{**frames, **self.captions.prepare(sample), "video_id": video_id}]

    # --- in the training process --------------------------------------------------------------

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of the batch of all processes, its parts where there are several.

        Beside them the share of clips that find their caption, and of captions that are cut.
        """
        video, ids = self.input.finish(batch), batch["tokens"]
        if not self._compares_words or group_size(training_group()) == 1:
            ids = ids[:, : max(as_list(batch["host_length"]))]
        compare = self._by_pairs if self._needs_matrix else self._by_vectors
        found = compare(video, ids, self._positives(batch))
        return {**found, "cut": batch["cut"].float().mean()}

    @property
    def _compares_words(self) -> bool:
        model = self.model
        return isinstance(model, FrameRetriever) and isinstance(model.header, TokenWiseHeader)

    @property
    def _needs_matrix(self) -> bool:
        """Whether all pairs have to be looked at, and not their vectors alone."""
        by_pairs = isinstance(self.model, FrameRetriever) and not self.model.pools
        return by_pairs or self.config.loss != "contrast" or self.config.dual_softmax > 0

    def _positives(self, batch: dict[str, Tensor]) -> Int[Tensor, "n"] | None:
        # COMPAT: "pair" takes captions of one video for negatives, as all published models were
        # trained; pinned by golden `retrieval-losses`.
        kind = self.config.positives
        return None if kind == "pair" else batch[f"{kind}_id"]

    def _by_vectors(
        self, video: Tensor, ids: Tensor, positives: Int[Tensor, "n"] | None
    ) -> dict[str, Tensor]:
        clips, texts = self.model.encode_video(video), self.model.encode_text(ids)
        contrast = blockwise_contrast(
            self._owned(clips),
            self._owned(texts),
            self.model.temperature(),
            ids=positives,
            group=training_group(),
            exchange=self.config.exchange,
        )
        return {"loss": contrast.loss, "accuracy": contrast.accuracy}

    def _by_pairs(
        self, video: Tensor, ids: Tensor, positives: Int[Tensor, "n"] | None
    ) -> dict[str, Tensor]:
        model, config, group = self.model, self.config, training_group()
        parts: dict[str, Tensor] = {}
        if isinstance(model, FrameRetriever) and not model.pools:
            read, (frames, seen) = model.read(ids), model.frames(video)
            shown, seen = (gather_rows(x.byte(), group).bool() for x in (read.shown, seen))
            words, frames = (
                gather_with_gradient(self._owned(x), group) for x in (read.tokens, frames)
            )
            scores = model.score(TextTokens(words, shown), frames, seen)
            if config.decorrelation != "none" and isinstance(model.header, TokenWiseHeader):
                parts["decorrelation"] = decorrelation_loss(
                    config.decorrelation, model.header, words, shown, frames, seen
                )
        else:
            vectors = (model.encode_text(ids), model.encode_video(video))
            of_text, of_video = (gather_with_gradient(self._owned(v), group) for v in vectors)
            scores = of_text @ of_video.T
        is_logit = isinstance(model, FrameRetriever) and not model.scores_are_cosines
        logits = scores if is_logit else scores / model.temperature()
        every = positives if positives is None else gather_rows(positives, group)
        match config.loss:
            case "contrast":
                own = symmetric(cross_entropy(logits, every), cross_entropy(logits.T, every))
            case "max-margin":
                own = max_margin_loss(scores, margin=config.margin)
            case "mil-nce":
                own = mil_nce_loss(logits)
        parts[config.loss] = own
        if config.dual_softmax:
            first, second = (
                dual_softmax_loss(each, temperature=config.dual_softmax_temperature)
                for each in (logits, logits.T)
            )
            parts["dual_softmax"] = symmetric(first, second)
        loss = (
            own
            + config.dual_softmax * parts.get("dual_softmax", 0)
            + config.decorrelation_weight * parts.get("decorrelation", 0)
        )
        numbers = torch.arange(len(logits), device=logits.device) if every is None else every
        hits = numbers[logits.detach().argmax(dim=0)] == numbers
        told = parts if len(parts) > 1 else {}
        return {"loss": loss, **told, "accuracy": hits.float().mean()}

    def _owned(self, features: Float[Tensor, "n *d"]) -> Float[Tensor, "n *d"]:
        """Give features the gradient of the published code, if wanted.

        COMPAT: there, each process keeps the gradient of its own rows and DDP takes the mean, so
        the towers learn from 1/w of the gradient; Adam does not mind, clipping does. Pinned by
        golden `retrieval-gather-2ranks`.
        """
        size = group_size(training_group())
        if self.config.gradient == "own-rows" and size > 1 and features.requires_grad:
            features.register_hook(lambda gradient: gradient / size)  # pyright: ignore
        return features


def frozen_names(model: nn.Module, *, published: bool) -> frozenset[str]:
    """Return the parameters that are frozen: what the blocks get, and what the reference adds."""
    parts = _EMBEDDINGS | _PUBLISHED_TOO if published else _EMBEDDINGS
    return frozenset(
        name for name, _ in model.named_parameters() if parts.intersection(name.split("."))
    )


def build(config: RetrievalConfig, parts: Parts) -> RetrievalTraining:
    """Build the task of a recipe; its towers start from `init`."""
    parts.refuse("init_labels")
    model = parts.build_model()
    task = RetrievalTraining(model, parts.preprocessing, config, augmentation=parts.augmentation)
    if parts.init is None:
        return task
    towers = model.towers if isinstance(model, FrameRetriever) else model
    load_towers(towers, parts.init)
    if config.average_with is not None:
        average_with_start(
            towers, config.average_with, weight=config.average_weight, rule="retrieval"
        )
    if isinstance(model, FrameRetriever):
        model.header.start_from_text(towers.text_encoder)
    return task


def _check(model: TwoTowers | FrameRetriever, config: RetrievalConfig) -> None:
    """Refuse what the model cannot do."""
    header = model.header if isinstance(model, FrameRetriever) else None
    if config.decorrelation != "none" and not isinstance(header, TokenWiseHeader):
        raise ConfigError(
            f"task.decorrelation {config.decorrelation!r} matches words with frames; it needs "
            "model.header.kind: TokenWiseHeader"
        )
    tower = getattr(model, "visual", None)
    if config.freeze == "published" and not isinstance(tower, UniFormerV2):
        raise ConfigError(
            "task.freeze 'published' is that of an InternVideo-MM on a UniFormerV2; choose "
            "'embeddings'"
        )
    if config.average_weight != RetrievalConfig().average_weight and config.average_with is None:
        raise ConfigError("task.average_weight needs task.average_with, an image CLIP")
