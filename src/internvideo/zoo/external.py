"""Models of other libraries by name, with their input protocol, classes and tokenizer.

    hf:facebook/vjepa2-vitl-fpc64-256      of transformers: a repository of the hub, or hf:/a/folder
    open-clip:ViT-B-32/laion2b_s34b_b79k   of open_clip: its name, and weights by their tag, a file
                                           or "random"; or open-clip:/a/folder

What such a model is (`External`) is told by its configuration alone; `load_external` gives it its
weights. Whatever is saved after that is a folder of this library.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import nn

from internvideo.errors import CheckpointError, UnknownNameError, did_you_mean, require
from internvideo.models.external import (
    ExternalConfig,
    ExternalProbe,
    ExternalTokenizerConfig,
)
from internvideo.models.external_transformers import IMAGE_TEXT_KINDS, VIDEO_KINDS
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.transforms import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from internvideo.zoo import environment
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.kinds.external import CLASSIFIER, ENCODER, EXTERNAL, TWO_TOWERS
from internvideo.zoo.repository import hub_is_known

__all__ = ["External", "describe_external", "is_external", "load_external", "start_probe"]

_LOG = logging.getLogger(__name__)
_TRANSFORMERS, _OPEN_CLIP = "hf:", "open-clip:"
_RANDOM = "random"
_FRAMES = 8  # of an image model
_HALF = (0.5, 0.5, 0.5)
_SUPPORTED = (
    f"video towers ({', '.join(VIDEO_KINDS)}), image-text models ({', '.join(IMAGE_TEXT_KINDS)}),"
    " and image models that take pixel_values (dinov2, dinov3_vit, vit, …)"
)
_FAILURES = (
    SafetensorError,
    OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError,
    pickle.UnpicklingError,
)  # fmt: skip
"""What those libraries raise for files that are absent, broken, or of an unknown kind."""


@dataclass(frozen=True, kw_only=True)
class External:
    """What a name stands for, before its weights are read.

    Attributes:
        name: as it was given.
        config: of the model.
        protocol: its input protocol.
        labels: classes of a classifier.
        location: folder, hub id or file of the weights; None draws them at random.
        whole: class in the other library that the file holds, of which `config` may be a part.
        tokenizer: content of `tokenizer.json`.
    """

    name: str
    config: ExternalConfig
    protocol: Preprocessing
    labels: tuple[str, ...] | None = None
    location: str | None
    whole: str
    tokenizer: bytes = b""


def is_external(source: object) -> bool:
    """Tell whether a source names a model of another library."""
    return isinstance(source, str) and source.startswith((_TRANSFORMERS, _OPEN_CLIP))


def describe_external(source: str, *, encoder_only: bool = False) -> External:
    """Find out what a name stands for; reads configurations, no weights.

    Args:
        source: see the head of this module.
        encoder_only: the part that sees, without head and text tower.

    Raises:
        MissingExtraError: `transformers` is needed and not installed.
        UnknownNameError: open_clip has no such model or weights.
        CheckpointError: nothing there, the hub is not reachable, or a kind that is not supported.
    """
    if source.startswith(_TRANSFORMERS):
        return _of_transformers(source, encoder_only)
    return _of_open_clip(source, encoder_only)


def load_external(
    source: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    encoder_only: bool = False,
) -> LoadedModel:
    """Load a model of another library; see `describe_external`."""
    found = describe_external(source, encoder_only=encoder_only)
    config = found.config
    kind = CLASSIFIER if config.num_classes else TWO_TOWERS if config.tokenizer else ENCODER
    model: Any = kind.build(config)
    with _one_line(source):
        read = _transformers_weights if config.library == "transformers" else _open_clip_weights
        network = read(found)
        if found.whole != config.network:
            network = model.adapter.vision_tower(network)
    model.network = network
    if found.tokenizer:
        model.tokenizer_json = torch.frombuffer(bytearray(found.tokenizer), dtype=torch.uint8)
    record = Record(
        preprocessing=found.protocol, labels=found.labels, provenance={"source": source}
    )
    model.to(device=device, dtype=dtype or torch.float32).eval()
    return LoadedModel(model, record, architectures=EXTERNAL)


def start_probe(model: ExternalProbe, source: str) -> None:
    """Give the encoder of a probe its weights.

    Raises:
        CheckpointError: `source` is another model than that of the probe.
    """
    start: Any = load_external(source, encoder_only=True).model
    given, wanted = start.config, model.encoder.config
    if (given.network, given.settings) != (wanted.network, wanted.settings):
        raise CheckpointError(f"{source} is a {given.network} of another shape than model.encoder")
    model.encoder.network.load_state_dict(start.network.state_dict())


# --- transformers -----------------------------------------------------------------------------


def _of_transformers(source: str, encoder_only: bool) -> External:
    library = require("transformers", extra="transformers")
    location = _folder_or_hub_id(source, source.removeprefix(_TRANSFORMERS))
    local = {"local_files_only": _local_only(location)}
    with _one_line(source):
        config = library.AutoConfig.from_pretrained(location, **local)
    kind, named = config.model_type, (config.architectures or [""])[0]
    is_classifier = named.endswith(("ForVideoClassification", "ForImageClassification"))
    two_towers = kind in IMAGE_TEXT_KINDS
    cls = library.MODEL_MAPPING.get(type(config), None)
    if is_classifier and not encoder_only:
        cls = getattr(library, named, None)
    seen, whole = config, cls
    if two_towers:
        seen = config.vision_config
    elif getattr(cls, "main_input_name", None) not in ("pixel_values", "pixel_values_videos") or (
        cls.main_input_name == "pixel_values_videos" and kind not in VIDEO_KINDS
    ):
        raise CheckpointError(
            f"{source} is a {named or kind}, which is no vision or video tower; supported:"
            f" {_SUPPORTED}"
        )
    tokenizer, text = b"", None
    if two_towers and not encoder_only:
        tokenizer, text = _tokenizer(source, location, config.text_config)
    if two_towers and text is None:
        cls = library.MODEL_MAPPING[type(seen)]
    protocol = _transformers_protocol(source, library, location, local, seen)
    labels = _classes(config) if is_classifier and not encoder_only else None
    described = ExternalConfig(
        library="transformers",
        network=cls.__name__,
        settings=_settings(config if text else seen),
        width=_width(seen),
        num_frames=protocol.num_frames,
        image_size=protocol.crop_size,
        num_classes=labels and len(labels),
        tokenizer=text,
    )
    named_labels = (
        labels if labels != tuple(f"LABEL_{n}" for n in range(len(labels or ()))) else None
    )
    return External(
        name=source,
        config=described,
        protocol=protocol,
        labels=named_labels,
        location=location,
        whole=whole.__name__,
        tokenizer=tokenizer,
    )


def _settings(config: Any) -> dict[str, Any]:
    """Return the configuration of a model as plain data, without what is not its shape."""
    import json

    values = json.loads(config.to_json_string(use_diff=True))
    left = ("_name_or_path", "architectures", "dtype", "id2label", "label2id",
            "transformers_version", "torch_dtype", "problem_type")  # fmt: skip
    return {name: value for name, value in values.items() if name not in left}


def _width(config: Any) -> int:
    """Return the width of the tokens."""
    if getattr(config, "hidden_size", None):
        return config.hidden_size
    return config.hidden_sizes[-1]


def _classes(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))


def _transformers_weights(found: External) -> nn.Module:
    library = require("transformers", extra="transformers")
    with _quiet(library):
        network, report = getattr(library, found.whole).from_pretrained(
            found.location,
            dtype=torch.float32,
            local_files_only=_local_only(str(found.location)),
            output_loading_info=True,
        )
    # A pooler that a classifier's file does not have is not used here.
    missing = [name for name in report["missing_keys"] if "pooler" not in name]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(f"no weights for {', '.join(sorted(missing)[:3])}{more}")
    return network


def _tokenizer(
    source: str, location: str, text: Any
) -> tuple[bytes, ExternalTokenizerConfig | None]:
    """Return the tokenizer of a text tower; nothing, with a warning, where it cannot be read."""
    try:
        return _read_tokenizer(location, text.max_position_embeddings)
    except _FAILURES as error:
        _LOG.warning(
            "%s: its tokenizer cannot be read (%s); it is loaded without its text tower",
            source,
            _first_line(error),
        )
        return b"", None


def _transformers_protocol(
    source: str, library: Any, location: str, local: Mapping[str, Any], config: Any
) -> Preprocessing:
    """Return the input protocol of a model: that of its processor, at the length of its clips."""
    is_video = config.model_type in VIDEO_KINDS
    length = getattr(config, "frames_per_clip", None) or getattr(config, "num_frames", None)
    num_frames = length if is_video and length else _FRAMES
    for kind in ("AutoVideoProcessor", "AutoImageProcessor")[not is_video :]:
        with contextlib.suppress(*_FAILURES):
            values = getattr(library, kind).from_pretrained(location, **local).to_dict()
            return _processed(values, num_frames)
    size = getattr(config, "image_size", None) or getattr(config, "crop_size", None) or 224
    known = (
        ("siglip", _HALF, _HALF),
        ("clip", CLIP_MEAN, CLIP_STD),
        ("", IMAGENET_MEAN, IMAGENET_STD),
    )
    mean, std = next(found for name, *found in known if name in config.model_type)
    _LOG.warning(
        "%s says nothing of its input: %d pixels, mean %s and std %s are assumed",
        source, size, mean, std,
    )  # fmt: skip
    return _processed({"size": size, "image_mean": mean, "image_std": std}, num_frames)


def _processed(values: Mapping[str, Any], num_frames: int) -> Preprocessing:
    """Return what a processor of `transformers` does, as an input protocol."""
    resized, square = _side(values.get("size"))
    if values.get("max_num_patches"):  # as many patches as the budget has, in a square
        resized, square = int(values["max_num_patches"] ** 0.5) * values["patch_size"], True
    crop = _side(values.get("crop_size"))[0] if values.get("do_center_crop") else None
    if values.get("crop_pct") and resized and resized < 384:
        crop, resized = resized, int(resized / values["crop_pct"])
    resized = resized or crop or 224
    # pixels are rescaled, shifted and normalised; here they are numbers in [0, 1] at first
    scale = 255 * (values.get("rescale_factor") or 1 / 255)
    shift = 1.0 if values.get("offset") else 0.0
    normal = values.get("do_normalize", True) and values.get("image_mean") is not None
    mean = values["image_mean"] if normal else (0.0, 0.0, 0.0)
    std = values["image_std"] if normal else (1.0, 1.0, 1.0)
    return Preprocessing(
        num_frames=num_frames,
        sampling="middle",
        resize_rule="squash" if square else "short-side",
        resize_size=max(resized, crop or 0),
        crop_size=crop or resized,
        interpolation="bilinear" if int(values.get("resample") or 2) == 2 else "bicubic",
        antialias=True,
        mean=_three((shift + each) / scale for each in mean),
        std=_three(each / scale for each in std),
    )


def _three(values: Iterator[float]) -> tuple[float, float, float]:
    first, second, third = (round(float(each), 8) for each in values)
    return first, second, third


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


# --- open_clip --------------------------------------------------------------------------------


def _of_open_clip(source: str, encoder_only: bool) -> External:
    import open_clip

    text = source.removeprefix(_OPEN_CLIP)
    folder = Path(text).expanduser()
    if folder.is_absolute() or text.startswith("."):
        model, protocol, location = _open_clip_folder(source, folder)
        name = str(folder)
    else:
        name, _, weights = text.partition("/")
        model = open_clip.get_model_config(name)
        if model is None:
            raise UnknownNameError(
                f"open_clip has no model {name!r}.{did_you_mean(name, open_clip.list_models())}"
            )
        protocol, location = _open_clip_tag(source, name, weights, model)
    custom = model.pop("custom_text", False) or "hf_model_name" in model["text_cfg"]
    whole = ("CoCa" if "multimodal_cfg" in model else "CustomTextCLIP") if custom else "CLIP"
    vision, towards = dict(model["vision_cfg"]), dict(model["text_cfg"])
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if "hf_model_name" in towards:
        towards["hf_model_pretrained"] = False
    tokenizer, words = b"", None
    if not encoder_only:
        tokenizer, words = _open_clip_tokenizer(source, towards, folder)
    protocol = _open_clip_protocol(protocol, vision)
    return External(
        name=source,
        config=ExternalConfig(
            library="open_clip",
            network=whole if words else f"{whole}.visual",
            settings={**model, "vision_cfg": vision, "text_cfg": towards},
            width=_open_clip_width(vision),
            num_frames=protocol.num_frames,
            image_size=protocol.crop_size,
            tokenizer=words,
        ),
        protocol=protocol,
        location=location,
        whole=whole,
        tokenizer=tokenizer,
    )


def _open_clip_folder(source: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return model, input and weights of a folder that open_clip wrote for the hub."""
    import json

    path = folder / "open_clip_config.json"
    with _one_line(source):
        values = json.loads(path.read_text(encoding="utf-8"))
        model, protocol = values["model_cfg"], values.get("preprocess_cfg", {})
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        if (folder / name).is_file():
            return model, protocol, str(folder / name)
    raise CheckpointError(f"{folder} has no open_clip_model.safetensors")


