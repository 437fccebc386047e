"""Video-language contrast: a clip and its caption meet, others part (ViCLIP, arXiv 2307.06942)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from internvideo.data.samples import Sample
from internvideo.errors import DataError
from internvideo.models.contrastive import caption_ids, contrastive_loss
from internvideo.models.tokenizer import Tokenizer
from internvideo.models.viclip import ViCLIP
from internvideo.video.preprocessing import Preprocessing

__all__ = ["ContrastivePretraining"]


class ContrastivePretraining(nn.Module):
    """Trains a `ViCLIP` on captioned clips.

    Args:
        model: the two towers.
        preprocessing: frames per clip, resolution and pixel statistics.
        tokenizer: the tokenizer of the text tower.
        mask_ratio: share of video tokens dropped (stage one of ViCLIP: 0.9; stage two: 0).
    """

    def __init__(
        self,
        model: ViCLIP,
        preprocessing: Preprocessing,
        tokenizer: Tokenizer,
        *,
        mask_ratio: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.tokenizer = tokenizer
        self.mask_ratio = mask_ratio

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Return resized uint8 frames `(T, H, W, C)`, token ids `(L,)` and an id of the caption.

        Equal captions get equal ids: in the loss they are positives of each other.
        """
        if not sample.caption:
            raise DataError("a clip without a caption cannot be used for contrastive training")
        return [
            {
                "video": self.preprocessing.resize(torch.from_numpy(sample.frames)),
                "tokens": self.tokenizer(sample.caption)[0],
                "caption_id": caption_ids([sample.caption])[0],
            }
        ]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the symmetric contrastive loss and the share of clips that find their caption."""
        video = self.preprocessing.normalize(batch["video"])
        output = self.model(video, batch["tokens"], mask_ratio=self.mask_ratio)
        loss = contrastive_loss(
            output.video,
            output.text,
            self.model.temperature(),
            ids=batch["caption_id"],
        )
        with torch.no_grad():
            nearest = (output.video @ output.text.T).argmax(dim=1)
            hit = batch["caption_id"][nearest] == batch["caption_id"]
        return {"loss": loss, "accuracy": hit.float().mean()}
