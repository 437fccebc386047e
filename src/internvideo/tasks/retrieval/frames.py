"""A two-tower model that compares texts with the frames of a video, by a header.

    clip ──► video tower ──► a vector a frame ──┐
                                                ├──► header ──► score of the pair
    ids ───► text tower ───► vector, or words ──┘

The frames go through the tower "alone", each as a clip of one frame, as an image CLIP sees a video
(CLIP4Clip, arXiv 2104.08860), or "in-clip": the tower sees the whole clip, and has a class token or
tokens of each frame. Any two-tower model can be asked for the first.

With a `FramePooling` header this is a two-tower model like any other: `encode_video` and
`encode_text`. With the others a pair has to be looked at: `PairScorer`.

Letters: b batch, a texts, v videos, t frames, l words, e joint dimension.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.config import ByKind
from internvideo.errors import CheckpointError, ConfigError
from internvideo.models.contract import VideoEncoder, VideoFeatures, unit
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.tokenizer import Tokenizer, padding_mask
from internvideo.models.uniformerv2 import UniFormerV2
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVision
from internvideo.tasks.retrieval.headers import (
    FramePooling,
    FramePoolingConfig,
    HeaderConfig,
    TightHeader,
    TightHeaderConfig,
    TokenScores,
    TokenWiseHeader,
    TokenWiseHeaderConfig,
    build_header,
)
from internvideo.video.preprocessing import frame_mask
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds.internvideo_mm import TWO_TOWERS
from internvideo.zoo.kinds.viclip import IMAGE_CLIP
from internvideo.zoo.layouts import SAME_NAMES
from internvideo.zoo.shapes import Shapes

__all__ = [
    "FRAME_RETRIEVER",
    "FrameRetriever",
    "FrameRetrieverConfig",
    "Tokens",
    "TwoTowers",
    "frame_vectors",
]

TwoTowers: TypeAlias = ViCLIP | InternVideoMM


class Tokens(NamedTuple):
    """What a pair is scored by, of some texts or of some videos.

    Attributes:
        vectors: words, or frames.
        real: False is padding.
    """

    vectors: Float[Tensor, "b n e"]
    real: Bool[Tensor, "b n"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRetrieverConfig:
    """Shape of a `FrameRetriever`.

    Attributes:
        towers: of the two-tower model.
        header: what compares texts with frames.
        frames: how frames go through the video tower.
    """

    towers: Annotated[ViCLIPConfig | InternVideoMMConfig, ByKind()]
    header: Annotated[FramePoolingConfig | TightHeaderConfig | TokenWiseHeaderConfig, ByKind()]
    frames: Literal["alone", "in-clip"] = "alone"

    def __post_init__(self) -> None:
        header: HeaderConfig = self.header
        if isinstance(header, TokenWiseHeaderConfig) and header.words == "hidden":
            width, embed_dim = self.towers.text.width, self.towers.embed_dim
            if width != embed_dim:
                raise ValueError(
                    f"header.words 'hidden' needs a text tower as wide as the joint space; they "
                    f"are {width} and {embed_dim}"
                )

    @property
    def image_size(self) -> int:
        """Pixels of the square frames that the towers are made for."""
        return self.towers.vision.image_size

    @property
    def num_frames(self) -> int:
        """Frames that the towers are made for."""
        return self.towers.vision.num_frames


def frame_vectors(
    towers: TwoTowers, video: Float[Tensor, "b c t y x"], how: Literal["alone", "in-clip"]
) -> Float[Tensor, "b k e"]:
    """Return the vectors of the frames, or of the time steps of the tower, not normalised.

    Raises:
        ConfigError: the video tower keeps no frames apart.
    """
    batch = len(video)
    if how == "alone":
        stills = rearrange(video, "b c t y x -> (b t) c 1 y x")
        return towers.encode_video(stills, normalize=False).unflatten(0, (batch, -1))
    visual = towers.vision_encoder if isinstance(towers, ViCLIP) else towers.visual
    if isinstance(visual, ViCLIPVision):
        raise ConfigError(
            "the video tower of this ViCLIP has one class token for all frames; choose "
            "model.frames: alone"
        )
    features = towers.forward_features(video)
    t, h, w = features.grid
    steps = VideoFeatures(
        tokens=rearrange(features.tokens, "b (t n) d -> (b t) n d", t=t),
        grid=(1, h, w),
        cls=None if features.frame_cls is None else features.frame_cls.flatten(0, 1),
    )
    project = visual.project if isinstance(towers, ViCLIP) else towers.project_video
    return project(steps).unflatten(0, (batch, -1))


class FrameRetriever(VideoEncoder, nn.Module):
    """The towers and the header.

    Attributes:
        pools: whether the header makes a vector of a video.
        scales_scores: whether scores are cosines, to be divided by the temperature in training.
    """

    capabilities = frozenset({"features", "embed", "text"})

    def __init__(self, config: FrameRetrieverConfig) -> None:
        super().__init__()
        self.config = config
        self.towers: TwoTowers = (
            ViCLIP(config.towers)
            if isinstance(config.towers, ViCLIPConfig)
            else InternVideoMM(dataclasses.replace(config.towers, decoder_depth=0))
        )
        self.header = build_header(config.header, config.towers.embed_dim)
        self.pools = isinstance(self.header, FramePooling)
        self.scales_scores = not isinstance(self.header, TightHeader)
        if not isinstance(self.header, FramePooling):
            self.capabilities = self.capabilities - {"text"}
        self._leave_out_what_is_unused()

    def _leave_out_what_is_unused(self) -> None:
        """Train nothing that no gradient reaches, which would stop data-parallel training."""
        towers = self.towers
        if not self.scales_scores:
            scale = towers.temp if isinstance(towers, ViCLIP) else towers.logit_scale
            scale.requires_grad_(False)
        if isinstance(self.header, TokenWiseHeader) and self.config.header.words == "hidden":
            towers.text_encoder.text_projection.requires_grad_(False)
        if self.config.frames == "in-clip" and isinstance(towers, InternVideoMM):
            if not isinstance(towers.visual, UniFormerV2):
                return
            for name, parameter in towers.visual.transformer.named_parameters():
                if not name.startswith("resblocks."):
                    parameter.requires_grad_(False)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the text tower."""
        return self.towers.tokenizer

    def temperature(self) -> Float[Tensor, ""]:
        """Return what cosines are divided by."""
        return self.towers.temperature()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.towers.reset_parameters()
        self.header.reset_parameters()

    def reset_buffers(self) -> None:
        """Make the tables that are no part of the state, after building on the meta device."""
        self.towers.reset_buffers()

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of towers and header: the units to checkpoint, compile or shard."""
        yield from self.towers.block_modules()
        yield from self.header.block_modules()

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode clips; see the video tower."""
        return self.towers.forward_features(video, layers=layers)

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and texts of random tokens as long as the context."""
        return self.towers.example_inputs(batch)

    # --- a vector a video ---------------------------------------------------------------------

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b e"]:
        """Return a vector of unit length for each clip; without a pooling header, of the tower."""
        if isinstance(self.header, FramePooling):
            return self.encode_video(video)
        return self.towers.embed(video)

    def encode_video(
        self, video: Float[Tensor, "b c t y x"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed clips; frames that are exactly zero are padding.

        Raises:
            ConfigError: the header makes no vector of a video.
        """
        if not isinstance(self.header, FramePooling):
            raise ConfigError(
                f"a {type(self.header).__name__} compares pairs, it makes no vector of a video"
            )
        pooled = self.header(*self.video_tokens(video))
        return unit(pooled) if normalize else pooled

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts."""
        return self.towers.encode_text(ids, normalize=normalize)

    # --- pairs --------------------------------------------------------------------------------

    def video_tokens(self, video: Float[Tensor, "b c t y x"]) -> Tokens:
        """Return the frames of clips."""
        vectors = frame_vectors(self.towers, video, self.config.frames)
        real = frame_mask(video)
        return Tokens(vectors, real.unflatten(1, (vectors.shape[1], -1)).any(dim=-1))

    def text_tokens(self, ids: Int[Tensor, "b l"]) -> Tokens:
        """Return the words of texts; of those that are compared by their vector, that alone."""
        if not isinstance(self.header, TokenWiseHeader):
            vectors = self.encode_text(ids, normalize=False)[:, None]
            return Tokens(vectors, torch.ones_like(vectors[..., 0], dtype=torch.bool))
        encoder = self.towers.text_encoder
        words = encoder(ids).tokens
        if self.header.config.words == "projected":
            words = encoder.project(words.flatten(0, 1)).unflatten(0, ids.shape)
        return Tokens(words, ~padding_mask(ids))

    def score(self, texts: Tokens, videos: Tokens) -> Float[Tensor, "a v"]:
        """Return the score of every pair: a cosine, or a logit where `scales_scores` is False."""
        match self.header:
            case FramePooling():
                pooled = unit(self.header(*videos))
                return unit(texts.vectors[:, 0]) @ pooled.T
            case TightHeader():
                return self.header(texts.vectors[:, 0], *videos)
            case TokenWiseHeader():
                return self.compare_tokens(texts, videos).scores

    def compare_tokens(self, texts: Tokens, videos: Tokens) -> TokenScores:
        """Return the scores of every pair with what they were made of.

        Raises:
            ConfigError: the header is no token-wise one.
        """
        if not isinstance(self.header, TokenWiseHeader):
            raise ConfigError(f"a {type(self.header).__name__} does not compare word by word")
        return self.header.compare(*texts, *videos)

    def forward(
        self, video: Float[Tensor, "v c t y x"], ids: Int[Tensor, "a l"]
    ) -> Float[Tensor, "a v"]:
        """Return the score of every text with every video."""
        return self.score(self.text_tokens(ids), self.video_tokens(video))


def _infer(shapes: Shapes, base: Any) -> Any:
    raise CheckpointError("a header over frames needs its config.json; give the model's folder")


def _sized(towers: ViCLIPConfig) -> FrameRetrieverConfig:
    still = dataclasses.replace(towers.vision, drop_path_rate=0.0)
    towers = dataclasses.replace(towers, vision=still)
    return FrameRetrieverConfig(towers=towers, header=FramePoolingConfig())


FRAME_RETRIEVER = Architecture(
    id="retrieval/frames",
    model=FrameRetriever,
    config=FrameRetrieverConfig,
    sizes={f"clip-{name}": _sized(towers) for name, towers in IMAGE_CLIP.sizes.items()},
    tiny={
        "pooled": _sized(IMAGE_CLIP.tiny["released"]),
        "words": FrameRetrieverConfig(
            towers=TWO_TOWERS.tiny["released"], header=TokenWiseHeaderConfig(), frames="in-clip"
        ),
    },
    tables={"official": SAME_NAMES},
    infer=_infer,
    traits=lambda config: {"towers": config.towers, "header": config.header},
    preset="retrieval",
)
