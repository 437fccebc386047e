"""Unmasked Teacher, second stage: align with CLIP, contrast, match, and find hidden words.

    clip ──► teacher ──► visible places, targets ───────────► uta: agree with the teacher
      └────► student at these places ──┬──► pooled ─────────► vtc: clip and caption meet
                                       └──► fusion tower ──┬► vtm: do they belong together?
    caption ──► lower BERT layers ────────────┘            └► mlm: which words are hidden?

Li et al., 2023, arXiv 2303.16058. The same task fine-tunes for retrieval: without `uta`, `mlm` and
masks no teacher is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from internvideo.config import NonNegative, Positive, config_class
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import from_numpy
from internvideo.models.clip_teacher import CLIPTeacher, Observation
from internvideo.models.contract import TextTokens, VideoFeatures
from internvideo.models.tokenizer import clean_caption
from internvideo.models.umt_multimodal import UMTMultimodal
from internvideo.models.unmasked_teacher import alignment_loss
from internvideo.models.wordpiece import SPECIAL_TOKENS, read_vocabulary
from internvideo.tasks.parts import Parts
from internvideo.tasks.unmasked_teacher.losses import (
    IGNORED,
    Negatives,
    draw_negatives,
    hide_words,
    matching_labels,
    word_loss,
)
from internvideo.tasks.unmasked_teacher.teaching import Teaching
from internvideo.train.collectives import training_group
from internvideo.train.contrast import blockwise_contrast, caption_ids
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.masks import PlaceRule, draw_visible_places, flat_places, num_visible_places
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput
from internvideo.world import vocabulary as world_words
from internvideo.zoo import load_clip_teacher
from internvideo.zoo.starts import load_multimodal_start, load_text_start

__all__ = ["LossWeights", "UMTMultimodalPretraining", "UMTMultimodalPretrainingConfig", "build"]


@config_class
class LossWeights:
    """Factors of the losses; 0: left out."""

    uta: NonNegative = Field(default=1.0, description="agreement with the teacher")
    vtc: NonNegative = Field(default=1.0, description="contrast of clips and captions")
    vtm: NonNegative = Field(default=1.0, description="whether a clip and a caption match")
    mlm: NonNegative = Field(default=1.0, description="hidden words")

    def __post_init__(self) -> None:
        if not any((self.uta, self.vtc, self.vtm, self.mlm)):
            raise ValueError("task.weights are all 0; expected a number above 0 for one of them")


@config_class
class UMTMultimodalPretrainingConfig:
    """Second stage of the unmasked teacher, and its fine-tuning, with a `UMTMultimodal`."""

    kind: Literal["umt-multimodal"] = "umt-multimodal"
    teacher: str | None = Field(
        default=None, description="an image CLIP: a model name, a file or a directory"
    )
    teacher_interval: Positive = Field(
        default=1.0, description="distance of the aligned layers, counted from the teacher's last"
    )
    bert: str | None = Field(
        default=None, description="a plain BERT from which the text tower starts: file or directory"
    )
    mask: PlaceRule = Field(
        default="attention",
        description="how the visible places are drawn; with tube a caption is compared with each "
        "frame, else with the mean of all visible places",
    )
    video_mask_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.8, description="share of the places of a frame that is hidden from the student"
    )
    image_mask_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.5, description="the same for clips of one frame"
    )
    word_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="share of the words that is hidden"
    )
    weights: LossWeights = Field(default_factory=LossWeights)


class UMTMultimodalPretraining(TrainableTask[UMTMultimodal]):
    """Trains a `UMTMultimodal` on captioned clips and images (clips of one frame).

    `teaching` holds the given teacher, outside of the module, or else that of the model.

    Raises:
        ConfigError: losses that the model has no head for, or teacher and student that do not fit
            together.
    """

    def __init__(
        self,
        model: UMTMultimodal,
        preprocessing: Preprocessing,
        config: UMTMultimodalPretrainingConfig,
        *,
        teacher: CLIPTeacher | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        if config.weights.uta and model.vision_encoder.clip_decoder is None:
            raise ConfigError("task.weights.uta needs model.alignment: true, or must be 0")
        if config.weights.mlm and model.text_encoder.cls is None:
            raise ConfigError("task.weights.mlm needs model.text.masked_lm: true, or must be 0")
        self.model = model
        self.preprocessing = preprocessing
        self.config = config
        self.input = TrainingInput(preprocessing, augmentation)
        self.teaching = Teaching(
            teacher or model.clip_teacher,
            model.config.vision,
            interval=config.teacher_interval,
            key="model.vision",
        )

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return frames "t h w c", token ids, the same with hidden words, and an id of the caption.

        Raises:
            DataError: the clip has no caption.
        """
        if not sample.caption:
            raise DataError("a clip without a caption cannot be used for training with text")
        caption = clean_caption(sample.caption)
        row = self.input.prepare(from_numpy(sample.frames), rng)
        row["tokens"] = self.model.tokenizer(caption)[0]
        row["caption_id"] = caption_ids([caption])[0]
        if self.config.weights.mlm:
            hidden = hide_words(
                row["tokens"], self.model.tokenizer, probability=self.config.word_ratio, rng=rng
            )
            row |= {"hidden_tokens": hidden.tokens, "hidden_words": hidden.words}
        return [row]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted sum of the losses, each of them, and the accuracy of the contrast."""
        video = self.input.finish(batch)
        config = self.config
        ratio = config.image_mask_ratio if video.shape[2] == 1 else config.video_mask_ratio
        if not ratio and not config.weights.uta:
            return self.losses(video, batch)
        seen = self.teaching.observe(video)
        num_visible = num_visible_places(seen.attention.shape[2], ratio)
        places = draw_visible_places(seen.attention, num_visible, rule=config.mask)
        return self.losses(video, batch, seen, places)

    def losses(
        self,
        video: Float[Tensor, "b c t y x"],
        batch: Mapping[str, Tensor],
        seen: Observation | None = None,
        places: Int[Tensor, "b t v"] | None = None,
        *,
        negatives: Negatives | None = None,
    ) -> dict[str, Tensor]:
        """Return what `training_loss` does, for places and negatives already drawn.

        Args:
            video: normalised pixels.
            batch: "tokens", "caption_id", and for hidden words "hidden_tokens", "hidden_words".
            seen: what the teacher saw; None shows the student everything and aligns nothing.
            places: which places of each frame stay visible.
            negatives: partners for the matching; None draws them.
        """
        model, weights = self.model, self.config.weights
        parts: dict[str, Tensor] = {}
        visible = None
        if seen is not None and places is not None:
            visible = flat_places(places, seen.attention.shape[2])
        features = model.vision_encoder(video, visible=visible, align=bool(weights.uta))
        if weights.uta:
            if seen is None or places is None or visible is None:
                raise ConfigError("task.weights.uta needs what the teacher saw, and the places")
            answers = model.vision_encoder.answers(features, visible)
            parts["uta"] = alignment_loss(answers, self.teaching.teacher.targets(seen, places))
        text, ids = model.read(batch["tokens"]), batch["caption_id"]
        # Under a tube mask the published code keeps a vector of each frame, else one of the clip.
        pooled = model.vision_encoder.pool(features, by_frame=self.config.mask == "tube")
        of_video = model.project_video(pooled).mean(dim=1)
        of_text = F.normalize(model.project_text(text).float(), dim=-1)
        temperature = model.temperature()
        contrast = blockwise_contrast(
            of_video, of_text, temperature, ids=ids, group=training_group()
        )
        if weights.vtc:
            parts["vtc"] = contrast.loss
        if weights.vtm:
            if negatives is None:
                similarity = of_video.detach() @ of_text.detach().T / temperature.detach()
                negatives = draw_negatives(similarity, ids)
            parts["vtm"] = self._matching_loss(features, text, ids, negatives)
        if weights.mlm:
            hidden = model.read(batch["hidden_tokens"])
            fused = model.text_encoder.fuse(hidden.tokens, hidden.shown, features.tokens)
            words = batch["hidden_words"]
            parts["mlm"] = word_loss(model.text_encoder.predict_words(fused), words)
        total = torch.stack([getattr(weights, name) * part for name, part in parts.items()]).sum()
        return {"loss": total, **parts, "accuracy": contrast.accuracy}

    def _matching_loss(
        self, features: VideoFeatures, text: TextTokens, ids: Int[Tensor, "b"], negatives: Negatives
    ) -> Float[Tensor, ""]:
        video = features.tokens
        videos = torch.cat([video, video[negatives.video], video])
        other = text.take(negatives.text)
        texts = TextTokens(
            tokens=torch.cat([text.tokens, text.tokens, other.tokens]),
            shown=torch.cat([text.shown, text.shown, other.shown]),
        )
        logits = self.model.match_logits(videos, texts).float()
        return F.cross_entropy(logits, matching_labels(ids, negatives), ignore_index=IGNORED)


def build(config: UMTMultimodalPretrainingConfig, parts: Parts) -> UMTMultimodalPretraining:
    """Build the task of a recipe; the towers start from `init`, the text tower from `bert`."""
    parts.refuse("init_labels")
    fields: dict[str, Any] = {}
    if isinstance(vocabulary := parts.model.get("vocabulary"), str):
        is_world = vocabulary == "world"
        pieces = SPECIAL_TOKENS + world_words() if is_world else read_vocabulary(vocabulary)
        text = {**parts.model.get("text", {}), "vocab_size": len(pieces)}
        fields = {"vocabulary": list(pieces), "text": text}
    model = parts.build_model(fields)
    if parts.with_weights and config.bert is not None:
        load_text_start(model, config.bert)
    if parts.init is not None:
        load_multimodal_start(model, parts.init)
    teacher = None
    if parts.with_weights and config.teacher is not None:
        teacher = load_clip_teacher(config.teacher)
    return UMTMultimodalPretraining(
        model, parts.preprocessing, config, teacher=teacher, augmentation=parts.augmentation
    )
