"""From a recipe to its task with the model; the data side is `recipe.inputs`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from internvideo.config import config_from_dict, config_to_dict
from internvideo.errors import ConfigError, did_you_mean
from internvideo.models.layers import checkpoint_blocks
from internvideo.recipe.inputs import build_augmentation, build_preprocessing
from internvideo.recipe.loading import merged
from internvideo.recipe.schema import (
    ContrastiveTask,
    MaskedTask,
    ProbeTask,
    Recipe,
    SupervisedTask,
    UMTMultimodalTask,
    UnmaskedTeacherTask,
)
from internvideo.train.loop import Task
from internvideo.zoo import load_clip_teacher, load_encoder_weights, load_model
from internvideo.zoo.architectures import find_architecture
from internvideo.zoo.labels import k710_rows

if TYPE_CHECKING:
    from internvideo.models.classifier import VideoClassifier
    from internvideo.models.internvideo_mm import InternVideoMM
    from internvideo.models.uniformerv2_classifier import UniFormerV2Classifier
    from internvideo.models.viclip import ViCLIP

__all__ = ["build_task"]

_K710_CLASSES = 710
# What a supervised task can train; the first is meant where a recipe names none.
_CLASSIFIERS = ("videomae/classifier", "unmasked-teacher/classifier", "uniformerv2/classifier")


def build_task(recipe: Recipe, *, with_weights: bool = True) -> Task:
    """Return the task with its model, started from `recipe.init` where that is given.

    Args:
        recipe: what to build.
        with_weights: False reads no file, neither `init` nor a teacher: for a task whose weights
            come from elsewhere, and which does not train.

    Raises:
        ConfigError: the model configuration does not fit the task's model class.
        CheckpointError: `init` cannot be read, or its encoder has another shape.
    """
    if not with_weights:
        recipe = recipe.model_copy(update={"init": None, "init_labels": None})
    match recipe.task:
        case MaskedTask():
            task = _masked(recipe, recipe.task)
        case ContrastiveTask():
            task = _contrastive(recipe, recipe.task)
        case UnmaskedTeacherTask():
            task = _unmasked_teacher(recipe, recipe.task, with_teacher=with_weights)
        case UMTMultimodalTask():
            task = _umt_multimodal(recipe, recipe.task, with_weights=with_weights)
        case SupervisedTask():
            task = _supervised(recipe, recipe.task)
        case ProbeTask():
            task = _probe(recipe, recipe.task)
    if recipe.runtime.activation_checkpointing:
        checkpoint_blocks(task.model)  # type: ignore[arg-type]
    return task


def _masked(recipe: Recipe, config: MaskedTask) -> Task:
    from internvideo.models.videomae import VideoMAE, VideoMAEConfig
    from internvideo.tasks.masked.task import MaskedPretraining

    _refuse(recipe, "init_labels")
    model = VideoMAE(_model_config(VideoMAEConfig, recipe))
    task = MaskedPretraining(
        model,
        build_preprocessing(recipe),
        augmentation=build_augmentation(recipe),
        mask=config.mask,
        mask_ratio=config.mask_ratio,
        decoder_mask=config.decoder_mask,
        decoder_mask_ratio=config.decoder_mask_ratio,
        repeats=config.repeats,
    )
    _start(model, recipe)
    return task


def _contrastive(recipe: Recipe, config: ContrastiveTask) -> Task:
    from internvideo.tasks.contrastive.task import ContrastivePretraining
    from internvideo.zoo.towers import load_towers

    _refuse(recipe, "init_labels")
    model = _two_towers(recipe)
    task = ContrastivePretraining(
        model,
        build_preprocessing(recipe),
        model.tokenizer,
        augmentation=build_augmentation(recipe),
        mask_ratio=config.mask_ratio,
        freeze_text=config.freeze_text,
        caption_weight=config.caption_weight,
        clean_captions=config.clean_captions,
        exchange=config.exchange,
    )
    if recipe.init is not None:
        load_towers(model, recipe.init)
    return task


def _two_towers(recipe: Recipe) -> ViCLIP | InternVideoMM:
    from internvideo.models.internvideo_mm import InternVideoMM, InternVideoMMConfig
    from internvideo.models.viclip import ViCLIP, ViCLIPConfig

    fields = dict(recipe.model)
    kind = fields.pop("architecture", "viclip")
    recipe = recipe.model_copy(update={"model": fields})
    match kind:
        case "viclip":
            return ViCLIP(_model_config(ViCLIPConfig, recipe))
        case "internvideo-mm":
            return InternVideoMM(_model_config(InternVideoMMConfig, recipe))
    known = ("viclip", "internvideo-mm")
    raise ConfigError(
        f"model.architecture {kind!r} of a contrastive task is not one of {', '.join(known)}."
        f"{did_you_mean(str(kind), known)}"
    )


def _unmasked_teacher(recipe: Recipe, config: UnmaskedTeacherTask, *, with_teacher: bool) -> Task:
    from internvideo.models.unmasked_teacher import UnmaskedTeacher, UnmaskedTeacherConfig
    from internvideo.tasks.unmasked_teacher.task import UnmaskedTeacherPretraining

    _refuse(recipe, "init_labels")
    model = UnmaskedTeacher(_model_config(UnmaskedTeacherConfig, recipe))
    task = UnmaskedTeacherPretraining(
        model,
        load_clip_teacher(config.teacher) if with_teacher else None,
        build_preprocessing(recipe),
        augmentation=build_augmentation(recipe),
        mask=config.mask,
        mask_ratio=config.mask_ratio,
        loss=config.loss,
        teacher_interval=config.teacher_interval,
    )
    _start(model, recipe)
    return task


def _umt_multimodal(recipe: Recipe, config: UMTMultimodalTask, *, with_weights: bool) -> Task:
    from internvideo.models.umt_multimodal import UMTMultimodal, UMTMultimodalConfig
    from internvideo.tasks.unmasked_teacher.multimodal import UMTMultimodalPretraining
    from internvideo.zoo.umt_start import load_multimodal_start, load_text_start

    _refuse(recipe, "init_labels")
    more: dict[str, Any] = {}
    if isinstance(vocabulary := recipe.model.get("vocabulary"), str):
        pieces = _word_pieces(vocabulary)
        text = {**recipe.model.get("text", {}), "vocab_size": len(pieces)}
        more = {"vocabulary": list(pieces), "text": text}
    model = UMTMultimodal(_model_config(UMTMultimodalConfig, recipe, more))
    if with_weights and config.bert is not None:
        load_text_start(model, config.bert)
    if recipe.init is not None:
        load_multimodal_start(model, recipe.init)
    teacher = config.teacher if with_weights else None
    return UMTMultimodalPretraining(
        model,
        build_preprocessing(recipe),
        teacher=None if teacher is None else load_clip_teacher(teacher),
        augmentation=build_augmentation(recipe),
        mask=config.mask,
        video_mask_ratio=config.video_mask_ratio,
        image_mask_ratio=config.image_mask_ratio,
        word_ratio=config.word_ratio,
        weights=config.weights.model_dump(),
        teacher_interval=config.teacher_interval,
    )


def _word_pieces(vocabulary: str) -> tuple[str, ...]:
    """Return the pieces of a `vocab.txt`, or the words of the procedural world as pieces."""
    from internvideo.models.wordpiece import SPECIAL_TOKENS, read_vocabulary

    if vocabulary != "world":
        return read_vocabulary(vocabulary)
    from internvideo.world import vocabulary as world_words

    return SPECIAL_TOKENS + world_words()


def _supervised(recipe: Recipe, config: SupervisedTask) -> Task:
    from internvideo.tasks.recognition.supervised import SupervisedRecognition

    return SupervisedRecognition(
        _classifier(recipe),
        build_preprocessing(recipe),
        augmentation=build_augmentation(recipe),
        label_smoothing=config.label_smoothing,
        mixup=config.mixup,
        cutmix=config.cutmix,
        mixup_prob=config.mixup_prob,
        mixup_switch_prob=config.mixup_switch_prob,
        repeats=config.repeats,
    )


def _probe(recipe: Recipe, config: ProbeTask) -> Task:
    from internvideo.models.probe import ProbeClassifier, ProbeClassifierConfig
    from internvideo.tasks.recognition.probe import ProbeRecognition

    _refuse(recipe, "augmentation", "init_labels")
    head = {"head": config.head, "batch_norm": config.batch_norm, "num_heads": config.num_heads}
    if twice := head.keys() & recipe.model.keys():
        raise ConfigError(f"model.{min(twice)} belongs to the task of a probe: task.{min(twice)}")
    model = ProbeClassifier(_model_config(ProbeClassifierConfig, recipe, head))
    task = ProbeRecognition(
        model, build_preprocessing(recipe), label_smoothing=config.label_smoothing
    )
    _start(model, recipe)
    return task


def _classifier(recipe: Recipe) -> VideoClassifier | UniFormerV2Classifier:
    fields = dict(recipe.model)
    kind = fields.pop("architecture", _CLASSIFIERS[0])
    if kind not in _CLASSIFIERS:
        raise ConfigError(
            f"model.architecture {kind!r} of a supervised task is not one of "
            f"{', '.join(_CLASSIFIERS)}.{did_you_mean(str(kind), _CLASSIFIERS)}"
        )
    architecture = find_architecture(kind)
    config = _model_config(architecture.config, recipe.model_copy(update={"model": fields}))
    model: Any = architecture.model(config)
    if recipe.init_labels is None:
        _start(model, recipe)
        return model
    rows = k710_rows(recipe.init_labels)
    if recipe.init is None:
        raise ConfigError("init_labels keeps the head of `init`, but the recipe has no init")
    if len(rows) != model.config.num_classes:
        raise ConfigError(
            f"init_labels {recipe.init_labels} has {len(rows)} classes, model.num_classes is "
            f"{model.config.num_classes}"
        )
    outputs = getattr(load_model(recipe.init).model, "head", None)
    if getattr(outputs, "out_features", None) != _K710_CLASSES:
        raise ConfigError(
            f"init_labels takes rows of a head of {_K710_CLASSES} classes (Kinetics-710); "
            f"the model {recipe.init} has {getattr(outputs, 'out_features', 'none')}"
        )
    load_encoder_weights(model, recipe.init, head_rows=rows)
    return model


def _start(model: nn.Module, recipe: Recipe) -> None:
    """Give the encoder the weights of `init`."""
    if recipe.init is not None:
        load_encoder_weights(model, recipe.init)


def _refuse(recipe: Recipe, *fields: str) -> None:
    """Refuse what the task would not use, rather than to ignore it."""
    for field in fields:
        if getattr(recipe, field) is not None:
            raise ConfigError(f"the task {recipe.task.kind!r} takes no {field}; remove it")


def _model_config(kind: type, recipe: Recipe, more: Mapping[str, Any] | None = None) -> Any:
    """Return the model's configuration: the fields of the recipe on those of its `size`."""
    values = {**recipe.model, **(more or {})}
    size = values.pop("size", None)
    if size is not None:
        sizes = sys.modules[kind.__module__].SIZES
        if size not in sizes:
            raise ConfigError(f"model.size {size!r} is not one of {', '.join(sizes)}")
        values = merged(config_to_dict(sizes[size]), values)
    if values.get("vocabulary") == "world":
        from internvideo.world import vocabulary

        words = vocabulary()
        special_tokens = 4
        values["vocabulary"] = list(words)
        values["text"] = {**values.get("text", {}), "vocab_size": len(words) + special_tokens}
    return config_from_dict(kind, values)
