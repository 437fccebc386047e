"""Models of `transformers`, from a folder or from the hub."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from internvideo.errors import CheckpointError, require
from internvideo.models.external import ExternalConfig, ExternalTokenizerConfig
from internvideo.models.external_transformers import IMAGE_TEXT_KINDS, VIDEO_KINDS
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.transforms import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from internvideo.zoo.external.description import (
    FAILURES,
    NUM_FRAMES,
    External,
    first_line,
    in_one_line,
    local_only,
    read_tokenizer,
    three,
)

__all__ = ["describe", "read"]

_LOG = logging.getLogger(__name__)
_HALF = (0.5, 0.5, 0.5)
_STATISTICS = (
    ("siglip", _HALF, _HALF),
    ("clip", CLIP_MEAN, CLIP_STD),
    ("", IMAGENET_MEAN, IMAGENET_STD),
)
_NOT_ITS_SHAPE = (
    "_name_or_path", "architectures", "dtype", "id2label", "label2id", "problem_type",
    "torch_dtype", "transformers_version",
)  # fmt: skip
_SUPPORTED = (
    f"video towers ({', '.join(VIDEO_KINDS)}), image-text models ({', '.join(IMAGE_TEXT_KINDS)}),"
    " and image models that take pixel_values (dinov2, dinov3_vit, vit, …)"
)


def describe(source: str, name: str, *, encoder_only: bool) -> External:
    """Find out what a folder or hub id holds; see `describe_external`."""
    library = require("transformers", extra="transformers")
    location = _folder_or_hub_id(source, name)
    with _quiet(library), in_one_line(source):
        config = library.AutoConfig.from_pretrained(location, local_files_only=local_only(location))
    named = (config.architectures or [""])[0]
    has_head = named.endswith(("ForVideoClassification", "ForImageClassification"))
    is_pair = config.model_type in IMAGE_TEXT_KINDS
    seen = config.vision_config if is_pair else config
    base = library.MODEL_MAPPING.get(type(config), None)
    if not (is_pair or _sees(base, config.model_type)):
        raise CheckpointError(
            f"{source} is a {named or config.model_type}, which is no vision or video tower;"
            f" supported: {_SUPPORTED}"
        )
    tokenizer, text = b"", None
    if is_pair and not (has_head or encoder_only):
        tokenizer, text = _tokenizer(source, location, config.text_config)
    labels = _labels(config) if has_head and not encoder_only else None
    whole = getattr(library, named) if has_head and (is_pair or not encoder_only) else base
    is_whole = not is_pair or text is not None or labels is not None
    protocol = _protocol(source, library, location, seen)
    return External(
        config=ExternalConfig(
            library="transformers",
            network=(whole if is_whole else library.MODEL_MAPPING[type(seen)]).__name__,
            settings=_settings(config if is_whole else seen),
            width=getattr(seen, "hidden_size", None) or seen.hidden_sizes[-1],
            num_frames=protocol.num_frames,
            image_size=protocol.crop_size,
            num_classes=None if labels is None else len(labels),
            tokenizer=text,
        ),
        protocol=protocol,
        labels=None if labels is None or labels[0] == "LABEL_0" else labels,  # no names were given
        weights=location,
        whole=whole.__name__,
        tokenizer=tokenizer,
    )


def read(found: External) -> nn.Module:
    """Read the weights.

    Raises:
        ValueError: the file has none for a part of the model.
    """
    library = require("transformers", extra="transformers")
    with _quiet(library):
        network, report = getattr(library, found.whole).from_pretrained(
            found.weights,
            dtype=torch.float32,
            local_files_only=local_only(str(found.weights)),
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    for name in [name for name in missing if "pooler" in name]:
        # A classifier's file has none, and nothing here looks at it.
        network.get_parameter(name).data.zero_()
        missing.remove(name)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(f"no weights for {', '.join(missing[:3])}{more}")
    return network


def _folder_or_hub_id(source: str, name: str) -> str:
    path = Path(name).expanduser()
    if name and path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path} has no config.json: not a folder of transformers")
        return str(path)
    is_path = path.is_absolute() or name.startswith(("./", "../", "~"))
    if is_path or not name or name.count("/") > 1:
        raise CheckpointError(f"no such folder: {name!r}; {source!r} names a folder or a hub id")
    return name


def _sees(cls: Any, kind: str) -> bool:
    """Tell whether a model takes images, or clips in a way that is known here."""
    takes = getattr(cls, "main_input_name", None)
    return takes == "pixel_values" or (takes == "pixel_values_videos" and kind in VIDEO_KINDS)


def _settings(config: Any) -> dict[str, Any]:
    values = json.loads(config.to_json_string(use_diff=True))
    return {name: value for name, value in values.items() if name not in _NOT_ITS_SHAPE}


def _labels(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))


def _tokenizer(
    source: str, location: str, text: Any
) -> tuple[bytes, ExternalTokenizerConfig | None]:
    """Return the tokenizer of a text tower; nothing, with a warning, where it cannot be read."""
    try:
        return read_tokenizer(location, text.max_position_embeddings)
    except FAILURES as error:
        _LOG.warning(
            "%s: its tokenizer cannot be read (%s); it is loaded without its text tower",
            source,
            first_line(error),
        )
        return b"", None


def _protocol(source: str, library: Any, location: str, config: Any) -> Preprocessing:
    """Return the input protocol: that of the processor, at the length of the model's clips."""
    is_video = config.model_type in VIDEO_KINDS
    length = getattr(config, "frames_per_clip", None) or getattr(config, "num_frames", None)
    num_frames = length if is_video and length else NUM_FRAMES
    for kind in ("AutoVideoProcessor", "AutoImageProcessor")[not is_video :]:
        with contextlib.suppress(*FAILURES), _quiet(library):
            found = getattr(library, kind).from_pretrained(
                location, local_files_only=local_only(location)
            )
            return _processed(found.to_dict(), num_frames)
    size = getattr(config, "image_size", None) or getattr(config, "crop_size", None) or 224
    mean, std = next(found for name, *found in _STATISTICS if name in config.model_type)
    _LOG.warning(
        "%s says nothing of its input; assumed: %d pixels, mean %s, std %s", source, size, mean, std
    )
    return _processed({"size": size, "image_mean": mean, "image_std": std}, num_frames)


