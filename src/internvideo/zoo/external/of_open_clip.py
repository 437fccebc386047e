"""Models of `open_clip`: those that it names, with their released weights, and folders of its own.

`open_clip` is imported here in functions: that takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from internvideo.errors import CheckpointError, UnknownNameError, did_you_mean
from internvideo.models.external import ExternalConfig, ExternalTokenizerConfig
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.transforms import CLIP_MEAN, CLIP_STD
from internvideo.zoo import environment
from internvideo.zoo.external.description import (
    NUM_FRAMES,
    External,
    in_one_line,
    local_only,
    read_tokenizer,
    three,
)

__all__ = ["describe", "read"]

_RANDOM = "random"
_WEIGHTS = "open_clip_model.safetensors"


def describe(source: str, name: str, *, encoder_only: bool) -> External:
    """Find out what a name or a folder of open_clip stands for; see `describe_external`."""
    folder = Path(name).expanduser()
    if folder.is_absolute() or name.startswith("."):
        model, shown, weights = _of_folder(source, folder)
    else:
        model, shown, weights = _of_name(source, *name.partition("/")[::2])
    vision, text = dict(model["vision_cfg"]), dict(model["text_cfg"])
    settings = {**model, "vision_cfg": vision, "text_cfg": text}
    custom = settings.pop("custom_text", False) or "hf_model_name" in text
    whole = ("CoCa" if "multimodal_cfg" in model else "CustomTextCLIP") if custom else "CLIP"
    # Its towers' own weights would be downloaded, to be overwritten.
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    tokenizer, read_by = (b"", None) if encoder_only else _tokenizer(source, text, folder)
    protocol = _protocol(shown, vision)
    return External(
        config=ExternalConfig(
            library="open_clip",
            network=f"{whole}.visual" if encoder_only else whole,
            settings=settings,
            width=_width(vision),
            num_frames=protocol.num_frames,
            image_size=protocol.crop_size,
            tokenizer=read_by,
        ),
        protocol=protocol,
        weights=weights,
        whole=whole,
        tokenizer=tokenizer,
    )


def read(found: External) -> nn.Module:
    """Read the weights, or draw them where that was asked for."""
    import open_clip

    from internvideo.models import external_open_clip

    network: Any = external_open_clip.build(found.whole, found.config.settings, None)
    if found.weights is not None:
        file = _download(*found.weights) if isinstance(found.weights, tuple) else found.weights
        open_clip.load_checkpoint(network, file, strict=True, weights_only=True, device="cpu")
    return network


def _of_folder(source: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return model, input and weights of a folder as open_clip writes it for the hub."""
    with in_one_line(source):
        values = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        model, shown = values["model_cfg"], values.get("preprocess_cfg", {})
    for name in (_WEIGHTS, "open_clip_pytorch_model.bin"):
        if (folder / name).is_file():
            return model, shown, str(folder / name)
    raise CheckpointError(f"{folder} has no {_WEIGHTS}")


def _of_name(
    source: str, name: str, weights: str
) -> tuple[dict[str, Any], Mapping[str, Any], str | tuple[str, str] | None]:
    """Return model, input and weights of a model that open_clip names."""
    import open_clip

    model = open_clip.get_model_config(name)
    if model is None:
        raise UnknownNameError(
            f"open_clip has no model {name!r}.{did_you_mean(name, open_clip.list_models())}"
        )
    if weights == _RANDOM:
        return model, {}, None
    if tag := open_clip.get_pretrained_cfg(name, weights):
        # The activation belongs to the weights: open_clip warns of another one, and goes on.
        return {**model, "quick_gelu": tag.get("quick_gelu", False)}, tag, (name, weights)
    file = Path(weights).expanduser()
    if weights and file.is_file():
        return model, {}, str(file)
    tags = open_clip.list_pretrained_tags_by_model(name)
    raise UnknownNameError(
        f"{source} has no weights {weights!r}.{did_you_mean(weights, tags)} Say open-clip:{name}/"
        f"WEIGHTS, with a file, {_RANDOM!r}, or one of: {', '.join(tags) or 'none released'}"
    )


def _protocol(shown: Mapping[str, Any], vision: Mapping[str, Any]) -> Preprocessing:
    """Return how open_clip prepares an image, as an input protocol."""
    size = vision.get("image_size", 224)
    side = size if isinstance(size, int) else size[0]
    return Preprocessing(
        num_frames=NUM_FRAMES,
        sampling="middle",
        resize_rule="squash" if shown.get("resize_mode") == "squash" else "short-side",
        resize_size=side,
        crop_size=side,
        interpolation="bilinear" if shown.get("interpolation") == "bilinear" else "bicubic",
        antialias=True,
        mean=three(shown.get("mean") or CLIP_MEAN),
        std=three(shown.get("std") or CLIP_STD),
    )


def _width(vision: Mapping[str, Any]) -> int:
    """Return the width of the tokens of an image tower."""
    if "timm_model_name" in vision:
        import timm

        with torch.device("meta"):
            trunk: Any = timm.create_model(vision["timm_model_name"], num_classes=0)
        return trunk.num_features
    if isinstance(vision.get("layers"), list | tuple):  # a residual network
        return 32 * vision.get("width", 64)
    return vision.get("width", 768)


def _tokenizer(
    source: str, text: Mapping[str, Any], folder: Path
) -> tuple[bytes, ExternalTokenizerConfig]:
    length, name = text.get("context_length", 77), text.get("hf_tokenizer_name")
    if not name:
        return b"", ExternalTokenizerConfig(context_length=length)
    options = dict(text.get("tokenizer_kwargs") or {})
    clean = options.pop("clean", "whitespace")
    if options or text.get("tokenizer_mode"):
        unknown = ", ".join(options) or "tokenizer_mode"
        raise CheckpointError(f"{source}: its tokenizer has options that are not known: {unknown}")
    location = str(folder) if (folder / "tokenizer.json").is_file() else name
    with in_one_line(f"{source}: its tokenizer {location}"):
        return read_tokenizer(location, length, clean=clean)


def _download(name: str, tag: str) -> str:
    """Return the file of released weights, from the cache of the hub or from the network."""
    import open_clip
    from huggingface_hub import hf_hub_download

    about = open_clip.get_pretrained_cfg(name, tag)
    repository, _, file = str(about.get("hf_hub") or "").rpartition("/")
    if repository:
        return hf_hub_download(
            repository, file or _WEIGHTS, local_files_only=local_only(repository)
        )
    if environment.is_offline():
        raise OSError(f"the weights lie at {about.get('url')}, and this is offline")
    return open_clip.download_pretrained(about)
