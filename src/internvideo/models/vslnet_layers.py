"""The layers of VSLNet: names, and what is odd about them, are those of Ego4D's baseline.

Letters: b batch, t rows of features, c their channels, l words of a query, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from internvideo.config import ByKind
from internvideo.models.feature_origin import FeatureOrigin
from internvideo.models.layers import attention, checkpointable
from internvideo.models.vslnet_text import BertTextConfig, GivenTextConfig, WordTextConfig

__all__ = [
    "Concatenate",
    "CrossAttention",
    "Encoder",
    "Highlight",
    "Linear",
    "Predictor",
    "VSLNetConfig",
    "VideoAffine",
    "WeightedPool",
]

_KERNEL = 7
_NUM_CONVS = 4
_NORM_EPS = 1e-6
_MASKED = -1e30  # added to the logit of padding


@dataclass(frozen=True, kw_only=True, slots=True)
class VSLNetConfig:
    """Shape of a `VSLNet`.

    Attributes:
        video_width: channels of the features.
        text: how queries are read.
        width: of the tokens.
        num_heads: attention heads; they divide `width`.
        max_length: the most rows of a video, and the most words of a query.
        predictor: "transformer", or "rnn", the LSTMs of the first paper.
        drop_rate: dropout everywhere.
        padding: see `models.vslnet`.
        wording: "question" reads a query in lower case with a question mark, "sentence" as it is,
            in lower case.
        times: "whole-rows" counts the length of a video and the times of queries in whole rows of
            its features, cut off, as the baseline of Ego4D does; "exact" takes them as they are.
        origin: of the features; None where unknown.
    """

    video_width: int
    text: Annotated[BertTextConfig | WordTextConfig | GivenTextConfig, ByKind()]
    width: int = 128
    num_heads: int = 8
    max_length: int = 128
    predictor: Literal["transformer", "rnn"] = "transformer"
    drop_rate: float = 0.2
    padding: Literal["exact", "reference"] = "exact"
    wording: Literal["question", "sentence"] = "question"
    times: Literal["exact", "whole-rows"] = "exact"
    origin: FeatureOrigin | None = None

    def __post_init__(self) -> None:
        for name in ("video_width", "width", "num_heads", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")


class Linear(nn.Module):
    """A linear layer under the name of a convolution with one tap."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1d = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t d"]:
        """Project every row."""
        return F.linear(x, self.conv1d.weight[..., 0], self.conv1d.bias)


def _masked(logits: Float[Tensor, "*b"], shown: Bool[Tensor, "*#b"]) -> Float[Tensor, "*b"]:
    return logits.float() + torch.where(shown, 0.0, _MASKED)


class VideoAffine(nn.Module):
    """Features to the width of the model."""

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        self.drop = nn.Dropout(config.drop_rate)
        self.linear = Linear(config.video_width, config.width)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t d"]:
        """Project every row, dropping some of its channels while training."""
        return self.linear(self.drop(x))


class _Positions(nn.Module):
    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        self.position_embeddings = nn.Embedding(config.max_length, config.width)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        table = self.position_embeddings.weight
        if x.shape[1] > len(table):
            raise ValueError(
                f"{x.shape[1]} rows or words do not fit into {len(table)} positions; reduce them"
            )
        return x + table[: x.shape[1]]


