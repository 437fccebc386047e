"""A two-tower model that compares texts with the frames of a video, by a header.

    clip ──► video tower ──► a vector a frame ──┐
                                                ├──► header ──► score of the pair
    ids ───► text tower ───► vector, or words ──┘

The frames go through the tower "alone", each as a clip of one frame, as an image CLIP sees a video
(CLIP4Clip, arXiv 2104.08860), or "in-clip": the tower sees the whole clip, and has a class token or
tokens of each frame. Any two-tower model can be asked for the first.

With a `FramePooling` header this is a two-tower model like any other. With the others it is a
`Matcher`: the mean of the frames and the vector of the text choose the pairs that are looked at.

Letters: b batch, a texts, v videos, t frames, k frames or time steps of the
tower, l words, n tokens of width d, e joint dimension.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.config import ByKind
from internvideo.errors import CheckpointError, ConfigError
from internvideo.models.contract import TextTokens, VideoEncoder, VideoFeatures, unit
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.pooled_vit import PooledVideoViT
from internvideo.models.tokenizer import Tokenizer, padding_mask
from internvideo.models.uniformerv2 import UniFormerV2
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.tasks.retrieval.headers import (
    FramePooling,
    FramePoolingConfig,
    HeaderConfig,
    TightHeader,
    TightHeaderConfig,
    TokenWiseHeader,
    TokenWiseHeaderConfig,
    build_header,
    masked_mean,
)
from internvideo.train.optim import UNDECAYED_NAMES
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
    "TwoTowers",
    "frame_vectors",
]

TwoTowers: TypeAlias = ViCLIP | InternVideoMM


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
        if self.frames == "in-clip" and isinstance(self.towers.vision, ViCLIPVisionConfig):
            raise ValueError(
                "frames 'in-clip': the video tower of this ViCLIP has one class token for all "
                "frames; choose 'alone'"
            )
        if isinstance(header, TokenWiseHeaderConfig) and header.words == "hidden":
            width, embed_dim = self.towers.text.width, self.towers.embed_dim
            if width != embed_dim:
                raise ValueError(
                    f"header.words 'hidden' needs a text tower as wide as the joint space; they "
                    f"are {width} and {embed_dim}"
                )

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Pixels of the square frames that the towers are made for."""
        return self.towers.vision.image_size

    @property
    def num_frames(self) -> int:
        """Frames that the towers are made for."""
        return self.towers.vision.num_frames


def frame_vectors(
    towers: TwoTowers, video: Float[Tensor, "b c t y x"], how: Literal["alone", "in-clip"]
) -> Float[Tensor, "b k e"]:
    """Return the vectors of the frames, or of the time steps of the tower, not normalised."""
    batch = len(video)
    if how == "alone":
        stills = rearrange(video, "b c t y x -> (b t) c 1 y x")
        return rearrange(towers.encode_video(stills, normalize=False), "(b t) e -> b t e", b=batch)
    features = towers.forward_features(video)
    t, h, w = features.grid
    steps = VideoFeatures(
        tokens=rearrange(features.tokens, "b (t n) d -> (b t) n d", t=t),
        grid=(1, h, w),
        cls=None if features.frame_cls is None else features.frame_cls.flatten(0, 1),
    )
    if isinstance(towers, InternVideoMM):
        vectors = towers.project_video(steps)
    else:
        assert isinstance(towers.vision_encoder, PooledVideoViT)  # see `FrameRetrieverConfig`
        vectors = towers.vision_encoder.project(steps)
    return rearrange(vectors, "(b t) e -> b t e", b=batch)


