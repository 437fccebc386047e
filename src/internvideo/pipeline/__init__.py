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
from internvideo.pipeline.devices import choose_device
from internvideo.pipeline.model import VideoModel
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
            "open-clip:ViT-B-32/laion2b_s34b_b79k" for a model of `open_clip`, in their own code.
        device: "auto" takes a GPU if there is one; else "cpu", "cuda", "cuda:1", "mps".
        dtype: of the weights: "float32" (the default), "bfloat16" or "float16".
        card: for a weight file: the name of the released model that it is, which brings its input
            protocol and its labels. Without it the card is told by the file's name, or left open.
        labels: for a classifier: the classes wanted, as the name of a label map or as a list; the
            outputs are put into this order where the order they have is known.
        config: for a weight file: fields of the model's configuration that its shapes do not tell,
            such as {"num_frames": 32}; `internvideo models verify` says what is assumed.

    Raises:
        UnknownNameError: no such model; the message suggests the nearest names.
        CheckpointError: the weights cannot be had, are unsafe or broken, or fit no model.
        ConfigError: an impossible device or dtype.

    Example:
        >>> import internvideo as iv
        >>> model = iv.load("viclip-nano")  # doctest: +SKIP
        >>> model.classify("clip.mp4", ["something grows", "something shrinks"])  # doctest: +SKIP
    """
    place = choose_device(device)
    if isinstance(dtype, str):
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
        dtype = _DTYPES[dtype]
    loaded = load_model(
        source,
        device=place,
        dtype=dtype,
        card=card,
        labels=labels,
        config=config,
        architectures=all_architectures(),
    )
    return VideoModel(loaded)


def evaluate(
    model: VideoModel | str | Path,
    annotations: str | Path | AnnotatedData,
    task: str = "recognition",
    **options: Any,
) -> Report:
    """Measure a model on annotated videos, see `VideoModel.evaluate`.

    Args:
        model: a loaded one, or what `load` takes.
        annotations: an annotation file or folder in any format, or "world".
        task: such as "recognition" or "zero-shot".
        options: those of `VideoModel.evaluate`, and of the task.

    Example:
        >>> iv.evaluate("videomae-nano", "world", num_workers=4).top1  # doctest: +SKIP
    """
    loaded = model if isinstance(model, VideoModel) else load(model)
    return loaded.evaluate(annotations, task, **options)
