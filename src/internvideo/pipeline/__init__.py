"""The front door: `load` a model, then ask it about videos.

    video ──► Preprocessing ──► model ──► Classification   (of your sentences, or its own classes)
                                     ├──► embedding        (unit length; nearest is most alike)
                                     └──► caption          (of a model with a caption decoder)

A `VideoModel` is a model together with what belongs to it: its input protocol, its class names or
its tokenizer, its card. Videos can be paths, URLs, bytes, `Video` objects, or uint8 frames. They
are decoded in the background while the model works, and many of them are encoded together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from internvideo.errors import ConfigError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.report import Report
from internvideo.pipeline.auto import AUTO, automatic_card
from internvideo.pipeline.model import VideoModel, choose_device
from internvideo.tasks.registry import all_architectures
from internvideo.video.opening import AnyVideo
from internvideo.zoo.load import load_model

__all__ = ["AnyVideo", "VideoModel", "choose_device", "evaluate", "load"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    source: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    card: str | None = None,
    labels: str | Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> VideoModel:
    """Load a model by name, from a file or folder, or from the Hugging Face hub.

    Args:
        source: a name that `list_models` lists ("viclip-nano"), the path of a weight file, a folder
            of `save_pretrained`, of transformers or of open_clip, or a hub id ("owner/repository");
            "hf:owner/repository", "hf:/a/folder" for an encoder of `transformers`, and
            "open-clip:ViT-B-32/laion2b_s34b_b79k" for a model of `open_clip`, in their own code;
            "auto" for the best model of videos and sentences that this machine has, see
            `pipeline.auto`.
        device: "auto" takes a GPU if there is one; else "cpu", "cuda", "cuda:1", "mps".
        dtype: of the weights: "float32" (the default), "bfloat16" or "float16".
        card: for a weight file: the name of the released model that it is, which brings its input
            protocol and its labels. Without it the file's name decides, or there is no card.
        labels: for a classifier: the classes wanted, as the name of a label map or as a list; the
            outputs are put into this order where the order they have is known.
        config: for a weight file: fields of the model's configuration that its shapes do not tell,
            such as {"num_frames": 32}; `internvideo models verify` says what is assumed.

    Raises:
        UnknownNameError: no such model; the message suggests the nearest names.
        CheckpointError: the weights cannot be fetched, are unsafe or broken, or fit no model.
        ConfigError: an impossible device or dtype.

    Example:
        >>> import internvideo as iv
        >>> model = iv.load("auto")  # doctest: +SKIP
        >>> model.classify("clip.mp4", ["a dog in the snow", "a concert"])  # doctest: +SKIP
    """
    place = choose_device(device)
    if isinstance(dtype, str):
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
        dtype = _DTYPES[dtype]
    chosen = automatic_card() if source == AUTO else None
    loaded = load_model(
        source if chosen is None else chosen.name,
        device=place,
        dtype=dtype,
        card=card,
        labels=labels,
        config=config,
        architectures=all_architectures(),
    )
    return VideoModel(loaded, refuse_unknown_words=chosen is not None)


def evaluate(
    model: VideoModel | str | Path,
    annotations: str | Path | AnnotatedData,
    task: str = "recognition",
    **options: Any,
) -> Report:
    """Measure a loaded model, or one that `load` loads, see `VideoModel.evaluate`.

    Example:
        >>> iv.evaluate("videomae-nano", "world", num_workers=4).top1  # doctest: +SKIP
    """
    loaded = model if isinstance(model, VideoModel) else load(model)
    return loaded.evaluate(annotations, task, **options)
