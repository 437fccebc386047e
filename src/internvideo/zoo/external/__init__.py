"""Models of other libraries by name, with their input protocol, classes and tokenizer.

    hf:facebook/vjepa2-vitl-fpc64-256      of transformers: a repository of the hub, or hf:/a/folder
    open-clip:ViT-B-32/laion2b_s34b_b79k   of open_clip: its name, and weights by their tag, a file
                                           or "random"; or open-clip:/a/folder

What such a model is (`External`) is told by its configuration alone; `load_external` gives it its
weights. Saved, it is a folder of this library like any other.
"""

from __future__ import annotations

from typing import Any

import torch

from internvideo.errors import CheckpointError
from internvideo.models.external import ExternalProbe
from internvideo.zoo.external import of_open_clip, of_transformers
from internvideo.zoo.external.description import External, in_one_line
from internvideo.zoo.hub import LoadedModel, Record
from internvideo.zoo.kinds.external import CLASSIFIER, ENCODER, EXTERNAL, TWO_TOWERS

__all__ = ["External", "describe_external", "is_external", "load_external", "start_probe"]

_LIBRARIES: dict[str, Any] = {"hf": of_transformers, "open-clip": of_open_clip}


def is_external(source: object) -> bool:
    """Tell whether a source names a model of another library."""
    return isinstance(source, str) and ":" in source and source.partition(":")[0] in _LIBRARIES


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
    prefix, _, name = source.partition(":")
    return _LIBRARIES[prefix].describe(source, name, encoder_only=encoder_only)


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
    with in_one_line(source):
        network = _LIBRARIES[source.partition(":")[0]].read(found)
    is_part = found.whole != config.network
    model.network = model.adapter.vision_tower(network) if is_part else network
    if found.tokenizer:
        model.tokenizer_json = torch.frombuffer(bytearray(found.tokenizer), dtype=torch.uint8)
    model.to(device=device, dtype=dtype or torch.float32).eval()
    record = Record(
        preprocessing=found.protocol, labels=found.labels, provenance={"source": source}
    )
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
