"""Headers: from the frames of a video, one by one, to how well a text fits it.

    header           rule             what becomes of the frames
    ───────────────  ───────────────  ──────────────────────────────────────────────────────────────
    FramePooling     mean             their mean
                     seq-lstm         mean of (frames + LSTM(frames))
                     seq-transformer  mean of (frames + transformer(frames + positions))
    TightHeader                       transformer over text and frames, one number for each pair
    TokenWiseHeader                   each word finds its nearest frame, each frame its nearest word

The first makes a vector of a video, which is compared with the vector of any text; the others look
at each pair. They are those of CLIP4Clip (arXiv 2104.08860) and DRL (arXiv
2203.07111) as the reference has them.

Letters: a texts, v videos, p pairs, t frames, l words, e joint dimension. `seen` marks the frames
that are of a video, `said` the words that are of a text; what is behind their ends is padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.clip_layers import CLIPTransformer, quick_gelu
from internvideo.models.clip_text import CLIPTextEncoder

__all__ = [
    "FramePooling",
    "FramePoolingConfig",
    "Header",
    "HeaderConfig",
    "TightHeader",
    "TightHeaderConfig",
    "TokenScores",
    "TokenWiseHeader",
    "TokenWiseHeaderConfig",
    "build_header",
    "masked_mean",
]

_HEAD_WIDTH = 64
_NORM_EPS = 1e-12
_INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class FramePoolingConfig:
    """Frames become one vector: their mean, after a residual LSTM or transformer if wanted.

    Attributes:
        rule: see the table above.
        depth: layers of the transformer.
        max_frames: positions of the transformer.
    """

    rule: Literal["mean", "seq-lstm", "seq-transformer"] = "mean"
    depth: int = 4
    max_frames: int = 77

    def __post_init__(self) -> None:
        _at_least_one(self, "depth", "max_frames")


@dataclass(frozen=True, kw_only=True, slots=True)
class TightHeaderConfig:
    """A transformer reads a text vector and the frames of a video together, pair by pair.

    Attributes:
        depth: its layers.
        num_heads: its attention heads; None: one for 64 channels.
        max_tokens: its positions: the text and the frames.
        drop_rate: dropout of its input.
        texts_at_once: texts that are paired with all videos at a time.
    """

    depth: int = 4
    num_heads: int | None = None
    max_tokens: int = 77
    drop_rate: float = 0.1
    texts_at_once: int = 32

    def __post_init__(self) -> None:
        _at_least_one(self, "depth", "max_tokens", "texts_at_once")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenWiseHeaderConfig:
    """Words and frames look for their nearest of the other side ("wti", "ti").

    Attributes:
        weight_layers: layers of the learnt weights of words and frames; 0: all weigh alike.
        words: words as they are projected into the joint space, or hidden: as they leave the text
            tower, whose width must be that of the joint space (the reference on InternVideo-MM).
        padding: excluded from being nearest, or taken as a cosine of zero (the reference).
    """

    weight_layers: Literal[0, 1, 2, 3] = 2
    words: Literal["projected", "hidden"] = "projected"
    padding: Literal["excluded", "zero"] = "excluded"


HeaderConfig: TypeAlias = FramePoolingConfig | TightHeaderConfig | TokenWiseHeaderConfig


def _at_least_one(config: FramePoolingConfig | TightHeaderConfig, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, it is {getattr(config, name)}")


def masked_mean(x: Float[Tensor, "v t e"], seen: Bool[Tensor, "v t"]) -> Float[Tensor, "v e"]:
    """Return the mean over the frames that are seen."""
    weights = seen.to(x.dtype)[..., None]
    return (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class FramePooling(nn.Module):
    """From frames to one vector a video; see `FramePoolingConfig`."""

    def __init__(self, config: FramePoolingConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.lstm: nn.LSTM | None = None
        self.frame_positions: nn.Parameter | None = None
        self.transformer: CLIPTransformer | None = None
        if config.rule == "seq-lstm":
            self.lstm = nn.LSTM(embed_dim, embed_dim, batch_first=True)
        if config.rule == "seq-transformer":
            self.frame_positions = nn.Parameter(torch.empty(config.max_frames, embed_dim))
            self.transformer = _transformer(embed_dim, config.depth)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        if self.lstm is not None:
            self.lstm.reset_parameters()
        if self.transformer is not None:
            self.transformer.reset_parameters()
        if self.frame_positions is not None:
            nn.init.normal_(self.frame_positions, std=_INIT_STD)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of the transformer, if there is one."""
        if self.transformer is not None:
            yield from self.transformer.block_modules()

    def start_from_text(self, text: CLIPTextEncoder) -> bool:
        """Start transformer and positions as the first ones of a text tower, where they fit.

        So does CLIP4Clip. Returns whether it was done.
        """
        if self.transformer is None or self.frame_positions is None:
            return False
        return _copy_tower(text, self.transformer, self.frame_positions)

    def forward(
        self, frames: Float[Tensor, "v t e"], seen: Bool[Tensor, "v t"]
    ) -> Float[Tensor, "v e"]:
        """Return one vector a video, not normalised.

        What is behind the end is never in the mean, and an LSTM that goes forward has not seen it
        before the end; so there is no need to pack sequences.
        """
        x = frames
        if self.lstm is not None:
            x = frames + self.lstm(frames)[0]
        if self.transformer is not None and self.frame_positions is not None:
            positions = _first(self.frame_positions, frames.shape[1], "max_frames", "frames")
            x = frames + self.transformer(frames + positions, seen=seen)
        return masked_mean(x, seen)


