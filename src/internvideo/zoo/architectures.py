"""The architectures whose files the library reads.

A new family adds a module to `kinds` and a line to `ARCHITECTURES`. Whoever has an architecture of
their own hands `(*ARCHITECTURES, mine)` to `load_model`, `read_directory` and `save_pretrained`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from internvideo.errors import CheckpointError, UnknownNameError, did_you_mean
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.kinds import (
    action_detection,
    actionformer,
    anticipation,
    dino,
    external,
    interaction,
    internvideo_mm,
    navigation,
    object_words,
    open_set,
    umt_multimodal,
    uniformer,
    uniformerv2,
    unmasked_teacher,
    viclip,
    videomae,
    vslnet,
)

__all__ = ["ARCHITECTURES", "find_architecture", "kind_of"]

ARCHITECTURES: tuple[Architecture, ...] = (
    videomae.PRETRAINING,
    action_detection.DETECTOR,
    anticipation.ANTICIPATOR,
    unmasked_teacher.PRETRAINING,
    unmasked_teacher.CLASSIFIER,
    videomae.CLASSIFIER,
    videomae.ENCODER,
    uniformerv2.CLASSIFIER,
    viclip.VICLIP,
    viclip.IMAGE_CLIP,
    internvideo_mm.QUESTION_ANSWERING,
    internvideo_mm.INTERNVIDEO_MM,
    internvideo_mm.TWO_TOWERS,
    umt_multimodal.MULTIMODAL,
    umt_multimodal.RETRIEVAL,
    unmasked_teacher.TEACHER,
    videomae.PROBE,
    open_set.OPEN_SET,
    object_words.OBJECT_WORDS,
    actionformer.ACTIONFORMER,
    vslnet.VSLNET,
    dino.DINO,
    navigation.NAVIGATOR,
    navigation.POLICY,
    navigation.WAYPOINTS,
    navigation.DEPTH,
    interaction.INTERACTION,
    uniformer.UNIFORMER,
    *external.EXTERNAL,
)
"""All architectures that the zoo can build, the most specific first."""


def find_architecture(
    name: str, *, architectures: Sequence[Architecture] = ARCHITECTURES
) -> Architecture:
    """Return the architecture of that id.

    Raises:
        UnknownNameError: there is none.
    """
    known = {each.id: each for each in architectures}
    if name not in known:
        raise UnknownNameError(
            f"unknown architecture {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}"
        )
    return known[name]


def kind_of(
    model: nn.Module, *, architectures: Sequence[Architecture] = ARCHITECTURES
) -> Architecture:
    """Return the architecture of a model.

    Raises:
        CheckpointError: none has the class of the model.
    """
    for each in architectures:
        if type(model) is each.model:
            return each
    raise CheckpointError(
        f"a {type(model).__name__} cannot be stored; the zoo knows"
        f" {', '.join(each.model.__name__ for each in architectures)}"
    )
