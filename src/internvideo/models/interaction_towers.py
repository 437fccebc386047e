"""The shape of an `InternVideo`, and its encoders: any two, asked in one way.

What sees the clip, after which blocks the stages lie, and which head reads the features is decided
here for every kind of encoder; `models.interaction` knows none of them by name.

Letters: b batch, n tokens, d width, k classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias, get_args

from jaxtyping import Float
from torch import Tensor, nn

from internvideo.config import ByKind
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.contract import VideoFeatures
from internvideo.models.external import (
    ExternalClassifier,
    ExternalConfig,
    ExternalEncoder,
    ExternalTowers,
)
from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
from internvideo.models.pooled_vit import PooledVideoViT
from internvideo.models.umt_classifier import UMTClassifier, UMTClassifierConfig
from internvideo.models.uniformerv2 import UniFormerV2
from internvideo.models.uniformerv2_classifier import (
    UniFormerV2Classifier,
    UniFormerV2ClassifierConfig,
)
from internvideo.models.viclip import ViCLIP, ViCLIPConfig
from internvideo.models.viclip_vision import ViCLIPVisionConfig
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import VideoViT, VideoViTConfig

__all__ = [
    "InternVideoConfig",
    "TowerConfig",
    "Wiring",
    "answer",
    "new_head",
    "packed",
    "seeing_part",
    "stage_blocks",
    "unpacked",
]

Triple: TypeAlias = tuple[float, float, float]
Wiring: TypeAlias = Literal["insert", "side"]

_NORM_EPS = 1e-6

_ENCODERS: dict[type, type[nn.Module]] = {
    VideoClassifierConfig: VideoClassifier,
    UMTClassifierConfig: UMTClassifier,
    UniFormerV2ClassifierConfig: UniFormerV2Classifier,
    VideoViTConfig: VideoViT,
    VideoMAEConfig: VideoMAE,
    ViCLIPConfig: ViCLIP,
    InternVideoMMConfig: InternVideoMM,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerConfig:
    """One encoder, and how the pixels of a clip in 0..1 become its input.

    Attributes:
        encoder: its shape; data name the class under "kind".
        mean: of each channel, in the encoder's order, on the scale [0, 1].
        std: likewise.
        channel_order: what the encoder expects; clips are RGB.
    """

    encoder: Annotated[
        VideoClassifierConfig
        | UMTClassifierConfig
        | UniFormerV2ClassifierConfig
        | VideoViTConfig
        | VideoMAEConfig
        | ViCLIPConfig
        | InternVideoMMConfig
        | ExternalConfig,
        ByKind(),
    ]
    mean: Triple
    std: Triple
    channel_order: Literal["rgb", "bgr"] = "rgb"

    @staticmethod
    def kinds() -> tuple[type[Any], ...]:
        """Return the classes that `encoder` can be of."""
        return (*_ENCODERS, ExternalConfig)

    @property
    def seeing(self) -> Any:
        """The shape of the part that sees the clip."""
        match self.encoder:
            case ViCLIPConfig() | InternVideoMMConfig():
                return self.encoder.vision
            case VideoMAEConfig():
                return self.encoder.encoder
            case encoder:
                return encoder

    def build(self) -> nn.Module:
        """Return the encoder."""
        if isinstance(self.encoder, ExternalConfig):
            if self.encoder.tokenizer is not None:
                return ExternalTowers(self.encoder)
            classifies = self.encoder.num_classes is not None
            return (ExternalClassifier if classifies else ExternalEncoder)(self.encoder)
        return _ENCODERS[type(self.encoder)](self.encoder)

    @property
    def num_classes(self) -> int | None:
        """Outputs of the head that goes on here; None where the encoder gets a new one."""
        has_head = isinstance(self.encoder, VideoClassifierConfig | UniFormerV2ClassifierConfig)
        return (self.encoder.num_classes or None) if has_head else None  # type: ignore[union-attr]

    def with_classes(self, num_classes: int) -> TowerConfig:
        """Return the shape with another number of classes, where it has a head that goes on."""
        if self.num_classes is None:
            return self
        return replace(self, encoder=replace(self.encoder, num_classes=num_classes))  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, slots=True)
class InternVideoConfig:
    """Shape of an `InternVideo`.

    Attributes:
        masked: the encoder whose tokens ask.
        multimodal: the encoder whose tokens are asked, and whose class token asks at last.
        third: a classifier whose logits are averaged with the others', as in InternVideo-T.
        num_classes: outputs.
        stages: modules on the way through the masked encoder.
        wiring: see `models.interaction`; "insert" needs a `VideoViT` or a `ViCLIPVision` as
            `masked`.
        mlp_ratio: width inside the MLP of a module over that of its queries.
        head_dim: channels of an attention head of a module, or the next number that divides.
        head_drop_rate: dropout before both heads.
        train_query: the video token of a UniFormerV2 as `multimodal` learns on, as in the paper.
    """

    masked: TowerConfig
    multimodal: TowerConfig
    third: TowerConfig | None = None
    num_classes: int
    stages: int = 4
    wiring: Wiring = "insert"
    mlp_ratio: float = 4.0
    head_dim: int = 64
    head_drop_rate: float = 0.9
    train_query: bool = True

    def __post_init__(self) -> None:
        if self.wiring not in get_args(Wiring):
            raise ValueError(f"wiring {self.wiring!r} is not one of 'insert', 'side'")
        if self.wiring == "insert" and not isinstance(
            self.masked.seeing, VideoViTConfig | ViCLIPVisionConfig
        ):
            raise ValueError(
                "wiring 'insert' needs a masked encoder whose blocks see the tokens of the whole "
                "clip (VideoViT, ViCLIP); use wiring='side', which takes any"
            )
        if self.num_classes < 1 or self.stages < 1:
            raise ValueError("num_classes and stages must be at least 1")
        for name, tower in self.towers.items():
            seeing, classes = tower.seeing, tower.num_classes
            if self.num_frames % seeing.num_frames:
                raise ValueError(
                    f"{name} takes {seeing.num_frames} frames, which does not divide the "
                    f"{self.num_frames} of the clip"
                )
            if not isinstance(seeing.image_size, int):
                raise ValueError(f"{name} must take square frames, not {seeing.image_size}")
            if classes not in (None, self.num_classes):
                raise ValueError(f"{name} has {classes} classes, num_classes is {self.num_classes}")
        if self.third is not None and self.third.num_classes is None:
            raise ValueError("third must be a classifier")

    @property
    def towers(self) -> dict[str, TowerConfig]:
        """The encoders by name."""
        every = {"masked": self.masked, "multimodal": self.multimodal, "third": self.third}
        return {name: tower for name, tower in every.items() if tower is not None}

    @property
    def num_frames(self) -> int:
        """Frames of a clip; an encoder that takes fewer sees every second or third of them."""
        return max(tower.seeing.num_frames for tower in self.towers.values())

    @property
    def image_size(self) -> int:
        """Pixels of the square frames of a clip; they are shrunk for an encoder that takes less."""
        return max(tower.seeing.image_size for tower in self.towers.values())

    @property
    def width(self) -> int:
        """Width of the tokens of `forward_features`."""
        return self.masked.seeing.width

    def with_classes(self, num_classes: int) -> InternVideoConfig:
        """Return the shape with another number of classes."""
        towers = {name: tower.with_classes(num_classes) for name, tower in self.towers.items()}
        return replace(self, num_classes=num_classes, **towers)


def new_head(width: int, num_classes: int) -> nn.Sequential:
    """Return a head for an encoder that has none."""
    return nn.Sequential(nn.LayerNorm(width, eps=_NORM_EPS), nn.Linear(width, num_classes))


def seeing_part(model: nn.Module) -> Any:
    """Return the part of an encoder that sees the clip."""
    match model:
        case ViCLIP():
            return seeing_part(model.vision_encoder)
        case InternVideoMM():
            return seeing_part(model.visual)
        case PooledVideoViT() | VideoMAE():
            return model.encoder
    return model


def stage_blocks(encoder: Any, config: Any, stages: int) -> tuple[int, ...]:
    """Return the blocks after which the stages lie: its global ones, or evenly spread.

    Raises:
        ValueError: the encoder has fewer blocks than stages.
    """
    if isinstance(encoder, UniFormerV2) and len(config.global_layers) >= stages:
        return config.global_layers[-stages:]
    is_external = isinstance(encoder, ExternalEncoder)
    # of the tower that sees alone
    depth = len(list(ExternalEncoder.block_modules(encoder))) if is_external else config.depth
    if depth < stages:
        raise ValueError(f"{stages} stages do not fit an encoder of {depth} blocks")
    return tuple(depth * (stage + 1) // stages - 1 for stage in range(stages))


def answer(
    model: Any, head: nn.Sequential | None, features: VideoFeatures, drop: nn.Dropout
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d"]]:
    """Return the logits, and what the head sees."""
    if head is None:
        pooled = model.pool(features)
        return model.head(drop(pooled)), pooled
    norm, linear = head
    pooled = norm(features.pool("mean") if features.cls is None else features.cls)
    return linear(drop(pooled)), pooled


def packed(name: str, features: VideoFeatures) -> dict[str, Tensor]:
    """Return the tensors of features, by names that begin with `name`."""
    fields = {"tokens": features.tokens, "cls": features.cls, "frame_cls": features.frame_cls}
    fields |= {f"hidden.{number}": tokens for number, tokens in enumerate(features.hidden)}
    return {f"{name}.{key}": tensor for key, tensor in fields.items() if tensor is not None}


def unpacked(name: str, features: Mapping[str, Tensor], config: Any) -> VideoFeatures:
    """Return the features again; `config` is the shape of the part that saw the clip."""
    tokens = features[f"{name}.tokens"]
    stages = sum(key.startswith(f"{name}.hidden.") for key in features)
    return VideoFeatures(
        tokens=tokens,
        grid=getattr(config, "grid", (tokens.shape[1], 1, 1)),
        cls=features.get(f"{name}.cls"),
        hidden=tuple(features[f"{name}.hidden.{number}"] for number in range(stages)),
        frame_cls=features.get(f"{name}.frame_cls"),
    )
