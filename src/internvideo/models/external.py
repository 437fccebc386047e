"""Encoders of other libraries as encoders of this one: `transformers` and `open_clip`.

    clip ──► a tower of clips (V-JEPA 2, VideoMAE, TimeSformer, ViViT) ──────────► tokens
        └──► an image tower, frame by frame (CLIP, SigLIP, DINO, …), averaged ──┘

The configuration holds that of the other library, so that a saved model needs no hub. Neither
library is imported before a model of it is built.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n tokens, d width,
e joint dimension, l text length, k classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from internvideo.models.contract import VideoEncoder, VideoFeatures, unit
from internvideo.models.external_transformers import FIXED_LENGTH, VIDEO_KINDS, blocks_of
from internvideo.models.probe import ProbeClassifier, ProbeClassifierConfig
from internvideo.models.tokenizer import CLIPTokenizer, Tokenizer
from internvideo.models.viclip import ViCLIPOutput

__all__ = [
    "ExternalClassifier",
    "ExternalConfig",
    "ExternalEncoder",
    "ExternalProbe",
    "ExternalProbeConfig",
    "ExternalTokenizer",
    "ExternalTokenizerConfig",
    "ExternalTowers",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalTokenizerConfig:
    """The tokenizer of a text tower.

    Attributes:
        context_length: length of a row in tokens.
        num_bytes: size of its `tokenizer.json`, which is kept among the weights; 0 is CLIP's
            byte-pair tokenizer, which comes with this library.
        pad_id: fills a row.
        padding_side: where.
        clean: what `open_clip` does to a text in front of it.
    """

    context_length: int
    num_bytes: int = 0
    pad_id: int = 0
    padding_side: Literal["right", "left"] = "right"
    clean: Literal["none", "whitespace", "lower", "canonicalize"] = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalConfig:
    """A model of another library.

    Attributes:
        library: where it comes from.
        network: name of its class there, such as "VJEPA2Model" or "CLIP".
        settings: its configuration there.
        width: of its tokens.
        num_frames: frames of the clips that it is used for.
        image_size: their side in pixels.
        num_classes: outputs of a classifier.
        tokenizer: of a model with a text tower.
    """

    library: Literal["transformers", "open_clip"]
    network: str
    settings: Mapping[str, Any] = field(hash=False)
    width: int
    num_frames: int = 8
    image_size: int = 224
    num_classes: int | None = None
    tokenizer: ExternalTokenizerConfig | None = None

    @property
    def takes_clips(self) -> bool:
        """Whether it takes whole clips; else it sees one frame at a time."""
        return self.settings.get("model_type") in VIDEO_KINDS

    @property
    def fixed_length(self) -> bool:
        """Whether its texts are padded to the whole context."""
        return self.library == "open_clip" or self.settings.get("model_type") in FIXED_LENGTH


class ExternalTokenizer:
    """A tokenizer of the library `tokenizers`, padded to the context length.

    Args:
        program: content of its `tokenizer.json`.
        config: how it is used.
    """

    def __init__(self, program: bytes, config: ExternalTokenizerConfig) -> None:
        import tokenizers

        self.context_length = config.context_length
        self.clean = config.clean
        self._engine = tokenizers.Tokenizer.from_str(program.decode("utf-8"))
        self._engine.enable_truncation(config.context_length)
        pad = self._engine.id_to_token(config.pad_id) or "[PAD]"
        self._engine.enable_padding(
            direction=config.padding_side,
            length=config.context_length,
            pad_id=config.pad_id,
            pad_token=pad,
        )
        around = self._engine.encode("")
        special = [i for i, seen in zip(around.ids, around.attention_mask, strict=True) if seen]
        self.start_id, self.end_id = (special or [config.pad_id])[0], (special or [0])[-1]
        self.unwritten_ids: tuple[int, ...] = (self.start_id,)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self._engine.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text without special tokens and padding."""
        found = self._engine.encode(self._cleaned(text), add_special_tokens=False)
        return [i for i, seen in zip(found.ids, found.attention_mask, strict=True) if seen]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return self._engine.decode(list(ids))

    def __call__(self, texts: str | Sequence[str]) -> Int[Tensor, "b l"]:
        """Tokenize one text or several."""
        texts = [texts] if isinstance(texts, str) else texts
        found = self._engine.encode_batch([self._cleaned(text) for text in texts])
        return torch.tensor([each.ids for each in found])

    def _cleaned(self, text: str) -> str:
        if self.clean == "none":
            return text
        from open_clip.tokenizer import get_clean_fn

        return get_clean_fn(self.clean)(text)


