"""What a recipe may hold: task, model, data, and the numbers; unknown keys are an error."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveInt

from internvideo.config import Fraction, NonNegative, Positive, StrictModel
from internvideo.data.clip_sampling import SamplingConfig
from internvideo.data.config import Data
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig

__all__ = [
    "ContrastiveTask",
    "EvaluationConfig",
    "MaskedTask",
    "ProbeTask",
    "Recipe",
    "SupervisedTask",
    "UMTMultimodalTask",
    "UMTWeights",
    "UnmaskedTeacherTask",
]


# --- tasks ------------------------------------------------------------------------------------


class MaskedTask(StrictModel):
    """Masked video modelling with a `VideoMAE`."""

    kind: Literal["masked"]
    mask: Literal["tube", "random"] = "tube"
    mask_ratio: Fraction = 0.9
    decoder_mask: Literal["none", "running-cell"] = Field(
        default="none", description="dual masking (VideoMAE V2): which places are reconstructed"
    )
    decoder_mask_ratio: Fraction = 0.5
    repeats: PositiveInt = Field(
        default=1, description="crops, each with its own mask, of one decoded clip"
    )


class ContrastiveTask(StrictModel):
    """Video-language contrast, and captioning, with a `ViCLIP` or an `InternVideoMM`."""

    kind: Literal["contrastive"]
    mask_ratio: Fraction = Field(default=0.0, description="share of video tokens that are dropped")
    freeze_text: bool = Field(default=False, description="train the video tower alone")
    caption_weight: NonNegative = Field(
        default=0.0, description="of the captioning loss, for a model with a decoder; 0: none"
    )
    clean_captions: bool = Field(default=False, description="lower case without punctuation")
    exchange: Literal["gather", "ring"] = Field(
        default="gather",
        description="how processes share their texts: all at once, or round a ring (less memory)",
    )


class UnmaskedTeacherTask(StrictModel):
    """Alignment of the visible tokens with a frozen image CLIP, by an `UnmaskedTeacher` student."""

    kind: Literal["unmasked-teacher"]
    teacher: str = Field(description="an image CLIP: a model name, a file or a directory")
    teacher_interval: Positive = Field(
        default=1.0, description="distance of the aligned layers of the teacher"
    )
    mask: Literal["attention", "tube", "random"] = Field(
        default="attention", description="attention: what the teacher looks at stays visible"
    )
    mask_ratio: Fraction = 0.8
    loss: Literal["cosine", "mse", "smooth-l1"] = "cosine"


class UMTWeights(StrictModel):
    """Factors of the losses of the unmasked teacher's second stage; 0: left out."""

    uta: NonNegative = Field(default=1.0, description="agreement with the teacher")
    vtc: NonNegative = Field(default=1.0, description="contrast of clips and captions")
    vtm: NonNegative = Field(default=1.0, description="whether a clip and a caption match")
    mlm: NonNegative = Field(default=1.0, description="hidden words")


class UMTMultimodalTask(StrictModel):
    """Second stage of the unmasked teacher, and its fine-tuning, with a `UMTMultimodal`."""

    kind: Literal["umt-multimodal"]
    teacher: str | None = Field(
        default=None, description="an image CLIP: a model name, a file or a directory"
    )
    teacher_interval: Positive = Field(
        default=1.0, description="distance of the aligned layers of the teacher"
    )
    bert: str | None = Field(
        default=None, description="a plain BERT from which the text tower starts: file or directory"
    )
    mask: Literal["attention", "tube", "random"] = "attention"
    video_mask_ratio: Fraction = 0.8
    image_mask_ratio: Fraction = Field(default=0.5, description="for clips of one frame")
    word_ratio: Fraction = Field(default=0.5, description="share of the words that is hidden")
    weights: UMTWeights = UMTWeights()


class SupervisedTask(StrictModel):
    """Action recognition with a classifier: VideoMAE's, unmasked teacher's or UniFormerV2's."""

    kind: Literal["supervised"]
    label_smoothing: Fraction = 0.1
    mixup: NonNegative = Field(default=0.8, description="alpha of mixup; 0: none")
    cutmix: NonNegative = Field(default=1.0, description="alpha of cutmix; 0: none")
    mixup_prob: Fraction = Field(default=1.0, description="share of the batches that are mixed")
    mixup_switch_prob: Fraction = Field(
        default=0.5, description="share of cutmix where both are allowed"
    )
    repeats: PositiveInt = Field(default=1, description="augmented copies of one decoded clip")


class ProbeTask(StrictModel):
    """Action recognition on a frozen encoder: what do its features already tell?"""

    kind: Literal["probe"]
    head: Literal["linear", "attentive"] = "linear"
    batch_norm: bool = Field(default=True, description="without affine, before a linear head")
    num_heads: PositiveInt = Field(default=8, description="of the attentive head")
    label_smoothing: Fraction = 0.0


# --- the whole --------------------------------------------------------------------------------


class EvaluationConfig(StrictModel):
    """On what, and how often, a run is measured; the views are those of `preprocessing`."""

    data: Data
    every_epochs: PositiveInt = Field(default=1, description="one clip, centre crop")
    final_views: bool = Field(
        default=True, description="in the end, all views of the protocol with the best weights"
    )


class Recipe(StrictModel):
    """One training run."""

    name: str
    description: str = ""
    task: Annotated[
        MaskedTask
        | ContrastiveTask
        | UnmaskedTeacherTask
        | UMTMultimodalTask
        | SupervisedTask
        | ProbeTask,
        Field(discriminator="kind"),
    ]
    model: dict[str, Any] = Field(description="the configuration of the task's model class")
    init: str | None = Field(
        default=None, description="a model name, file or directory whose encoder is the start"
    )
    init_labels: str | None = Field(
        default=None,
        description="keep the head of `init`, its rows put into the order of this label map",
    )
    preprocessing: dict[str, Any] | str = Field(
        default="nano", description="the input protocol: a preset, or its fields"
    )
    sampling: SamplingConfig | None = Field(
        default=None, description="frames of a training clip; None: the protocol's middle clip"
    )
    augmentation: dict[str, Any] | str | None = Field(
        default=None, description="a preset or its fields; None: resized as by the protocol"
    )
    data: Data
    evaluation: EvaluationConfig | None = None
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    def fingerprint(self) -> str:
        """Return a hash of all that changes what is learned (not of logging or workers).

        Values at their defaults do not enter: an option added later leaves old fingerprints alone.
        """
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def settings(self) -> dict[str, Any]:
        """Return what must not change when a run of this recipe goes on after a stop.

        The batch of a process and the accumulation are left out: with another number of processes
        they change, while the global batch, which the checkpoint holds, does not.
        """
        content = self._content()
        for key in ("name", "description"):
            content.pop(key, None)
        for key in ("batch_size", "accumulate"):
            content.get("runtime", {}).pop(key, None)
        return content

    def _content(self) -> dict[str, Any]:
        content = self.model_dump(mode="json", exclude_defaults=True)
        for key in RuntimeConfig.BOOKKEEPING:
            content.get("runtime", {}).pop(key, None)
        return content

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