class TightHeader(nn.Module):
    """One number for each pair of a text vector and the frames of a video: a logit as it is."""

    def __init__(self, config: TightHeaderConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.positions = nn.Parameter(torch.empty(config.max_tokens, embed_dim))
        self.drop = nn.Dropout(config.drop_rate)
        self.transformer = _transformer(embed_dim, config.depth, config.num_heads)
        self.norm = nn.LayerNorm(embed_dim, _NORM_EPS)
        self.dense = nn.Linear(embed_dim, embed_dim)
        self.score = nn.Linear(embed_dim, 1)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        nn.init.normal_(self.positions, std=_INIT_STD)
        self.transformer.reset_parameters()
        self.norm.reset_parameters()
        for linear in (self.dense, self.score):
            nn.init.normal_(linear.weight, std=_INIT_STD)
            nn.init.zeros_(linear.bias)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of the transformer."""
        yield from self.transformer.block_modules()

    def start_from_text(self, text: CLIPTextEncoder) -> bool:
        """Start transformer and positions as the first ones of a text tower, where they fit."""
        return _copy_tower(text, self.transformer, self.positions)

    def forward(
        self,
        texts: Float[Tensor, "p e"],
        frames: Float[Tensor, "p t e"],
        seen: Bool[Tensor, "p t"],
    ) -> Float[Tensor, "p"]:
        """Return the logit of each text with the frames of its row."""
        positions = _first(self.positions, 1 + frames.shape[1], "max_tokens", "a text and frames")
        pairs = torch.cat([texts[:, None], frames], dim=1) + positions
        seen = torch.cat([torch.ones_like(seen[:, :1]), seen], dim=1)
        x = self.transformer(self.drop(pairs), seen=seen)
        return self.score(quick_gelu(self.dense(self.norm(x[:, 0]))))[:, 0]

    def every(
        self,
        texts: Float[Tensor, "a e"],
        frames: Float[Tensor, "v t e"],
        seen: Bool[Tensor, "v t"],
    ) -> Float[Tensor, "a v"]:
        """Return the logit of every text with every video."""
        rows: list[Tensor] = []
        size = self.config.texts_at_once
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            each = (x.expand(len(part), *x.shape).flatten(0, 1) for x in (frames, seen))
            rows.append(self(part.repeat_interleave(len(frames), dim=0), *each))
        return torch.cat(rows).view(len(texts), len(frames))


class TokenScores(NamedTuple):
    """What a token-wise comparison finds.

    Attributes:
        scores: of the pairs, on the scale of a cosine.
        nearest_frame: of each word.
        nearest_word: of each frame.
        word_weights: of the words of a text, their sum is 1.
        frame_weights: of the frames of a video, likewise.
    """

    scores: Float[Tensor, "*pairs"]
    nearest_frame: Int[Tensor, "*pairs l"]
    nearest_word: Int[Tensor, "*pairs t"]
    word_weights: Float[Tensor, "*#pairs l"]
    frame_weights: Float[Tensor, "*#pairs t"]


class TokenWiseHeader(nn.Module):
    """Each word is as near as its nearest frame, each frame as its nearest word; weighted means."""

    def __init__(self, config: TokenWiseHeaderConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.text_weight = _weight_layers(embed_dim, config.weight_layers)
        self.video_weight = _weight_layers(embed_dim, config.weight_layers)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=_INIT_STD)
                nn.init.zeros_(module.bias)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield nothing: there are no blocks."""
        yield from ()

    def start_from_text(self, text: CLIPTextEncoder) -> bool:
        """Leave all as it is: nothing here is in a text tower."""
        del text
        return False

    def forward(
        self,
        words: Float[Tensor, "p l e"],
        said: Bool[Tensor, "p l"],
        frames: Float[Tensor, "p t e"],
        seen: Bool[Tensor, "p t"],
    ) -> TokenScores:
        """Compare each text with the video of its row."""
        cosines = torch.einsum("ple,pte->plt", _unit(words), _unit(frames))
        weights = self._weights(words, said, frames, seen)
        return self._scores(cosines, said, seen, *weights)

    def every(
        self,
        words: Float[Tensor, "a l e"],
        said: Bool[Tensor, "a l"],
        frames: Float[Tensor, "v t e"],
        seen: Bool[Tensor, "v t"],
    ) -> TokenScores:
        """Compare every text with every video."""
        cosines = torch.einsum("ale,vte->avlt", _unit(words), _unit(frames))
        of_words, of_frames = self._weights(words, said, frames, seen)
        return self._scores(cosines, said[:, None], seen, of_words[:, None], of_frames)

    def _weights(
        self, words: Tensor, said: Tensor, frames: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        of_words = _token_weights(self.text_weight, words, said)
        return of_words, _token_weights(self.video_weight, frames, seen)

    def _scores(
        self,
        cosines: Float[Tensor, "*pairs l t"],
        said: Bool[Tensor, "*#pairs l"],
        seen: Bool[Tensor, "*#pairs t"],
        word_weights: Float[Tensor, "*#pairs l"],
        frame_weights: Float[Tensor, "*#pairs t"],
    ) -> TokenScores:
        is_word, is_frame = said[..., :, None], seen[..., None, :]
        if self.config.padding == "zero":
            # COMPAT: padding counts as a cosine of 0, which beats every negative one; pinned by
            # golden `retrieval-evl-wti`.
            to_frames = to_words = cosines * (is_word & is_frame)
        else:
            to_frames = cosines.masked_fill(~is_frame, -torch.inf)
            to_words = cosines.masked_fill(~is_word, -torch.inf)
        of_words, nearest_frame = to_frames.max(dim=-1)
        of_frames, nearest_word = to_words.max(dim=-2)
        scores = (of_words * word_weights).sum(dim=-1) + (of_frames * frame_weights).sum(dim=-1)
        return TokenScores(scores / 2, nearest_frame, nearest_word, word_weights, frame_weights)


Header: TypeAlias = FramePooling | TightHeader | TokenWiseHeader


def build_header(config: HeaderConfig, embed_dim: int) -> Header:
    """Return the header of a configuration, with fresh weights."""
    match config:
        case FramePoolingConfig():
            return FramePooling(config, embed_dim)
        case TightHeaderConfig():
            return TightHeader(config, embed_dim)
        case TokenWiseHeaderConfig():
            return TokenWiseHeader(config, embed_dim)


def _transformer(width: int, depth: int, num_heads: int | None = None) -> CLIPTransformer:
    heads = max(width // _HEAD_WIDTH, 1) if num_heads is None else num_heads
    return CLIPTransformer(width, depth, heads, norm_eps=_NORM_EPS)


@torch.no_grad()
def _copy_tower(
    text: CLIPTextEncoder, transformer: CLIPTransformer, positions: nn.Parameter
) -> bool:
    """Copy the first blocks and positions of a text tower of the same width."""
    table, blocks = text.positional_embedding, text.transformer.resblocks
    if table.shape[1] != positions.shape[1] or len(blocks) < len(transformer.resblocks):
        return False
    count = min(len(table), len(positions))
    positions[:count] = table[:count]
    for own, given in zip(transformer.resblocks, blocks, strict=False):
        own.load_state_dict(given.state_dict())
    return True


def _first(
    table: Float[Tensor, "n e"], count: int, field: str, what: str
) -> Float[Tensor, "count e"]:
    if count > len(table):
        raise ValueError(f"{count} {what}, but the header has {len(table)} positions ({field})")
    return table[:count]


def _weight_layers(width: int, num_layers: int) -> nn.Sequential | None:
    if num_layers == 0:
        return None
    hidden: list[nn.Module] = []
    for _ in range(num_layers - 1):
        hidden += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, 1))


def _token_weights(
    layers: nn.Sequential | None, tokens: Float[Tensor, "b n e"], real: Bool[Tensor, "b n"]
) -> Float[Tensor, "b n"]:
    if layers is None:
        return real / real.sum(dim=1, keepdim=True)
    logits = layers(tokens)[..., 0].float()
    return logits.masked_fill(~real, -torch.inf).softmax(dim=1)


def _unit(tokens: Float[Tensor, "b n e"]) -> Float[Tensor, "b n e"]:
    return nn.functional.normalize(tokens.float(), dim=-1)