class FrameRetriever(VideoEncoder, nn.Module):
    """The towers and the header.

    Attributes:
        pools: whether the header makes a vector of a video; else it is a `Matcher`.
        scores_are_cosines: to be divided by the temperature in training.
    """

    capabilities = frozenset({"features", "embed", "text", "match"})
    matches_all = True

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
        self.scores_are_cosines = not isinstance(self.header, TightHeader)
        if self.pools:
            self.capabilities = self.capabilities - {"match"}
        for parameter in self._unused():
            parameter.requires_grad_(False)

    def _unused(self) -> Iterator[nn.Parameter]:
        """Yield what no gradient would reach, which would stop data-parallel training."""
        towers, header = self.towers, self.config.header
        if not self.scores_are_cosines:
            yield towers.temp if isinstance(towers, ViCLIP) else towers.logit_scale
        projection = towers.text_encoder.text_projection
        hidden = isinstance(header, TokenWiseHeaderConfig) and header.words == "hidden"
        if hidden and projection is not None:
            yield projection
        in_clip = self.config.frames == "in-clip" and isinstance(towers, InternVideoMM)
        if in_clip and isinstance(towers.visual, UniFormerV2):
            named = towers.visual.transformer.named_parameters()
            yield from (p for name, p in named if not name.startswith("resblocks."))

    @property
    def undecayed_names(self) -> frozenset[str]:
        """Tables that do not decay, see `train.optim`."""
        of_towers = getattr(self.towers, "undecayed_names", UNDECAYED_NAMES)
        return of_towers | {"frame_positions", "positions"}

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

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and texts of random tokens as long as the context."""
        return self.towers.example_inputs(batch)

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Return the vectors of the frames as tokens.

        Frames that are exactly zero are padding, and so are their tokens. `layers` asks for those
        of the video tower, which sees the whole clip for that.
        """
        vectors, seen = self.frames(video)
        return VideoFeatures(
            tokens=vectors * seen[..., None],
            grid=(vectors.shape[1], 1, 1),
            hidden=self.towers.intermediates(video, layers) if layers else (),
        )

    def frames(
        self, video: Float[Tensor, "b c t y x"]
    ) -> tuple[Float[Tensor, "b k e"], Bool[Tensor, "b k"]]:
        """Return the vectors of the frames, and which of them are no padding."""
        vectors = frame_vectors(self.towers, video, self.config.frames)
        seen = frame_mask(video).view(len(video), vectors.shape[1], -1)
        return vectors, seen.any(dim=-1)

    # --- vectors ------------------------------------------------------------------------------

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b e"]:
        """Return a vector of unit length for each clip, in the space of the texts."""
        return self.encode_video(video)

    def encode_video(
        self, video: Float[Tensor, "b c t y x"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed clips by the header, or where that compares pairs, as the mean of unit frames."""
        frames, seen = self.frames(video)
        if isinstance(self.header, FramePooling):
            pooled = self.header(frames, seen)
        else:
            pooled = masked_mean(F.normalize(frames.float(), dim=-1), seen)
        return unit(pooled) if normalize else pooled

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts; `normalize` scales to unit length, in float32."""
        return self.towers.encode_text(ids, normalize=normalize)

    # --- pairs --------------------------------------------------------------------------------

    def read(self, ids: Int[Tensor, "b l"]) -> TextTokens:
        """Return what texts are matched by: their words, or their vector as the only one."""
        if not isinstance(self.header, TokenWiseHeader):
            vectors = self.encode_text(ids, normalize=False)[:, None]
            return TextTokens(vectors, torch.ones_like(vectors[..., 0], dtype=torch.bool))
        encoder = self.towers.text_encoder
        words = encoder(ids).tokens
        if self.header.config.words == "projected":
            words = encoder.project(words.flatten(0, 1)).view(*ids.shape, -1)
        return TextTokens(words, ~padding_mask(ids))

    def score(
        self, text: TextTokens, frames: Float[Tensor, "v k e"], seen: Bool[Tensor, "v k"]
    ) -> Float[Tensor, "a v"]:
        """Return the score of every text with every video: a cosine, or of a tight header a logit.

        Args:
            text: from `read`.
            frames: from `frames`.
            seen: likewise.
        """
        match self.header:
            case FramePooling():
                return unit(text.tokens[:, 0]) @ unit(self.header(frames, seen)).T
            case TightHeader():
                return self.header.every(text.tokens[:, 0], frames, seen)
            case TokenWiseHeader():
                return self.header.every(text.tokens, text.shown, frames, seen).scores

    def match_logits(self, video: Float[Tensor, "b n d"], text: TextTokens) -> Float[Tensor, "b 2"]:
        """Return the logits of "not its text" and "its text" of pairs, row by row.

        Raises:
            ConfigError: the header makes a vector of a video.
        """
        seen = (video != 0).any(dim=-1)
        match self.header:
            case FramePooling():
                raise ConfigError("a FramePooling header compares vectors, not pairs")
            case TightHeader():
                logits = self.header(text.tokens[:, 0], video, seen)
            case TokenWiseHeader():
                found = self.header(text.tokens, text.shown, video, seen)
                logits = found.scores / self.temperature()
        return torch.stack([torch.zeros_like(logits), logits], dim=1)

    def forward(
        self, video: Float[Tensor, "v c t y x"], ids: Int[Tensor, "a l"]
    ) -> Float[Tensor, "a v"]:
        """Return the score of every text with every video."""
        return self.score(self.read(ids), *self.frames(video))


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