class ExternalEncoder(VideoEncoder, nn.Module):
    """A video encoder, or an image encoder that sees the frames one by one.

    Its tokens are those behind the last layer of the other library's tower. The class token of an
    image encoder is the mean of those of the frames.
    """

    capabilities = frozenset({"features", "embed"})

    def __init__(self, config: ExternalConfig) -> None:
        super().__init__()
        self.config = config
        self.network = self._build()

    @property
    def adapter(self) -> Any:
        """The module that knows the other library."""
        return importlib.import_module(f"internvideo.models.external_{self.config.library}")

    def _build(self) -> nn.Module:
        config = self.config
        return self.adapter.build(config.network, config.settings, config.num_classes)

    def reset_parameters(self) -> None:
        """Draw all weights anew, as the other library does."""
        self.network.load_state_dict(self._build().state_dict())

    def reset_buffers(self) -> None:
        """Make the tables that are no part of the state, after building on the meta device."""
        old = self.network
        new = self._build()
        new.load_state_dict(old.state_dict(), assign=True)
        for parameter, before in zip(new.parameters(), old.parameters(), strict=True):
            parameter.requires_grad_(before.requires_grad)
        self.network = new.to(next(new.parameters()).device).train(old.training)

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of the tower that sees: the units to compile or shard."""
        yield from blocks_of(self.adapter.vision_tower(self.network))

    def forward_features(
        self, video: Float[Tensor, "b c t y x"], *, layers: Sequence[int] = ()
    ) -> VideoFeatures:
        """Encode a clip.

        Args:
            video: normalised pixels.
            layers: numbers of blocks whose output is wanted, without the final norm.

        Raises:
            IndexError: a block that there is not.
            CheckpointError: the tower gives no tokens in a grid.
        """
        pixels = video if self.config.takes_clips else self._frames(video)
        found = self.adapter.volumes(self.network, pixels, layers)
        volumes = [rearrange(v, "(b f) t h w d -> b (f t) h w d", b=len(video)) for v, _ in found]
        *hidden, tokens = [torch.flatten(volume, 1, 3) for volume in volumes]
        t, h, w = volumes[-1].shape[1:4]
        cls, frame_cls = found[-1][1], None
        if cls is not None and not self.config.takes_clips:
            frame_cls = rearrange(cls, "(b f) d -> b f d", b=len(video))
            cls = frame_cls.mean(dim=1)
        return VideoFeatures(tokens, (t, h, w), cls=cls, hidden=tuple(hidden), frame_cls=frame_cls)

    def forward(self, video: Float[Tensor, "b c t y x"]) -> VideoFeatures:
        """Encode a clip."""
        return self.forward_features(video)

    def _frames(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "bt c y x"]:
        return rearrange(video, "b c t y x -> (b t) c y x")


class ExternalClassifier(ExternalEncoder):
    """A classifier of clips, or of images; the logits of the frames are then averaged."""

    capabilities = frozenset({"features", "embed", "classes"})

    @property
    def head(self) -> nn.Linear:
        """The last linear layer with an output for each class."""
        return next(
            module
            for module in reversed(list(self.network.modules()))
            if isinstance(module, nn.Linear) and module.out_features == self.config.num_classes
        )

    def forward(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:
        """Return the logits."""
        if not self.config.takes_clips:
            logits = self.network(pixel_values=self._frames(video)).logits
            return rearrange(logits, "(b t) k -> b t k", b=len(video)).mean(dim=1)
        clips = rearrange(video, "b c t y x -> b t c y x")
        return self.network(clips).logits


class ExternalTowers(ExternalEncoder):
    """An image tower and a text tower that meet in one space; the frames' vectors are averaged.

    Example:
        >>> model = load_model("hf:openai/clip-vit-base-patch32").model  # doctest: +SKIP
        >>> ids = model.tokenizer(["a dog plays in the snow"])  # doctest: +SKIP
        >>> model.encode_text(ids) @ model.encode_video(clips).T  # cosines  # doctest: +SKIP
    """

    capabilities = frozenset({"features", "embed", "text"})

    def __init__(self, config: ExternalConfig) -> None:
        super().__init__(config)
        assert config.tokenizer is not None
        self._tokenizer: Tokenizer | None = None
        if config.tokenizer.num_bytes:
            content = torch.zeros(config.tokenizer.num_bytes, dtype=torch.uint8)
            self.register_buffer("tokenizer_json", content)

    @property
    def tokenizer(self) -> Tokenizer:
        """Turns texts into ids; read from the weights when it is first asked for."""
        config = self.config.tokenizer
        assert config is not None
        if self._tokenizer is None:
            self._tokenizer = (
                ExternalTokenizer(bytes(self.tokenizer_json.tolist()), config)
                if config.num_bytes
                else CLIPTokenizer(config.context_length)
            )
        return self._tokenizer

    def block_modules(self) -> Iterator[nn.Module]:
        """Yield the blocks of both towers: the units to compile or shard."""
        seen = list(super().block_modules())
        yield from seen
        for name, part in self.network.named_children():
            if name in ("text_model", "text", "transformer"):
                yield from blocks_of(part)

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b e"]:
        """Return a vector of unit length for each clip, in the space of the texts."""
        return self.encode_video(video)

    def encode_video(
        self, video: Float[Tensor, "b c t y x"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed clips: the mean of the frames' unit vectors; `normalize` scales it to unit length.

        The result is float32.
        """
        frames = unit(self.adapter.image_vectors(self.network, self._frames(video)))
        mean = rearrange(frames, "(b t) e -> b t e", b=len(video)).mean(dim=1)
        return unit(mean) if normalize else mean

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts; `normalize` scales to unit length, in float32."""
        config = self.config.tokenizer
        assert config is not None
        if self.config.fixed_length:  # the padding may have been trimmed
            ids = F.pad(ids, (0, config.context_length - ids.shape[1]), value=config.pad_id)
        vectors = self.adapter.text_vectors(self.network, ids, config.pad_id)
        return unit(vectors) if normalize else vectors

    def temperature(self) -> Float[Tensor, ""]:
        """Return what cosines are divided by before a softmax over them."""
        scale: Any = self.network.logit_scale
        return (-scale).exp().reshape(())

    def example_inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        """Return random clips, and some texts."""
        return (*super().example_inputs(batch), self.tokenizer(["a clip"] * batch))

    def forward(self, video: Float[Tensor, "b c t y x"], ids: Int[Tensor, "b l"]) -> ViCLIPOutput:
        """Embed a batch of pairs."""
        return ViCLIPOutput(video=self.encode_video(video), text=self.encode_text(ids))


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalProbeConfig(ProbeClassifierConfig):
    """Shape of an `ExternalProbe`; see `ProbeClassifierConfig`."""

    encoder: ExternalConfig  # type: ignore[assignment]


class ExternalProbe(ProbeClassifier):
    """A `ProbeClassifier` on a frozen encoder of another library."""

    encoder_class = ExternalEncoder
