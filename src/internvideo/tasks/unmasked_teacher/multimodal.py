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
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.data.samples import Sample
from internvideo.errors import ConfigError, DataError
from internvideo.models.clip_teacher import CLIPTeacher, Observation
from internvideo.models.collectives import training_group
from internvideo.models.contrastive import caption_ids
from internvideo.models.contrastive_blocks import blockwise_contrast
from internvideo.models.features import VideoFeatures
from internvideo.models.tokenizer import clean_caption
from internvideo.models.umt_multimodal import TextTokens, UMTMultimodal
from internvideo.models.unmasked_teacher import alignment_loss
from internvideo.tasks.unmasked_teacher.losses import (
    IGNORED,
    Negatives,
    draw_negatives,
    hide_words,
    matching_labels,
    word_loss,
)
from internvideo.tasks.unmasked_teacher.teaching import Teaching, of_task
from internvideo.video.augment import Augmentation
from internvideo.video.masks import (
    PlaceRule,
    draw_visible_places,
    flat_places,
    num_visible_places,
)
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput

__all__ = ["LOSSES", "UMTMultimodalPretraining"]

LOSSES: tuple[str, ...] = ("uta", "vtc", "vtm", "mlm")
"""Alignment with the teacher, contrast, matching, hidden words."""


class UMTMultimodalPretraining(nn.Module):
    """Trains a `UMTMultimodal` on captioned clips and images (clips of one frame).

    The teacher is the one that the model holds, or else a given one that is no part of the module:
    it has nothing to train, and neither checkpoints nor saved models need it.

    Args:
        model: the two towers and their fusion.
        preprocessing: frames per clip, resolution and pixel statistics, for student and teacher.
        teacher: for a model without one of its own; None makes a task that can hold weights.
        augmentation: how a training clip is cropped; None resizes as `preprocessing` says.
        mask: how the visible places are drawn, see `draw_visible_places`.
        video_mask_ratio: share of the places of a frame that is hidden from the student.
        image_mask_ratio: the same for clips of one frame.
        word_ratio: share of the words that is hidden.
        weights: factors of the four `LOSSES`, by default all 1; one with 0 is left out.
        teacher_interval: distance of the teacher's layers that are aligned, counted from its last.

    Raises:
        ConfigError: weights of other names, teacher and student that do not fit together, or masks
            that hide all.
    """

    def __init__(
        self,
        model: UMTMultimodal,
        preprocessing: Preprocessing,
        *,
        teacher: CLIPTeacher | None = None,
        augmentation: Augmentation | None = None,
        mask: PlaceRule = "attention",
        video_mask_ratio: float = 0.8,
        image_mask_ratio: float = 0.5,
        word_ratio: float = 0.5,
        weights: Mapping[str, float] | None = None,
        teacher_interval: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.input = TrainingInput(preprocessing, augmentation)
        self.mask: PlaceRule = mask
        self.video_mask_ratio = video_mask_ratio
        self.image_mask_ratio = image_mask_ratio
        self.word_ratio = word_ratio
        self.weights: dict[str, float] = dict(weights or dict.fromkeys(LOSSES, 1.0))
        _check_weights(self.weights, model)
        for name, ratio in (("video", video_mask_ratio), ("image", image_mask_ratio)):
            if not 0 <= ratio < 1:
                raise ConfigError(f"task.{name}_mask_ratio is {ratio:g}; expected 0 up to below 1")
        if not 0 < word_ratio <= 1:
            raise ConfigError(f"task.word_ratio is {word_ratio:g}; expected above 0, at most 1")
        teacher = teacher or model.clip_teacher
        self._teaching = (
            None
            if teacher is None
            else Teaching(
                teacher,
                target_width=model.config.vision.target_width,
                num_targets=model.config.vision.num_targets,
                interval=teacher_interval,
                key="model.vision",
            )
        )

    @property
    def teacher(self) -> CLIPTeacher:
        """The frozen teacher.

        Raises:
            ConfigError: neither the model nor the task has one.
        """
        return of_task(self._teaching).teacher

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Return frames "t h w c", token ids, the same with hidden words, and an id of the caption.

        Raises:
            DataError: the clip has no caption.
        """
        if not sample.caption:
            raise DataError("a clip without a caption cannot be used for training with text")
        caption = clean_caption(sample.caption)
        row: dict[str, Any] = self.input.prepare(torch.from_numpy(sample.frames), rng)
        row["tokens"] = self.model.tokenizer(caption)[0]
        row["caption_id"] = caption_ids([caption])[0]
        if self.weights["mlm"]:
            hidden = hide_words(
                row["tokens"], self.model.tokenizer, probability=self.word_ratio, rng=rng
            )
            row |= {"hidden_tokens": hidden.tokens, "hidden_words": hidden.words}
        return [row]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted sum of the losses, each of them, and the accuracy of the contrast."""
        video = self.input.finish(batch)
        ratio = self.image_mask_ratio if video.shape[2] == 1 else self.video_mask_ratio
        if not ratio and not self.weights["uta"]:
            return self.losses(video, batch)
        seen = self.observe(video)
        num_visible = num_visible_places(seen.attention.shape[2], ratio)
        places = draw_visible_places(seen.attention, num_visible, rule=self.mask)
        return self.losses(video, batch, seen, places)

    def observe(self, video: Float[Tensor, "b c t y x"]) -> Observation:
        """Let the teacher look at normalised clips, see `Teaching.observe`."""
        patch_size = self.model.config.encoder.patch_size
        return of_task(self._teaching).observe(video, patch_size=patch_size)

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
        model, weights, parts = self.model, self.weights, {}
        visible = None
        if seen is not None and places is not None:
            visible = flat_places(places, seen.attention.shape[2])
        features = model.vision_encoder(video, visible=visible, align=bool(weights["uta"]))
        if weights["uta"]:
            if seen is None or places is None or visible is None:
                raise ConfigError("task.weights.uta needs what the teacher saw, and the places")
            answers = model.vision_encoder.answers(features, visible)
            parts["uta"] = alignment_loss(answers, self.teacher.targets(seen, places))
        text, ids = model.read(batch["tokens"]), batch["caption_id"]
        of_video = model.project_video(model.vision_encoder.pool(features)).mean(dim=1)
        of_text = F.normalize(model.project_text(text).float(), dim=-1)
        temperature = model.temperature()
        contrast = blockwise_contrast(
            of_video, of_text, temperature, ids=ids, group=training_group()
        )
        if weights["vtc"]:
            parts["vtc"] = contrast.loss
        if weights["vtm"]:
            if negatives is None:
                similarity = of_video.detach() @ of_text.detach().T / temperature.detach()
                negatives = draw_negatives(similarity, ids)
            parts["vtm"] = self._matching_loss(features, text, ids, negatives)
        if weights["mlm"]:
            hidden = model.read(batch["hidden_tokens"])
            fused = model.text_encoder.fuse(hidden.tokens, hidden.shown, features.tokens)
            words = batch["hidden_words"]
            parts["mlm"] = word_loss(model.text_encoder.predict_words(fused), words)
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return {"loss": total, **parts, "accuracy": contrast.accuracy}

    def _matching_loss(
        self,
        features: VideoFeatures,
        text: TextTokens,
        ids: Int[Tensor, "b"],
        negatives: Negatives,
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


def _check_weights(weights: Mapping[str, float], model: UMTMultimodal) -> None:
    if weights.keys() != set(LOSSES) or min(weights.values()) < 0 or not any(weights.values()):
        raise ConfigError(
            f"task.weights are {dict(weights)}; expected numbers from 0 on, not all 0, for "
            f"{', '.join(LOSSES)}"
        )
    if weights["uta"] and model.vision_encoder.clip_decoder is None:
        raise ConfigError("task.weights.uta needs model.alignment: true, or must be 0")
    if weights["mlm"] and model.text_encoder.cls is None:
        raise ConfigError("task.weights.mlm needs model.text.masked_lm: true, or must be 0")
