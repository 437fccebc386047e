"""Video-language pretraining: a clip and its caption meet, others part; and captions are written.

* ViCLIP (arXiv 2307.06942): contrast alone, first with most of the video tokens dropped, then on
  whole clips. Its text tower is frozen.
* InternVideo-MM (arXiv 2212.03191): contrast and captioning, with equal weights.

Every caption of the batches of all processes is compared with every clip. Captions that are equal
are no negatives of each other. Clips of one frame are still images.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from internvideo.config import Fraction, NonNegative, config_class
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list, from_numpy
from internvideo.models.contract import has
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.models.tokenizer import padding_mask
from internvideo.models.viclip import ViCLIP
from internvideo.tasks.parts import Parts
from internvideo.train.captions import CaptionInput
from internvideo.train.collectives import training_group
from internvideo.train.contrast import Exchange, blockwise_contrast
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput
from internvideo.zoo.starts import load_towers

__all__ = ["ContrastiveConfig", "ContrastivePretraining", "build", "caption_loss"]

TwoTowers: TypeAlias = ViCLIP | InternVideoMM


@config_class
class ContrastiveConfig:
    """Video-language contrast, and captioning, with a `ViCLIP` or an `InternVideoMM`."""

    kind: Literal["contrastive"] = "contrastive"
    mask_ratio: Fraction = Field(
        default=0.0, description="share of video tokens that are dropped (stage one of ViCLIP: 0.9)"
    )
    freeze_text: bool = Field(
        default=False,
        description="train the video tower alone: the text tower has no dropout and no gradient",
    )
    caption_weight: NonNegative = Field(
        default=0.0, description="of the captioning loss, for a model with a decoder; 0: none"
    )
    clean_captions: bool = Field(default=False, description="lower case without punctuation")
    exchange: Exchange = Field(
        default="gather",
        description="how processes share their texts: all at once, or round a ring (less memory)",
    )


def caption_loss(logits: Float[Tensor, "b k v"], ids: Int[Tensor, "b l"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the next token over all tokens of the batch.

    The end token is predicted too, padding is not; every token counts alike, so long captions count
    more than short ones.

    Args:
        logits: of the token that follows each position but the last, k = l - 1.
        ids: the captions, with start and end token.
    """
    following = ids[:, 1:].masked_fill(padding_mask(ids)[:, 1:], -100)
    return F.cross_entropy(logits.float().flatten(0, 1), following.flatten(), ignore_index=-100)


class ContrastivePretraining(TrainableTask[TwoTowers]):
    """Trains a `ViCLIP` or an `InternVideoMM` on captioned clips.

    Raises:
        ConfigError: the model cannot drop tokens, or has no decoder.
    """

    def __init__(
        self,
        model: TwoTowers,
        preprocessing: Preprocessing,
        config: ContrastiveConfig,
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
        if config.freeze_text:
            model.text_encoder.requires_grad_(False)
        if isinstance(model, InternVideoMM) and model.caption_decoder and not config.caption_weight:
            # data-parallel training wants a gradient of the others
            model.caption_decoder.requires_grad_(False)

    def train(self, mode: bool = True) -> ContrastivePretraining:
        """Set the training mode; a frozen text tower stays in evaluation mode."""
        super().train(mode)
        if self.config.freeze_text:
            self.model.text_encoder.eval()
        return self

    # --- in the data worker -------------------------------------------------------------------

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return uint8 frames "t h w c", what was drawn, and the caption, see `CaptionInput`.

        Equal captions have equal ids: in the loss they are positives of each other.

        Raises:
            DataError: no caption, or one without words.
        """
        frames = self.input.prepare(from_numpy(sample.frames), rng)
        return [{**frames, **self.captions.prepare(sample)}]

    # --- in the training process --------------------------------------------------------------

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of the batch of all processes and the share of clips that find a caption.

        With captions also both parts, `contrast` and `caption`; the latter is of the clips of this
        process.
        """
        video = self.input.finish(batch)
        # most captions fill a small part of the context
        ids = batch["tokens"][:, : max(as_list(batch["host_length"]))]
        captions: dict[str, Tensor] = {}
        if isinstance(self.model, InternVideoMM):
            output = self.model(video, ids, caption=self.config.caption_weight > 0)
            if output.caption_logits is not None:
                captions["caption"] = caption_loss(output.caption_logits, ids)
        else:
            output = self.model(video, ids, mask_ratio=self.config.mask_ratio)
        contrast = blockwise_contrast(
            output.video,
            output.text,
            self.model.temperature(),
            ids=batch["caption_id"],
            group=training_group(),
            exchange=self.config.exchange,
        )
        metrics = {"accuracy": contrast.accuracy, "cut": batch["cut"].float().mean()}
        if not captions:
            return {"loss": contrast.loss, **metrics}
        loss = contrast.loss + self.config.caption_weight * captions["caption"]
        return {"loss": loss, "contrast": contrast.loss, **captions, **metrics}


def build(config: ContrastiveConfig, parts: Parts) -> ContrastivePretraining:
    """Build the task of a recipe; both towers start from `init`."""
    parts.refuse("init_labels")
    model = parts.build_model()
    task = ContrastivePretraining(
        model, parts.preprocessing, config, augmentation=parts.augmentation
    )
    if parts.init is not None:
        load_towers(model, parts.init)
    return task


def _check(model: TwoTowers, config: ContrastiveConfig) -> None:
    """Refuse what the model cannot do."""
    name = type(model).__name__
    if config.mask_ratio and not isinstance(model, ViCLIP):
        raise ConfigError(
            f"task.mask_ratio {config.mask_ratio}: an {name} drops no tokens; set it to 0"
        )
    if config.mask_ratio == 1:
        raise ConfigError("task.mask_ratio 1 leaves nothing of a clip; choose less")
    if config.caption_weight and not has(model, "captions"):
        raise ConfigError(
            f"task.caption_weight {config.caption_weight}: this {name} has no caption decoder; set "
            "it to 0"
        )