def _open_clip_tag(
    source: str, name: str, weights: str, model: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """Return the input of a built-in model and where its weights are, to be downloaded later."""
    import open_clip

    if weights == _RANDOM:
        return {}, None
    tag = open_clip.get_pretrained_cfg(name, weights) if weights else {}
    if tag:
        # The activation belongs to the weights: open_clip warns of another one, and goes on.
        model["quick_gelu"] = tag.get("quick_gelu", False)
        return tag, f"tag:{name}/{weights}"
    path = Path(weights).expanduser()
    if weights and path.is_file():
        return {}, str(path)
    tags = open_clip.list_pretrained_tags_by_model(name)
    said = f"has no weights {weights!r}" if weights else "needs its weights"
    raise UnknownNameError(
        f"{source} {said}: {_OPEN_CLIP}{name}/WEIGHTS with one of {', '.join(tags) or 'no tags'},"
        f" a file, or {_RANDOM!r}.{did_you_mean(weights, tags)}"
    )


def _open_clip_protocol(values: Mapping[str, Any], vision: Mapping[str, Any]) -> Preprocessing:
    """Return how open_clip prepares an image, as an input protocol."""
    size = vision.get("image_size", 224)
    side = size if isinstance(size, int) else size[0]
    mean, std = values.get("mean") or CLIP_MEAN, values.get("std") or CLIP_STD
    return Preprocessing(
        num_frames=_FRAMES,
        sampling="middle",
        resize_rule="squash" if values.get("resize_mode") == "squash" else "short-side",
        resize_size=side,
        crop_size=side,
        interpolation="bilinear" if values.get("interpolation") == "bilinear" else "bicubic",
        antialias=True,
        mean=_three(iter(mean)),
        std=_three(iter(std)),
    )


def _open_clip_width(vision: Mapping[str, Any]) -> int:
    """Return the width of the tokens of an image tower."""
    if "timm_model_name" in vision:
        import timm

        with torch.device("meta"):
            return timm.create_model(vision["timm_model_name"], num_classes=0).num_features
    if isinstance(vision.get("layers"), list | tuple):  # a residual network
        return 32 * vision.get("width", 64)
    return vision.get("width", 768)


def _open_clip_tokenizer(
    source: str, text: Mapping[str, Any], folder: Path
) -> tuple[bytes, ExternalTokenizerConfig]:
    length, name = text.get("context_length", 77), text.get("hf_tokenizer_name")
    if not name:
        return b"", ExternalTokenizerConfig(context_length=length)
    options = dict(text.get("tokenizer_kwargs") or {})
    clean = options.pop("clean", "whitespace")
    if options or text.get("tokenizer_mode"):
        raise CheckpointError(
            f"{source}: its tokenizer has options that are not supported: "
            f"{', '.join(options) or 'tokenizer_mode'}"
        )
    location = str(folder) if (folder / "tokenizer.json").is_file() else name
    with _one_line(f"{source}: its tokenizer {location}"):
        return _read_tokenizer(location, length, clean=clean)


def _open_clip_weights(found: External) -> nn.Module:
    import open_clip

    from internvideo.models import external_open_clip

    network = external_open_clip.build(found.whole, found.config.settings, None)
    location = found.location
    if location is None:
        return network
    if location.startswith("tag:"):
        location = _open_clip_download(*location.removeprefix("tag:").split("/"))
    open_clip.load_checkpoint(network, location, strict=True, weights_only=True, device="cpu")
    return network


def _open_clip_download(name: str, tag: str) -> str:
    """Return the file of a tag, from the cache of the hub or from the hub."""
    import open_clip
    from huggingface_hub import hf_hub_download

    about = open_clip.get_pretrained_cfg(name, tag)
    repository, _, file = str(about.get("hf_hub") or "").rpartition("/")
    if not repository:
        if environment.is_offline():
            raise OSError(f"the weights {tag} lie at {about.get('url')}, and this is offline")
        return open_clip.download_pretrained(about)
    wanted = file or "open_clip_model.safetensors"
    return hf_hub_download(repository, wanted, local_files_only=_local_only(repository))


# --- both -------------------------------------------------------------------------------------


def _read_tokenizer(
    location: str, length: int, *, clean: Any = "none"
) -> tuple[bytes, ExternalTokenizerConfig]:
    """Return the `tokenizer.json` of a folder or hub id, and how it is used."""
    library = require("transformers", extra="transformers")
    found = library.AutoTokenizer.from_pretrained(location, local_files_only=_local_only(location))
    content = found.backend_tokenizer.to_str().encode()
    return content, ExternalTokenizerConfig(
        context_length=min(found.model_max_length, length),
        num_bytes=len(content),
        pad_id=found.pad_token_id or 0,
        padding_side=found.padding_side,
        clean=clean,
    )


def _folder_or_hub_id(source: str, text: str) -> str:
    """Return the folder, or the hub id, that a name stands for."""
    path = Path(text).expanduser()
    if text and path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path} has no config.json: not a folder of transformers")
        return str(path)
    parts = text.split("/")
    if path.is_absolute() or text.startswith(("./", "../", "~")) or len(parts) > 2 or not text:
        raise CheckpointError(f"no such folder: {text!r}; {source!r} names a folder or a hub id")
    return text


def _local_only(location: str) -> bool:
    """Tell whether the hub must not, or cannot, be asked."""
    return Path(location).is_dir() or environment.is_offline() or not hub_is_known()


@contextlib.contextmanager
def _one_line(source: str) -> Iterator[None]:
    """Turn what another library raises into one line about a source."""
    try:
        yield
    except CheckpointError:
        raise
    except _FAILURES as error:
        reason = _first_line(error)
        if isinstance(error, LocalEntryNotFoundError) or "couldn't connect" in reason:
            reason = "it is not in the hub's cache, and the hub is not reachable"
        raise CheckpointError(f"{source} cannot be loaded: {reason}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


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
