"""Where a model of several parts starts from; that of a video encoder alone is in `transfer`.

| model                        | starts from                                                |
|------------------------------|------------------------------------------------------------|
| ViCLIP                       | image CLIP; a ViCLIP (a second stage)                      |
| InternVideo-MM               | image CLIP; an InternVideo-MM                              |
| … that answers questions     | the same; one that answers                                 |
| a small one, on a `VideoViT` | a small ViCLIP; any video encoder                          |
| UMT's second stage           | its first stage; a second stage; any video encoder; a BERT |
| UMT's teacher                | image CLIP                                                 |

Tables of positions and patch kernels are fitted to the model. What the start cannot have stays as
it was initialised; anything else must be there, with its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from internvideo.errors import CheckpointError, ConfigError
from internvideo.models.bert import BertConfig, BertFusionEncoder, text_state_from_bert
from internvideo.models.clip_init import (
    fit_clip_text_positions,
    inflate_patch_kernel,
    merge_weights,
    names_as_in_clip,
    resize_spatial_positions,
    resize_temporal_positions,
    resize_text_positions,
    wise_ft_names,
)
from internvideo.models.clip_teacher import CLIPTeacher, CLIPTeacherConfig
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.models.internvideo_qa import InternVideoQA
from internvideo.models.pooled_vit import PooledVideoViT
from internvideo.models.umt_multimodal import UMTMultimodal
from internvideo.models.unmasked_teacher import UnmaskedTeacher
from internvideo.models.viclip import ViCLIP
from internvideo.models.viclip_vision import ViCLIPVision
from internvideo.zoo.checkpoint import read_checkpoint
from internvideo.zoo.identify import compare
from internvideo.zoo.kinds.unmasked_teacher import TEACHER
from internvideo.zoo.load import load_model
from internvideo.zoo.transfer import (
    NEW_IN_UNIFORMER,
    Transferred,
    load_encoder_weights,
    load_weights,
)

__all__ = [
    "AverageRule",
    "TwoTowers",
    "average_models",
    "average_with_start",
    "load_answering_start",
    "load_bert",
    "load_clip_teacher",
    "load_multimodal_start",
    "load_text_start",
    "load_towers",
]

TwoTowers: TypeAlias = ViCLIP | InternVideoMM
AverageRule: TypeAlias = Literal["zero-shot", "retrieval"]

_TIME = "vision_encoder.temporal_positional_embedding"
_TEXT_POSITIONS = "text_encoder.positional_embedding"
_BERT_FILES = ("model.safetensors", "pytorch_model.bin")
# What InternVideo-MM has and image CLIP has not, or a file for retrieval.
_NEW_IN_MM = (
    *(f"visual.{name}" for name in NEW_IN_UNIFORMER),
    "text_mask_embedding",
    "caption_decoder.",
)


def load_towers(model: TwoTowers, source: str | Path) -> Transferred:
    """Give both towers the weights of a pretrained model, in place; see the module's docstring.

    Tables of positions in time and, beyond the length of the file, those of a text grow by
    interpolation (zeros behind image CLIP's, as in ViCLIP's code), and shrink to the first ones.

    Args:
        model: changed in place.
        source: as for `load_model`.

    Raises:
        CheckpointError: the file has no tower for this model, or one of another shape.
    """
    return _start_towers(model, load_model(source).model, source)


def _start_towers(model: TwoTowers, start: nn.Module, source: str | Path) -> Transferred:
    if not isinstance(start, TwoTowers):
        tower = model.visual if isinstance(model, InternVideoMM) else model.vision_encoder
        if not isinstance(tower, PooledVideoViT):
            raise CheckpointError(
                f"the video tower of this {type(model).__name__} starts from an image CLIP, such as"
                " openai-clip-vit-b-16, or from a model of its own kind"
            )
        return load_encoder_weights(tower, source)
    from_image = _is_image_clip(start)
    small = isinstance(start, ViCLIP) and isinstance(start.vision_encoder, PooledVideoViT)
    if isinstance(model, InternVideoMM) and (from_image or small):
        given = _mm_from_clip(start.state_dict())
    elif type(start) is type(model):
        given = dict(start.state_dict())
    else:
        raise CheckpointError(
            f"{source} is a {type(start).__name__}, which is no start of a {type(model).__name__}"
        )
    own = model.state_dict()
    new = _NEW_IN_MM
    if from_image:
        # The temperature of a ViCLIP starts at its `temp_init`, whatever image CLIP had.
        given.pop("temp", None)
        new = (*_NEW_IN_MM, "temp")
    _fit_tables(given, own, from_image=from_image)
    fresh = tuple(n for n in own if n not in given and n.startswith(new))
    return load_weights(model, given, source, fresh=fresh)


def load_answering_start(model: InternVideoQA, source: str | Path) -> Transferred:
    """Give a model that answers the weights of a pretrained one, in place.

    Another model that answers gives its classifier too where it has as many answers; of any other
    model the towers start as by `load_towers`, and the classifier stays fresh.

    Args:
        model: changed in place.
        source: as for `load_model`.

    Raises:
        CheckpointError: the file has no towers for this model, or of another shape.
    """
    start = load_model(source).model
    if not isinstance(start, InternVideoQA):
        return _start_towers(model.towers, start, source)
    given = dict(start.state_dict())
    fresh: tuple[str, ...] = ()
    if start.config.num_classes != model.config.num_classes:
        fresh = tuple(name for name in given if name.startswith("vqa_classifier.5."))
    kept = {name: tensor for name, tensor in given.items() if name not in fresh}
    return load_weights(model, kept, source, fresh=fresh)


def average_models(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Return the mean of the weights of models of one shape (a "soup", arXiv 2203.05482).

    The reference's question answering starts from such a mean where it is given several files.

    Raises:
        CheckpointError: they differ in names or shapes.
    """
    states = [model.state_dict() for model in models]
    for state in states[1:]:
        fit = compare(
            {name: tuple(tensor.shape) for name, tensor in state.items()},
            {name: tuple(tensor.shape) for name, tensor in states[0].items()},
        )
        if not fit.ok:
            raise CheckpointError(f"models of different shapes have no mean: {fit.explain()}")
    return {
        name: torch.stack([state[name].float() for state in states]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[0].items()
    }


@torch.no_grad()
def average_with_start(
    model: TwoTowers,
    start: str | Path,
    *,
    weight: float = 0.5,
    rule: AverageRule = "zero-shot",
) -> None:
    """Average trained weights with those of the image CLIP they started from, in place (WiSE-FT).

    All published zero-shot numbers of ViCLIP and InternVideo-MM are of such averages, with weight
    0.5 where nothing else is said. ViCLIP averages every tensor but its positions in time, its
    temperature too (with its start value). What InternVideo-MM averages depends on the benchmark.

    Args:
        model: the trained model.
        start: the image CLIP, as for `load_model`.
        weight: share of the trained weights, 0 to 1.
        rule: of InternVideo-MM. "zero-shot" (classification, multiple choice, question answering):
            what CLIP has, of both towers the first twelve blocks, and not its scale, so that of
            L/14 the video blocks 12 to 23 stay as trained. "retrieval" ("mergeclip"): all blocks
            and the scale, but not the projection of the video tower.

    Raises:
        CheckpointError: `start` does not fit the model.
        ConfigError: the rule "retrieval" for a ViCLIP.
    """
    base = type(model)(model.config)  # type: ignore[arg-type]
    keep = {_TIME, *load_towers(base, start).fresh} - {"temp"}
    if isinstance(model, InternVideoMM):
        averaged = wise_ft_names if rule == "zero-shot" else names_as_in_clip
        keep |= model.state_dict().keys() - averaged(model.state_dict())
    elif rule == "retrieval":
        raise ConfigError(
            "only an InternVideo-MM is averaged otherwise for retrieval; leave it out"
        )
    model.load_state_dict(
        merge_weights(model.state_dict(), base.state_dict(), weight=weight, keep=keep)
    )


def load_multimodal_start(model: UMTMultimodal, source: str | Path) -> Transferred:
    """Give a model the weights of either stage of an unmasked teacher, in place.

    Of a student its decoders are taken too. Another file with a video encoder gives that alone.

    Args:
        model: what shall start from it.
        source: as for `load_model`.

    Raises:
        CheckpointError: the file cannot be read, or its parts have other shapes than the model's.
    """
    start = load_model(source).model
    if isinstance(start, UMTMultimodal):
        return load_weights(model, start.state_dict(), source)
    if not isinstance(start, UnmaskedTeacher):
        return load_encoder_weights(model, source)
    return _load_part(model, "vision_encoder.", start.state_dict(), source)


def load_text_start(model: UMTMultimodal, source: str | Path) -> Transferred:
    """Give the text tower of a model the weights of a plain BERT, in place.

    Args:
        model: what shall start from it; its attentions to the video stay fresh.
        source: a weight file such as that of "bert-base-uncased", or the folder that holds it.

    Raises:
        CheckpointError: there is no such file, or it is no BERT of this size.
    """
    state = _bert_state(source, model.config.text)
    return _load_part(model, "text_encoder.", state, source)


def load_bert(encoder: BertFusionEncoder, source: str | Path) -> Transferred:
    """Give a text encoder the weights of a plain BERT, in place; arguments as `load_text_start`.

    Raises:
        CheckpointError: there is no such file, or it is no BERT of this size.
    """
    return _load_part(encoder, "", _bert_state(source, encoder.config), source)


def _bert_state(source: str | Path, config: BertConfig) -> dict[str, Tensor]:
    path = Path(source).expanduser()
    if path.is_dir():
        found = next((path / name for name in _BERT_FILES if (path / name).is_file()), None)
        if found is None:
            raise CheckpointError(f"{path} has none of {', '.join(_BERT_FILES)}")
        path = found
    return text_state_from_bert(read_checkpoint(path).state, config)


def load_clip_teacher(source: str | Path) -> CLIPTeacher:
    """Load the image tower of a CLIP as a teacher.

    Args:
        source: as for `load_model`: a whole image CLIP ("openai-clip-vit-b-16", a file of OpenAI)
            or an image tower alone.

    Raises:
        UnknownNameError: no such name.
        CheckpointError: the file cannot be read, or is no image CLIP.
    """
    start = load_model(source).model
    if isinstance(start, CLIPTeacher):
        return start
    tower = start.vision_encoder if isinstance(start, ViCLIP) else None
    if not isinstance(tower, ViCLIPVision):
        raise CheckpointError(
            f"{source} is a {type(start).__name__}, a teacher must be an image CLIP, such as "
            "openai-clip-vit-b-16"
        )
    if tower.config.tubelet_size != 1 or not _is_image_clip(start):
        raise CheckpointError(
            f"{source} is a CLIP of videos, a teacher looks at single frames; take an image CLIP, "
            "such as openai-clip-vit-b-16"
        )
    same = ("image_size", "patch_size", "width", "depth", "num_heads", "embed_dim")
    config = CLIPTeacherConfig(**{name: getattr(tower.config, name) for name in same})
    teacher = TEACHER.build(config)
    assert isinstance(teacher, CLIPTeacher)
    state = tower.state_dict()
    del state["temporal_positional_embedding"]
    teacher.load_state_dict(state, assign=True)
    return teacher


def _load_part(
    model: nn.Module, prefix: str, state: Mapping[str, Tensor], source: str | Path
) -> Transferred:
    """Load a part of a model; what the state does not have stays fresh."""
    given = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    return load_weights(
        model, given, source, fresh=[n for n in model.state_dict() if n not in given]
    )


def _is_image_clip(model: nn.Module) -> bool:
    """Tell an image CLIP, which is read as a ViCLIP with nothing in time."""
    if not isinstance(model, ViCLIP) or not isinstance(model.vision_encoder, ViCLIPVision):
        return False
    return not bool(model.vision_encoder.temporal_positional_embedding.any())


def _mm_from_clip(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a ViCLIP (as an image CLIP is read) under InternVideo-MM's names."""
    state: dict[str, Tensor] = {}
    for name, tensor in clip.items():
        tower, _, rest = name.partition(".")
        if tower == "text_encoder":
            state[name] = tensor
        elif rest == "proj" or rest.startswith("ln_post."):
            state[f"visual_{rest}"] = tensor
        elif tower == "vision_encoder" and name != _TIME:
            state[f"visual.{rest}"] = tensor
    state["logit_scale"] = -clip["temp"].log()
    return state


def _fit_tables(state: dict[str, Tensor], own: Mapping[str, Tensor], *, from_image: bool) -> None:
    """Fit the tables of a file to the shapes of the model, where they can be."""
    for name in state.keys() & own.keys():
        tensor, wanted = state[name], own[name]
        if tensor.shape == wanted.shape or tensor.shape[-1] != wanted.shape[-1]:
            continue
        if name == _TIME:
            state[name] = resize_temporal_positions(tensor, wanted.shape[1])
        elif name == _TEXT_POSITIONS:
            resize = fit_clip_text_positions if from_image else resize_text_positions
            state[name] = resize(tensor, len(wanted))
        elif name in ("vision_encoder.positional_embedding", "visual.positional_embedding"):
            side = round((len(wanted) - 1) ** 0.5)
            state[name] = resize_spatial_positions(tensor, (side, side))
        elif name.endswith("conv1.weight") and tensor.shape[2] == 1:
            state[name] = inflate_patch_kernel(tensor[:, :, 0], wanted.shape[2])
