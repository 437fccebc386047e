"""VSLNet: finds the part of a video that a sentence asks for, as a span of rows of features.

    features (b, t, c) ─► linear ─┐
                                  ├─► encoder ─► attention of video and query ─► highlight ─┐
    query    (b, l, w) ─► linear ─┘  (shared)                                               │ ×
                                              logits of the first and the last row ◄─ predictor

Question answering by span, on features in place of words: Zhang et al. (2020), arXiv 2004.13931;
this is the variant of Ego4D's baseline. Names are those of its files.

Where a batch holds videos or queries of several lengths, "exact" padding gives each the outputs
that it has alone.
COMPAT: in the reference, convolutions read what linear layers, positions and norms leave in the
padding, so the outputs depend on the length of the batch. Released weights were trained so;
"reference" padding keeps it. Pinned by the golden family `vslnet`.

Letters: b batch, t rows of features, c their channels, l words of a query, w their width, d width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.vslnet_layers import (
    Concatenate,
    CrossAttention,
    Encoder,
    Highlight,
    Linear,
    Predictor,
    VideoAffine,
    VSLNetConfig,
    WeightedPool,
)
from internvideo.models.vslnet_text import (
    BertText,
    BertTextConfig,
    QueryTokens,
    WordText,
    WordTextConfig,
)

_EXAMPLE_WORDS, _EXAMPLE_LETTERS = 10, 8

__all__ = ["SIZES", "SpanLogits", "VSLNet", "VSLNetConfig"]


@dataclass(frozen=True)
class SpanLogits:
    """What the model says of the rows of a batch of videos.

    Attributes:
        highlight: probability that a row is asked for.
        start: logits of the first row.
        end: logits of the last row.
    """

    highlight: Float[Tensor, "b t"]
    start: Float[Tensor, "b t"]
    end: Float[Tensor, "b t"]


class VSLNet(nn.Module):
    """Finds the rows of a video that a query asks for.

    Example:
        >>> model = VSLNet(VSLNetConfig(video_width=16, text=GivenTextConfig(width=8))).eval()
        >>> shown = torch.ones(1, 20, dtype=torch.bool)
        >>> query = QueryTokens(shown=shown[:, :1], vectors=torch.randn(1, 1, 8))
        >>> model(torch.randn(1, 20, 16), shown, *query.inputs()).start.shape
        torch.Size([1, 20])
    """

    capabilities = frozenset({"spans"})
    undecayed_names: tuple[str, ...] = ()

    def __init__(self, config: VSLNetConfig) -> None:
        super().__init__()
        self.config = config
        self.video_affine = VideoAffine(config)
        self.feature_encoder = Encoder(config)
        self.cq_attention = CrossAttention(config)
        self.cq_concat = Concatenate(config)
        self.highlight_layer = Highlight(config)
        self.predictor = Predictor(config)
        text = config.text
        self.query_affine: nn.Linear | None = None
        self.embedding_net: BertText | WordText | None = None
        if isinstance(text, WordTextConfig):
            linear = Linear(WordText.width(text), config.width)
            self.embedding_net = WordText(text, linear, config.drop_rate)
        else:
            self.query_affine = nn.Linear(text.width, config.width)
        if isinstance(text, BertTextConfig):
            self.embedding_net = BertText(text)
        self._reset_trained()

    def reset_parameters(self) -> None:
        """Draw the weights anew: Glorot's rule, but for a text encoder."""
        self._reset_trained()
        if isinstance(self.embedding_net, BertText):
            self.embedding_net.reset_parameters()

    @torch.no_grad()
    def _reset_trained(self) -> None:
        frozen = self.embedding_net if isinstance(self.embedding_net, BertText) else nn.Module()
        kept = set(frozen.modules())
        for module in self.modules():
            if module in kept:
                continue
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LSTM | nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
            elif isinstance(module, CrossAttention):
                for table in (module.w4C, module.w4Q, module.w4mlu):
                    nn.init.xavier_uniform_(table)
            elif isinstance(module, WeightedPool):
                nn.init.xavier_uniform_(module.weight)
        if isinstance(self.embedding_net, WordText):
            self.embedding_net.reset_parameters()

    def reset_buffers(self) -> None:
        """There are no tables beside the weights."""

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the encoders; the shared one runs twice, and so does that of the predictor."""
        yield self.feature_encoder
        if not self.predictor.is_recurrent:
            yield self.predictor.encoder

    def encode_video(
        self, features: Float[Tensor, "b t c"], shown: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        """Encode the rows of videos, which every query about them shares."""
        return self.feature_encoder(self.video_affine(features), shown)

    def embed_query(self, query: QueryTokens) -> Float[Tensor, "b l d"]:
        """Return the words of queries at the width of the model, before the encoder.

        Raises:
            ValueError: a model that is given its text vectors got none.
        """
        if query.vectors is None and self.embedding_net is None:
            raise ValueError("this model reads vectors of a text tower; hand them in")
        if isinstance(self.embedding_net, WordText):
            return self.embedding_net(query)
        assert self.query_affine is not None
        words = query.vectors
        if words is None and self.embedding_net is not None:
            words = self.embedding_net(query)
        return self.query_affine(words)

    def encode_query(self, query: QueryTokens) -> Float[Tensor, "b l d"]:
        """Encode the words of queries."""
        return self.feature_encoder(self.embed_query(query), query.shown)

    def locate(
        self,
        video: Float[Tensor, "b t d"],
        shown: Bool[Tensor, "b t"],
        query: Float[Tensor, "b l d"],
        words_shown: Bool[Tensor, "b l"],
    ) -> SpanLogits:
        """Find the rows that queries ask for, in videos and queries that are encoded."""
        x = self.cq_attention(video, query, shown, words_shown)
        x = self.cq_concat(x, query, words_shown)
        highlight = self.highlight_layer(x, shown)
        start, end = self.predictor(x * highlight[..., None].to(x.dtype), shown)
        return SpanLogits(highlight=highlight, start=start, end=end)

    def forward(
        self,
        features: Float[Tensor, "b t c"],
        shown: Bool[Tensor, "b t"],
        words_shown: Bool[Tensor, "b l"],
        words: Int[Tensor, "b l"] | Float[Tensor, "b l w"],
        letters: Int[Tensor, "b l k"] | None = None,
    ) -> SpanLogits:
        """Find the rows that a query asks for in each of some videos.

        Args:
            features: at most `max_length` rows.
            shown: False where a row is padding.
            words_shown: False where a word is padding.
            words: ids, or vectors of a frozen text encoder.
            letters: of each word, for a model that reads them.
        """
        is_given = words.is_floating_point()
        query = QueryTokens(
            shown=words_shown,
            ids=None if is_given else words,
            letters=letters,
            vectors=words if is_given else None,
        )
        video = self.encode_video(features, shown)
        return self.locate(video, shown, self.encode_query(query), words_shown)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        """Return random arguments of `forward`: full videos, and queries of ten words."""
        text, config = self.config.text, self.config
        rows, length = config.max_length, min(_EXAMPLE_WORDS, config.max_length)
        features = torch.randn(batch, rows, config.video_width)
        shown = torch.ones(batch, rows, dtype=torch.bool)
        words_shown = torch.ones(batch, length, dtype=torch.bool)
        if isinstance(text, WordTextConfig):
            ids = torch.randint(1, text.num_words, (batch, length))
            letters = torch.randint(1, text.num_letters, (batch, length, _EXAMPLE_LETTERS))
            return features, shown, words_shown, ids, letters
        if isinstance(text, BertTextConfig):
            ids = torch.randint(1, text.bert.vocab_size, (batch, length))
            return features, shown, words_shown, ids
        return features, shown, words_shown, torch.randn(batch, length, text.width)


SIZES: dict[str, VSLNetConfig] = {
    "ego4d-bert": VSLNetConfig(
        video_width=2304, text=BertTextConfig(), padding="reference", times="whole-rows"
    ),
}
"""The baseline of Ego4D's language queries, on features of SlowFast; `video_width` tells others."""
