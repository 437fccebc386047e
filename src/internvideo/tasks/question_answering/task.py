"""Fine-tune a model to choose the answer to a question about a clip, among those that it knows.

    worker:  clip, questions ──► frames (uint8), token ids, numbers of the answers
    device:  frames ──► towers, decoder ──► classifier ──► cross-entropy over the known answers

As published (arXiv 2212.03191) every question is a clip of its own; `questions_per_clip` asks
several about a clip that is decoded and encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import config_class
from internvideo.data.samples import AskedQuestion, Sample
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import as_list, from_numpy
from internvideo.models.internvideo_qa import InternVideoQA, answer_loss
from internvideo.models.tokenizer import trim_padding
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput
from internvideo.zoo.starts import load_answering_start

__all__ = ["QuestionAnswering", "QuestionAnsweringConfig", "build", "draw_questions"]

_UNKNOWN = -100


@config_class
class QuestionAnsweringConfig:
    """Answers to questions about clips, chosen among those of the data (`data.answers`)."""

    kind: Literal["question-answering"] = "question-answering"
    questions_per_clip: PositiveInt = Field(
        default=1, description="of a clip that has several (`data.per_video`), so many are drawn"
    )
    kinds_alike: bool = Field(
        default=False,
        description="draw the kinds of questions alike, however many there are of each",
    )


class QuestionAnswering(TrainableTask[InternVideoQA]):
    """Trains an `InternVideoQA` on clips with questions."""

    def __init__(
        self,
        model: InternVideoQA,
        preprocessing: Preprocessing,
        config: QuestionAnsweringConfig,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.config = config
        self.input = TrainingInput(preprocessing, augmentation)
        self.tokenizer = model.tokenizer

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return uint8 frames "t h w c", ids of the questions "q l", and the answers "q".

        An answer that is none of those of the data is -100. Where a clip has fewer questions than
        are wanted, the first one fills the rest, with no answer.

        Raises:
            DataError: the clip has no question.
        """
        config = self.config
        asked = draw_questions(
            sample, config.questions_per_clip, rng, kinds_alike=config.kinds_alike
        )
        tokens = self.model.tokenize([each.question for each in asked])
        numbers = [_UNKNOWN if each.number is None else each.number for each in asked]
        missing = self.config.questions_per_clip - len(asked)
        return [
            {
                **self.input.prepare(from_numpy(sample.frames), rng),
                "tokens": torch.cat([tokens, tokens[:1].expand(missing, -1)]),
                "host_length": torch.tensor(trim_padding(tokens).shape[1]),
                "answers": torch.tensor([*numbers, *[_UNKNOWN] * missing]),
            }
        ]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross-entropy; with it the share of right answers, and of known ones."""
        video = self.input.finish(batch)
        ids = batch["tokens"][:, :, : max(as_list(batch["host_length"]))].flatten(0, 1)
        answers = batch["answers"].flatten()
        rows = torch.arange(len(video), device=ids.device)
        rows = rows.repeat_interleave(self.config.questions_per_clip)
        logits = self.model.answer(self.model.forward_features(video), ids, rows=rows)
        known = answers != _UNKNOWN
        right = (logits.detach().argmax(dim=1) == answers).sum()
        return {
            "loss": answer_loss(logits, answers),
            "accuracy": right / known.sum().clamp(min=1),
            "known": known.float().mean(),
        }


def draw_questions(
    sample: Sample, count: int, rng: np.random.Generator, *, kinds_alike: bool = False
) -> Sequence[AskedQuestion]:
    """Return some of the questions about a clip, drawn where there are more than wanted.

    Args:
        sample: the clip.
        count: so many, or all where it has fewer.
        rng: of the draw.
        kinds_alike: draw one of each kind first, the kinds in any order, then a second one.

    Raises:
        DataError: there is none.
    """
    asked = sample.questions
    if not asked:
        raise DataError(
            f"{sample.key or 'a clip'} has no question; give data of questions, such as kind: "
            "msrvtt-qa, or of the world with questions: true"
        )
    if len(asked) <= count:
        return asked
    drawn = [asked[int(place)] for place in rng.permutation(len(asked))]
    if kinds_alike:
        kinds = [each.kind for each in drawn]
        turn = [kinds[:place].count(kind) for place, kind in enumerate(kinds)]
        order = {kind: place for place, kind in enumerate(rng.permutation(sorted({*kinds})))}
        places = sorted(range(len(drawn)), key=lambda n: (turn[n], order[kinds[n]]))
        drawn = [drawn[place] for place in places]
    return drawn[:count]


def build(config: QuestionAnsweringConfig, parts: Parts) -> QuestionAnswering:
    """Build the task of a recipe; towers and decoder start from `init`."""
    parts.refuse("init_labels")
    model = parts.build_model()
    if not isinstance(model, InternVideoQA):
        raise ConfigError(f"a {type(model).__name__} has no classifier of answers")
    if parts.init is not None:
        load_answering_start(model, parts.init)
    return QuestionAnswering(model, parts.preprocessing, config, augmentation=parts.augmentation)
