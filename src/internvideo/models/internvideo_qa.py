"""Question answering with InternVideo-MM: a question reads the clip, a classifier answers.

    clip ──► visual ──► visual_ln_post ───────────────► "b w" ─┐
                │                                              │
    question ──► text_encoder ──► end token ──────────► "b d" ─┼─► vqa_classifier ──► "b k"
                │        └─ all tokens ──┐                     │
                └─ all tokens ──► caption_decoder, end token ──┘

The classifier sees the three side by side: decoder, clip, question (`vtc_cap` of the reference), or
without a decoder the last two (`vtc`). None of them is projected or scaled. An answer is one of k
that the training knew; which words belong to an output is not part of the weights.

Letters: b batch, c channels, (t, y, x) frames, rows and columns of the clip; w width of the video,
d width of the text, l text positions, k answers; q questions about one clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models import internvideo_mm
from internvideo.models.contract import VideoEncoder, VideoFeatures
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.tokenizer import Tokenizer

__all__ = ["SIZES", "InternVideoQA", "InternVideoQAConfig", "answer_loss"]

_UNKNOWN = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class InternVideoQAConfig:
    """Shape of an `InternVideoQA`.

    Attributes:
        towers: video tower, text tower and decoder; with `decoder_depth` 0 there is no decoder.
        num_classes: answers.
        dropout: in front of both linear layers of the classifier.
    """

    towers: InternVideoMMConfig
    num_classes: int
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {self.num_classes}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in 0 to 1")

    @property
    def fused_width(self) -> int:
        """Channels that the classifier sees."""
        texts = 2 if self.towers.decoder_depth else 1
        return texts * self.towers.text.width + self.towers.vision.width


class InternVideoQA(VideoEncoder, nn.Module):
    """The towers and the decoder of an `InternVideoMM`, and a classifier of answers on them.

    Names are those of the official files: `towers` stands for `clip.` and, with `caption_decoder`,
    for the root.

    Example:
        >>> model = InternVideoQA(SIZES["b16"]).eval()
        >>> ids = model.tokenize(["what color is the car?"])
        >>> model(torch.randn(1, 3, 8, 224, 224), ids).argmax(dim=1)
    """

    capabilities = frozenset({"features", "embed", "answers"})
    undecayed_names: ClassVar[frozenset[str]] = InternVideoMM.undecayed_names

    def __init__(self, config: InternVideoQAConfig) -> None:
        super().__init__()
        self.config = config
        self.towers = InternVideoMM(config.towers, outputs=False)
        self.towers.logit_scale.requires_grad_(False)  # nothing is compared
        width = config.fused_width
        self.vqa_classifier = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(width, 2 * width),
            nn.LayerNorm(2 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * width, config.num_classes),
        )
        self._reset_classifier()

    @torch.no_grad()
    def _reset_classifier(self) -> None:
        for module in self.vqa_classifier:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.towers.reset_parameters()
        self._reset_classifier()

    def reset_buffers(self) -> None:
        """Make the tables that are no part of the state, after building on the meta device."""
        self.towers.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of towers and decoder: the units to checkpoint, compile or shard."""
        yield from self.towers.block_modules()

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the text tower was made for."""
        return self.towers.tokenizer

    def tokenize(self, questions: Sequence[str]) -> Int[Tensor, "b l"]:
        """Return the ids of questions, whose end token is never at the last position.

        COMPAT: the reference's decoder leaves the last position out, and fails on a question that
        reaches it; a longer one is cut one token earlier here.
        """
        ids = self.tokenizer(list(questions))
        end = self.tokenizer.end_id
        full = (ids == end).int().argmax(dim=1) == ids.shape[1] - 1
        ids[full, -2] = end
        ids[full, -1] = 0
        return ids

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode clips; one frame (t = 1) is an image. See the video tower."""
        return self.towers.forward_features(video, layers=layers)

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b w"]:
        """Return a vector of unit length for each clip: what the classifier sees of it."""
        return self.towers.embed(video)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and questions of random tokens as long as the context."""
        return self.towers.example_inputs(batch)

    def fuse(
        self,
        features: VideoFeatures,
        ids: Int[Tensor, "q l"],
        *,
        rows: Int[Tensor, "q"] | None = None,
    ) -> Float[Tensor, "q f"]:
        """Return what the classifier sees: decoder, clip, question side by side; see `answer`."""
        texts, clips = self.towers.text_features(ids), self.towers.project_video(features)
        parts = [clips if rows is None else clips[rows], texts.embedding]
        if self.towers.caption_decoder is not None:
            parts.insert(0, self.towers.fuse(features, ids, text=texts, rows=rows))
        return torch.cat(parts, dim=-1)

    def forward(
        self, video: Float[Tensor, "b c t y x"], ids: Int[Tensor, "b l"]
    ) -> Float[Tensor, "b k"]:
        """Return the logits of the answers to a question about each clip.

        Args:
            video: normalised pixels.
            ids: one question a clip, from `tokenize`.
        """
        return self.answer(self.forward_features(video), ids)

    def answer(
        self,
        features: VideoFeatures,
        ids: Int[Tensor, "q l"],
        *,
        rows: Int[Tensor, "q"] | None = None,
    ) -> Float[Tensor, "q k"]:
        """Return the logits of the answers to questions about encoded clips.

        Args:
            features: of the clips, from `forward_features`; each is encoded once, however many
                questions there are about it.
            ids: the questions.
            rows: number of the clip that each question is about; None: one question a clip.
        """
        return self.vqa_classifier(self.fuse(features, ids, rows=rows))


def answer_loss(logits: Float[Tensor, "q k"], answers: Int[Tensor, "q"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the known answers; 0 where none of them is known.

    Args:
        logits: of the answers.
        answers: their numbers; -100 is an answer that is none of them. (The reference's loss is not
            a number where all of a batch are.)
    """
    total = F.cross_entropy(logits.float(), answers, ignore_index=_UNKNOWN, reduction="sum")
    return total / (answers != _UNKNOWN).sum().clamp(min=1)


SIZES: dict[str, InternVideoQAConfig] = {
    name: InternVideoQAConfig(towers=towers, num_classes=1501)
    for name, towers in internvideo_mm.SIZES.items()
}
"""The released sizes, with the 1 500 answers of MSRVTT-QA and an output that no answer has."""