class _ConvBlock(nn.Module):
    """Depth-wise separable convolutions, each behind a norm and beside a residual."""

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        width = config.width
        self.exact = config.padding == "exact"
        self.depthwise_separable_conv = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, _KERNEL, padding="same", groups=width, bias=False),
                nn.Conv1d(width, width, 1),
                nn.ReLU(),
            )
            for _ in range(_NUM_CONVS)
        )
        self.layer_norms = nn.ModuleList(
            nn.LayerNorm(width, eps=_NORM_EPS) for _ in range(_NUM_CONVS)
        )
        self.dropout = nn.Dropout(config.drop_rate)

    def forward(
        self, x: Float[Tensor, "b t d"], shown: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        for norm, convolve in zip(self.layer_norms, self.depthwise_separable_conv, strict=True):
            y = norm(x)
            if self.exact:
                y = y * shown[..., None]
            y = rearrange(convolve(rearrange(y, "b t d -> b d t")), "b d t -> b t d")
            x = self.dropout(y) + x
        return x


class _AttentionBlock(nn.Module):
    """Self-attention and a linear layer.

    COMPAT: the heads are added to the input without a projection of their own.
    """

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        width = config.width
        self.num_heads = config.num_heads
        self.dropout = nn.Dropout(config.drop_rate)
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.layer_norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.layer_norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.out_layer = Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b t d"], shown: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        y = self.dropout(self.layer_norm1(x))
        q, k, v = (
            rearrange(part(y), "b t (h e) -> b h t e", h=self.num_heads)
            for part in (self.query, self.key, self.value)
        )
        lowest = max(_MASKED, torch.finfo(q.dtype).min)
        mask = torch.where(shown, 0.0, lowest).to(q.dtype)[:, None, None]
        drop_rate = self.dropout.p if self.training else 0.0
        mixed = attention(q, k, v, mask=mask, dropout=drop_rate)
        x = self.dropout(rearrange(mixed, "b h t e -> b t (h e)")) + x
        return self.dropout(self.out_layer(self.dropout(self.layer_norm2(x)))) + x


class Encoder(nn.Module):
    """Positions, convolutions, attention."""

    activation_checkpointing = False

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        self.pos_embedding = _Positions(config)
        self.conv_block = _ConvBlock(config)
        self.attention_block = _AttentionBlock(config)

    @checkpointable
    def forward(
        self, x: Float[Tensor, "b t d"], shown: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        """Let every row see its neighbours, then all rows."""
        return self.attention_block(self.conv_block(self.pos_embedding(x), shown), shown)


class CrossAttention(nn.Module):
    """Attention of the rows to the words, and of the words to the rows (BiDAF, QANet)."""

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        width = config.width
        self.w4C = nn.Parameter(torch.empty(width, 1))
        self.w4Q = nn.Parameter(torch.empty(width, 1))
        self.w4mlu = nn.Parameter(torch.empty(1, 1, width))
        self.dropout = nn.Dropout(config.drop_rate)
        self.cqa_linear = Linear(4 * width, width)

    def forward(
        self,
        video: Float[Tensor, "b t d"],
        query: Float[Tensor, "b l d"],
        rows_shown: Bool[Tensor, "b t"],
        words_shown: Bool[Tensor, "b l"],
    ) -> Float[Tensor, "b t d"]:
        """Return what each row is, beside what it has of the query."""
        c, q = self.dropout(video), self.dropout(query)
        scores = c @ self.w4C + (q @ self.w4Q).mT + (c * self.w4mlu) @ q.mT
        of_words = _masked(scores, words_shown[:, None]).softmax(dim=2).to(query.dtype)
        of_rows = _masked(scores, rows_shown[..., None]).softmax(dim=1).to(query.dtype)
        to_query = of_words @ query
        to_video = of_words @ (of_rows.mT @ video)
        return self.cqa_linear(
            torch.cat([video, to_query, video * to_query, video * to_video], dim=2)
        )


class WeightedPool(nn.Module):
    """The mean of the words, by learnt weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 1))

    def forward(
        self, x: Float[Tensor, "b l d"], shown: Bool[Tensor, "b l"]
    ) -> Float[Tensor, "b 1 d"]:
        """Return a vector for each query."""
        weights = _masked((x @ self.weight)[..., 0], shown).softmax(dim=1).to(x.dtype)
        return weights[:, None] @ x


class Concatenate(nn.Module):
    """Gives every row the whole query, as one vector."""

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        self.weighted_pool = WeightedPool(config.width)
        self.conv1d = Linear(2 * config.width, config.width)

    def forward(
        self,
        video: Float[Tensor, "b t d"],
        query: Float[Tensor, "b l d"],
        words_shown: Bool[Tensor, "b l"],
    ) -> Float[Tensor, "b t d"]:
        """Return the rows, each with the query in it."""
        pooled = self.weighted_pool(query, words_shown).expand(-1, video.shape[1], -1)
        return self.conv1d(torch.cat([video, pooled], dim=2))


class Highlight(nn.Module):
    """Which rows are asked for, one by one."""

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        self.conv1d = Linear(config.width, 1)

    def forward(
        self, x: Float[Tensor, "b t d"], shown: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t"]:
        """Return the probability of each row; that of padding is 0."""
        return _masked(self.conv1d(x)[..., 0], shown).sigmoid()


class _Recurrent(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(
        self, x: Float[Tensor, "b t d"], shown: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        return self.lstm(x)[0] * shown[..., None]


class Predictor(nn.Module):
    """The last row follows from the features that the first one was found in."""

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        width = config.width
        self.is_recurrent = config.predictor == "rnn"
        if self.is_recurrent:
            self.start_encoder = _Recurrent(width)
            self.end_encoder = _Recurrent(width)
        else:
            self.encoder = Encoder(config)
            self.start_layer_norm = nn.LayerNorm(width, eps=_NORM_EPS)
            self.end_layer_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.start_block, self.end_block = (
            nn.Sequential(Linear(2 * width, width), nn.ReLU(), Linear(width, 1)) for _ in range(2)
        )

    def forward(
        self, x: Float[Tensor, "b t d"], shown: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b t"], Float[Tensor, "b t"]]:
        """Return the logits of the first and of the last row."""
        if self.is_recurrent:
            start = self.start_encoder(x, shown)
            end = self.end_encoder(start, shown)
        else:
            start = self.encoder(x, shown)
            end = self.end_layer_norm(self.encoder(start, shown))
            start = self.start_layer_norm(start)
        first = self.start_block(torch.cat([start, x], dim=2))[..., 0]
        last = self.end_block(torch.cat([end, x], dim=2))[..., 0]
        return _masked(first, shown), _masked(last, shown)
