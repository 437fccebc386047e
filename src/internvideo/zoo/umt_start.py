"""Where the second stage of the unmasked teacher starts from.

stage 1 (a student) ─────► video encoder and decoders
BERT (a file of its own) ─► text tower, all but its attention to the video
stage 2 (multimodal) ────► all of it, less what a model for retrieval has no place for
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from internvideo.errors import CheckpointError
from internvideo.models.bert import text_state_from_bert
from internvideo.models.umt_multimodal import UMTMultimodal
from internvideo.models.unmasked_teacher import UnmaskedTeacher
from internvideo.zoo.checkpoint import read_checkpoint
from internvideo.zoo.identify import Fit
from internvideo.zoo.load import Transferred, load_encoder_weights, load_model

__all__ = ["load_multimodal_start", "load_text_start"]

_LOG = logging.getLogger(__name__)
_BERT_FILES = ("model.safetensors", "pytorch_model.bin")


def load_multimodal_start(model: UMTMultimodal, source: str | Path) -> Transferred:
    """Give a model the weights of either stage of an unmasked teacher, in place.

    Of a student its decoders are taken too. Another file with a video encoder gives that alone.

    Args:
        model: what shall start from it.
        source: as for `load_model`.

    Raises:
        CheckpointError: the file cannot be read, or its parts have other shapes than the model's.
    """
    given = load_model(source).model
    if isinstance(given, UMTMultimodal):
        return _take(model, given.state_dict(), source)
    if not isinstance(given, UnmaskedTeacher):
        return load_encoder_weights(model, source)
    state = {f"vision_encoder.{name}": tensor for name, tensor in given.state_dict().items()}
    return _take(model, state, source, optional=True)


def load_text_start(model: UMTMultimodal, source: str | Path) -> Transferred:
    """Give the text tower of a model the weights of a plain BERT, in place.

    Args:
        model: what shall start from it; its attentions to the video stay fresh.
        source: a weight file such as that of "bert-base-uncased", or the folder that holds it.

    Raises:
        CheckpointError: there is no such file, or it is no BERT of this size.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = next((path / name for name in _BERT_FILES if (path / name).is_file()), None)
        if found is None:
            raise CheckpointError(f"{path} has none of {', '.join(_BERT_FILES)}")
        path = found
    state = text_state_from_bert(read_checkpoint(path).state, model.config.text)
    named = {f"text_encoder.{name}": tensor for name, tensor in state.items()}
    return _take(model, named, path, optional=True)


def _take(
    model: UMTMultimodal, state: Mapping[str, Tensor], source: str | Path, *, optional: bool = False
) -> Transferred:
    """Load what the model has a place for; `optional` lets the rest of the model stay fresh."""
    own = model.state_dict()
    taken = {name: tensor for name, tensor in state.items() if name in own}
    fresh = tuple(name for name in own if name not in taken)
    fit = Fit(
        architecture="",
        layout="",
        config=None,
        missing=() if optional else fresh,
        mismatched={
            name: (tuple(tensor.shape), tuple(own[name].shape))
            for name, tensor in taken.items()
            if tensor.shape != own[name].shape
        },
    )
    if fit.missing or fit.mismatched:
        raise CheckpointError(f"{source} does not fit the model: {fit.explain()}")
    model.load_state_dict(taken, strict=False)
    left = tuple(name for name in state if name not in own)
    _LOG.info("%s: %d tensors taken, %d left, %d new", source, len(taken), len(left), len(fresh))
    return Transferred(loaded=len(taken), left=left, fresh=fresh, head="none")
