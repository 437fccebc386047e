"""The architectures whose files the library reads: class, names of tensors, size from shapes.

One `Architecture` is all that the zoo needs to know of a model. A new family adds a line to
`ARCHITECTURES` and a function that reads its configuration off the shapes of the tensors.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from internvideo.errors import CheckpointError, UnknownNameError, did_you_mean
from internvideo.models import classifier, probe, viclip, videomae, vit
from internvideo.models.clip_init import text_state_from_clip, vision_state_from_clip
from internvideo.models.clip_text import CLIPTextConfig
from internvideo.zoo.renames import OPEN_SET_CLASSIFIER, OPENAI_CLIP, SAME_NAMES, RenameTable

__all__ = ["ARCHITECTURES", "Architecture", "Shapes", "find_architecture", "kind_of"]

Shapes = Mapping[str, tuple[int, ...]]

_MAX_DEPTH = 512
_MAX_TABLE = 1 << 26  # numbers in a position table; the largest published clip needs 12 million


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """What the zoo knows of one kind of model.

    Attributes:
        id: e.g. "videomae/classifier"; the `kind` in `config.json` and the `architecture` of a
            card.
        model: the class; it takes one `config`.
        config: the class of its configuration.
        sizes: configurations by size name.
        tables: layouts of official files, by name; the first is the usual one.
        infer: reads the configuration off the shapes of a state dictionary of ours. What shapes do
            not tell (number of heads, rule of the positions) comes from the given base, or else
            from the size of that width.
        traits: the values that tell two files of this architecture apart.
        preset: name of the input protocol of a file without a card.
        adapt: makes a state of ours from an official one where renaming is not enough.
    """

    id: str
    model: type[nn.Module]
    config: type
    sizes: Mapping[str, Any]
    tables: Mapping[str, RenameTable]
    infer: Callable[[Shapes, Any], Any]
    traits: Callable[[Any], dict[str, Any]]
    preset: str
    adapt: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None

    def build(self, config: Any) -> nn.Module:
        """Build the model on the meta device: all names and shapes, no memory for weights.

        Raises:
            CheckpointError: the configuration asks for an absurdly large position table.
        """
        _refuse_absurd_tables(config)
        with torch.device("meta"), _Hollow():
            return self.model(config)

    def shapes(self, config: Any) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every tensor of the model."""
        return dict(_shapes_of(self, config))

    def size_of(self, config: Any) -> str | None:
        """Return the name of the size that a configuration has, or None."""
        wanted = _size_traits(self.traits(config))
        return next(
            (n for n, each in self.sizes.items() if _size_traits(self.traits(each)) == wanted), None
        )

    def to_ours(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """Return an official state dictionary (without prefixes) under our names."""
        return self.adapt(state) if self.adapt else self.tables[layout].to_ours(state)


def _refuse_absurd_tables(config: Any) -> None:
    """Stop a hostile `config.json` or key list: tables are made, not read from a file."""
    for part in (config, getattr(config, "encoder", None), getattr(config, "vision", None)):
        if isinstance(part, vit.VideoViTConfig):
            numbers = max(prod(part.grid), prod(part.position_grid)) * part.width
            if numbers > _MAX_TABLE:
                raise CheckpointError(f"a position table of {numbers} numbers makes no sense")


class _Hollow(TorchFunctionMode):
    """Draw no weights, and make position tables (which start from `arange`) on the CPU.

    On the meta device these functions are written in Python and import the compiler: 1.4 s.
    """

    _SAME_SHAPE = (
        Tensor.normal_,
        Tensor.uniform_,
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.trunc_normal_,
        nn.init.kaiming_uniform_,
        nn.init.xavier_uniform_,
    )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._SAME_SHAPE:
            return args[0] if args else kwargs["tensor"]
        if func is torch.arange:
            return func(*args, **{**kwargs, "device": "cpu"})
        return func(*args, **kwargs)


@lru_cache(maxsize=32)
def _shapes_of(architecture: Architecture, config: Any) -> dict[str, tuple[int, ...]]:
    state = architecture.build(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def find_architecture(name: str) -> Architecture:
    """Return the architecture of that id.

    Raises:
        UnknownNameError: there is none.
    """
    known = {each.id: each for each in ARCHITECTURES}
    if name not in known:
        raise UnknownNameError(
            f"unknown architecture {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}"
        )
    return known[name]


def kind_of(model: nn.Module) -> Architecture:
    """Return the architecture of a model.

    Raises:
        CheckpointError: the zoo does not know the class of the model.
    """
    for each in ARCHITECTURES:
        if type(model) is each.model:
            return each
    raise CheckpointError(
        f"a {type(model).__name__} cannot be stored; the zoo knows"
        f" {', '.join(each.model.__name__ for each in ARCHITECTURES)}"
    )


def _size_traits(traits: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs between files of one size."""
    skipped = ("num_classes", "decoder_depth", "tubelet_size")
    return {name: value for name, value in traits.items() if name not in skipped}


# A damaged list of tensors must not break what follows, so the most common value counts.


def _vote(shapes: Shapes, pattern: str, axis: int) -> int | None:
    """Return the most common extent, along an axis, of the tensors whose name fits a pattern."""
    matcher = re.compile(pattern)
    votes = Counter(
        shape[axis]
        for name, shape in shapes.items()
        if len(shape) > axis and matcher.fullmatch(name)
    )
    return votes.most_common(1)[0][0] if votes else None


def _need(shapes: Shapes, pattern: str, axis: int, what: str) -> int:
    value = _vote(shapes, pattern, axis)
    if not value:
        raise CheckpointError(f"the {what} cannot be told from the names and shapes of the tensors")
    return value


def _depth(shapes: Shapes, prefix: str) -> int:
    """Return the number of blocks; one with less than half of the usual tensors does not count."""
    matcher = re.compile(rf"{prefix}\.(\d{{1,4}})\..+")
    counts = Counter(int(m[1]) for name in shapes if (m := matcher.fullmatch(name)))
    if not counts:
        raise CheckpointError("the number of blocks cannot be told from the names of the tensors")
    usual = max(counts.values())
    depth = 1 + max(index for index, count in counts.items() if 2 * count >= usual)
    if depth > _MAX_DEPTH:
        raise CheckpointError(f"{depth} blocks: no model of this library is that deep")
    return depth


def _heads(width: int, sizes: Mapping[int, int]) -> int:
    """Return the number of heads: that of the published size, else one per 64 channels."""
    if width in sizes:
        return sizes[width]
    if width % 64:
        raise CheckpointError(
            f"width {width} is no published size, and shapes do not tell the number of attention"
            " heads; give a folder with model.safetensors and config.json"
        )
    return width // 64


def _ratio(width: int, hidden: int, published: float) -> float:
    """Return an MLP ratio whose integer part of `width * ratio` is `hidden`."""
    if int(width * published) == hidden:
        return published
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _vit_size(width: int) -> vit.VideoViTConfig | None:
    return next((size for size in vit.SIZES.values() if size.width == width), None)


def _vit_fields(shapes: Shapes, base: Any) -> dict[str, Any]:
    """Return the fields of a `VideoViTConfig` that the shapes of an encoder tell."""
    width = _need(shapes, r"blocks\.\d+\.(norm1|norm2)\.weight", 0, "width")
    hidden = _need(shapes, r"blocks\.\d+\.mlp\.fc1\.weight", 0, "width of the MLP")
    size = _vit_size(width) or vit.VideoViTConfig(
        width=width,
        num_heads=_heads(width, {size.width: size.num_heads for size in vit.SIZES.values()}),
    )
    base = base or size
    kernel = shapes.get("patch_embed.proj.weight", ())
    _, channels, frames, patch, _ = (
        kernel
        if len(kernel) == 5 and min(kernel) > 0
        else (0, base.num_channels, base.tubelet_size, base.patch_size, 0)
    )
    if any(name.startswith("stem.") for name in shapes):
        raise CheckpointError(
            "an encoder with a convolutional stem needs its config.json: strides are not visible in"
            " the shapes"
        )
    fields = {
        "image_size": base.image_size // patch * patch or patch,
        "num_frames": base.num_frames // frames * frames or frames,
        "width": width,
        "depth": _depth(shapes, "blocks"),
        "num_heads": base.num_heads if base.width == width else size.num_heads,
        "mlp_ratio": _ratio(width, hidden, size.mlp_ratio),
        "num_channels": channels,
        "tubelet_size": frames,
        "patch_size": patch,
        "init_values": (base.init_values or 1e-5)
        if _vote(shapes, r"blocks\.\d+\.gamma_1", 0)
        else 0.0,
        "cosine_attention": _vote(shapes, r"blocks\.\d+\.attn\.scale", 0) is not None,
    }
    if "pos_embed" in shapes:
        fields |= {
            "positions": "learnable",
            **_learnable_grid(shapes["pos_embed"], frames, patch, base),
        }
    return fields


def _learnable_grid(table: tuple[int, ...], frames: int, patch: int, base: Any) -> dict[str, int]:
    """Return frames and pixels that a learnt position table is made for."""
    tokens = table[1] if len(table) == 3 else 0
    side = round((tokens * frames / base.num_frames) ** 0.5)
    if not side or side * side * base.num_frames != tokens * frames:
        raise CheckpointError(
            f"pos_embed {table} does not tell the grid for {base.num_frames} frames; give a folder"
            " with config.json"
        )
    return {"image_size": side * patch, "num_frames": base.num_frames}


def _infer_encoder(shapes: Shapes, base: Any) -> vit.VideoViTConfig:
    fields = _vit_fields(shapes, base)
    fields["final_norm"] = any(name.startswith("norm.") for name in shapes)
    return _merge(base or _vit_size(fields["width"]) or vit.VideoViTConfig(), fields)


def _infer_classifier(shapes: Shapes, base: Any) -> classifier.VideoClassifierConfig:
    fields = _vit_fields(shapes, base)
    fields["num_classes"] = _need(shapes, r"head\.(weight|bias)", 0, "number of classes")
    has_norm = any(name.startswith("norm.") for name in shapes)
    mean = any(name.startswith("fc_norm.") for name in shapes) or not has_norm
    usual = base.pooling if base is not None and base.pooling != "first" else "mean"
    fields |= {"pooling": usual if mean else "first", "final_norm": not mean}
    default = classifier.VideoClassifierConfig(num_classes=1)
    return _merge(base or default, fields)


def _infer_probe(shapes: Shapes, base: Any) -> probe.ProbeClassifierConfig:
    encoder = {n.removeprefix("encoder."): s for n, s in shapes.items() if n.startswith("encoder.")}
    fields = {
        "encoder": _infer_encoder(encoder, base.encoder if base is not None else None),
        "num_classes": _need(shapes, r"head\.(weight|bias)", 0, "number of classes"),
        "head": "attentive" if any(name.startswith("pool.") for name in shapes) else "linear",
        "batch_norm": any(name.startswith("norm.") for name in shapes),
    }
    return _merge(base, fields) if base is not None else probe.ProbeClassifierConfig(**fields)


def _infer_videomae(shapes: Shapes, base: Any) -> videomae.VideoMAEConfig:
    parts = {
        part: {n.removeprefix(f"{part}."): s for n, s in shapes.items() if n.startswith(f"{part}.")}
        for part in ("encoder", "decoder")
    }
    encoder_base = base.encoder if base is not None else None
    encoder = _merge(
        encoder_base or vit.VideoViTConfig(),
        {**_vit_fields(parts["encoder"], encoder_base), "final_norm": True},
    )
    width = _need(parts["decoder"], r"blocks\.\d+\.(norm1|norm2)\.weight", 0, "decoder's width")
    known = {size.decoder_width: size.decoder_num_heads for size in videomae.SIZES.values()}
    fields = {
        "encoder": encoder,
        "decoder_width": width,
        "decoder_depth": _depth(parts["decoder"], "blocks"),
        "decoder_num_heads": _heads(width, known),
    }
    return _merge(base, fields) if base is not None else videomae.VideoMAEConfig(**fields)


def _infer_viclip(shapes: Shapes, base: Any) -> viclip.ViCLIPConfig:
    block = r"transformer\.resblocks\.\d+\.ln_[12]\.weight"
    width = _need(shapes, rf"vision_encoder\.{block}", 0, "width of the video tower")
    text_width = _need(shapes, rf"text_encoder\.{block}", 0, "width of the text tower")
    base = base or next((s for s in viclip.SIZES.values() if s.vision.width == width), None)
    base = base or viclip.SIZES["b16"]
    kernel = shapes.get("vision_encoder.conv1.weight", ())
    tubelet, patch = (
        (kernel[2], kernel[3])
        if len(kernel) == 5 and min(kernel) > 0
        else (base.vision.tubelet_size, base.vision.patch_size)
    )
    steps = _vote(shapes, r"vision_encoder\.temporal_positional_embedding", 1)
    rows = _vote(shapes, r"vision_encoder\.positional_embedding", 0) or 0
    embed = _need(
        shapes, r"(vision_encoder\.proj|text_encoder\.text_projection)", 1, "joint dimension"
    )
    vision = _merge(
        base.vision,
        {
            "width": width,
            "depth": _depth(shapes, r"vision_encoder\.transformer\.resblocks"),
            "num_heads": _heads(width, {}),
            "tubelet_size": tubelet,
            "patch_size": patch,
            "num_frames": steps * tubelet if steps else base.vision.num_frames,
            "image_size": round((rows - 1) ** 0.5) * patch if rows > 1 else base.vision.image_size,
            "embed_dim": embed,
        },
    )
    tokens = _vote(shapes, r"text_encoder\.token_embedding\.weight", 0)
    context = _vote(shapes, r"text_encoder\.positional_embedding", 0)
    text = CLIPTextConfig(
        vocab_size=tokens or base.text.vocab_size,
        context_length=context or base.text.context_length,
        width=text_width,
        depth=_depth(shapes, r"text_encoder\.transformer\.resblocks"),
        num_heads=_heads(text_width, {}),
        embed_dim=embed,
    )
    return _merge(base, {"vision": vision, "text": text, "embed_dim": embed})


def _viclip_from_clip(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a ViCLIP that equals image CLIP on a still: new time positions are zero.

    CLIP multiplies cosines by exp(logit_scale), ViCLIP divides them by its temperature.
    """
    grid = round((_need_tensor(clip, "visual.positional_embedding").shape[0] - 1) ** 0.5)
    context = _need_tensor(clip, "positional_embedding").shape[0]
    steps = viclip.SIZES["b16"].vision.num_frames
    vision = vision_state_from_clip(clip, grid=grid, num_steps=steps)
    text = text_state_from_clip(clip, context_length=context)
    state = {f"vision_encoder.{name}": value for name, value in vision.items()}
    state |= {f"text_encoder.{name}": value for name, value in text.items()}
    if "logit_scale" in clip:
        state["temp"] = torch.exp(-clip["logit_scale"].float())
    return state


def _need_tensor(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state or state[name].ndim != 2:
        raise CheckpointError(f"not the weights of CLIP: no two-dimensional {name}")
    return state[name]


def _clip_size(name: str, **vision: int) -> viclip.ViCLIPConfig:
    base = viclip.SIZES[name]
    return dataclasses.replace(
        base,
        vision=dataclasses.replace(base.vision, **vision),
        text=dataclasses.replace(base.text, context_length=77),
    )


def _merge(base: Any, fields: Mapping[str, Any]) -> Any:
    """Return the base with the fields read off the shapes."""
    try:
        return dataclasses.replace(base, **fields)
    except ValueError as error:
        raise CheckpointError(f"the shapes make no sense together: {error}") from error


def _vit_traits(config: Any) -> dict[str, Any]:
    names = ("width", "depth", "patch_size", "tubelet_size", "num_channels", "mlp_hidden")
    return {name: getattr(config, name) for name in names}


def _classifier_traits(config: Any) -> dict[str, Any]:
    return {**_vit_traits(config), "num_classes": config.num_classes}


def _probe_traits(config: Any) -> dict[str, Any]:
    return {**_vit_traits(config.encoder), "num_classes": config.num_classes, "head": config.head}


def _videomae_traits(config: Any) -> dict[str, Any]:
    names = ("decoder_width", "decoder_depth")
    return {**_vit_traits(config.encoder), **{name: getattr(config, name) for name in names}}


def _viclip_traits(config: Any) -> dict[str, Any]:
    vision, text = config.vision, config.text
    return {
        "vision": (type(vision).__name__, vision.width, vision.depth, vision.patch_size),
        "text": (text.width, text.depth, text.vocab_size),
        "tubelet_size": vision.tubelet_size,
        "embed_dim": config.embed_dim,
    }


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        id="videomae/pretraining",
        model=videomae.VideoMAE,
        config=videomae.VideoMAEConfig,
        sizes=videomae.SIZES,
        tables={"official": SAME_NAMES},
        infer=_infer_videomae,
        traits=_videomae_traits,
        preset="videomae-validation",
    ),
    Architecture(
        id="videomae/classifier",
        model=classifier.VideoClassifier,
        config=classifier.VideoClassifierConfig,
        sizes=classifier.SIZES,
        tables={"official": SAME_NAMES, "open-set": OPEN_SET_CLASSIFIER},
        infer=_infer_classifier,
        traits=_classifier_traits,
        preset="videomae-kinetics",
    ),
    Architecture(
        id="videomae/encoder",
        model=vit.VideoViT,
        config=vit.VideoViTConfig,
        sizes=vit.SIZES,
        tables={"official": SAME_NAMES},
        infer=_infer_encoder,
        traits=_vit_traits,
        preset="videomae-validation",
    ),
    Architecture(
        id="viclip",
        model=viclip.ViCLIP,
        config=viclip.ViCLIPConfig,
        sizes=viclip.SIZES,
        tables={"official": SAME_NAMES},
        infer=_infer_viclip,
        traits=_viclip_traits,
        preset="viclip-eval",
    ),
    Architecture(
        id="openai-clip",
        model=viclip.ViCLIP,
        config=viclip.ViCLIPConfig,
        sizes={
            "b16": _clip_size("b16"),
            "b32": _clip_size("b16", patch_size=32),
            "l14": _clip_size("l14"),
            "l14-336": _clip_size("l14", image_size=336),
        },
        tables={"official": OPENAI_CLIP},
        infer=_infer_viclip,
        traits=_viclip_traits,
        preset="viclip-eval",
        adapt=_viclip_from_clip,
    ),
    Architecture(
        id="videomae/probe",
        model=probe.ProbeClassifier,
        config=probe.ProbeClassifierConfig,
        sizes=probe.SIZES,
        tables={"official": SAME_NAMES},
        infer=_infer_probe,
        traits=_probe_traits,
        preset="videomae-kinetics",
    ),
)
"""All architectures that the zoo can build, the most specific first."""