def _processed(values: Mapping[str, Any], num_frames: int) -> Preprocessing:
    """Return what a processor of `transformers` does, as an input protocol."""
    resized, square = _side(values.get("size"))
    if values.get("max_num_patches"):  # as many patches as its budget has, in a square
        resized, square = int(values["max_num_patches"] ** 0.5) * values["patch_size"], True
    crop = _side(values.get("crop_size"))[0] if values.get("do_center_crop") else None
    if values.get("crop_pct") and resized and resized < 384:
        crop, resized = resized, int(resized / values["crop_pct"])
    resized = resized or crop or 224
    # Pixels are rescaled, shifted and normalised there; here they are numbers in [0, 1] first.
    scale = 255 * (values.get("rescale_factor") or 1 / 255)
    shift = 1.0 if values.get("offset") else 0.0
    normal = values.get("do_normalize", True) and values.get("image_mean") is not None
    return Preprocessing(
        num_frames=num_frames,
        sampling="middle",
        resize_rule="squash" if square else "short-side",
        resize_size=max(resized, crop or 0),
        crop_size=crop or resized,
        interpolation="bilinear" if int(values.get("resample") or 2) == 2 else "bicubic",
        antialias=True,
        mean=three((shift + m) / scale for m in (values["image_mean"] if normal else (0, 0, 0))),
        std=three(s / scale for s in (values["image_std"] if normal else (1, 1, 1))),
    )


def _side(size: Any) -> tuple[int | None, bool]:
    """Return a side in pixels, and whether it is that of a square."""
    match size:
        case int():
            return size, False
        case {"shortest_edge": int(edge)}:
            return edge, False
        case {"height": int(height), "width": int(width)} if height == width:
            return height, True
    return None, False


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep `transformers` from printing a table of the weights and a bar over them."""
    log = library.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
