"""The model that a measure is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from internvideo.pipeline import VideoModel

__all__ = ["load_measured"]


def load_measured(
    model: str,
    *,
    protocol: str | None,
    device: str,
    card: str | None = None,
    labels: str | None = None,
) -> tuple[VideoModel, str | None]:
    """Load a model, under another input protocol where one is given.

    Args:
        model: name, file, folder or hub id.
        protocol: name of a preset; None is what the model came with.
        device: auto, cpu, cuda, cuda:1, mps.
        card: for a weight file: the released model that it is.
        labels: for a classifier: the order of its outputs, as the name of a label map.

    Returns:
        The model, and what a report is to call it: as the user did, or None where a card names it.
    """
    from internvideo.pipeline import load

    loaded = load(model, device=device, card=card, labels=labels)
    if protocol is not None:
        loaded = loaded.with_preprocessing(protocol)
    return loaded, None if loaded.card else model
