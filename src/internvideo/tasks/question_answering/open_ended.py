"""Fine-tune a captioner to answer in its own words: it goes on from the question to the answer.

    "<start> what color is the star <start> red <end>"
                                      └── counts in the loss ──┘

The start token stands between question and answer, so no word is needed for it. Both are read by
the text tower and the caption decoder as one text; see `InternVideoMM.complete`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from internvideo.config import config_class
from internvideo.data.samples import Sample
from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list, from_numpy
from internvideo.models.contract import has
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.tasks.parts import Parts
from internvideo.tasks.question_answering.task import draw_questions
from internvideo.train.task import TrainableTask
from internvideo.video.augment import Augmentation
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.training_input import TrainingInput
from internvideo.zoo.starts import load_towers

__all__ = ["OpenAnswering", "OpenAnsweringConfig", "build"]

_IGNORED = -100


@config_class
class OpenAnsweringConfig:
    """Answers to questions about clips in words, written by a caption decoder."""

    kind: Literal["open-question-answering"] = "open-question-answering"
    questions_per_clip: PositiveInt = Field(
        default=1, description="of a clip that has several (`data.per_video`), so many are drawn"
    )
    kinds_alike: bool = Field(
        default=False,
        description="draw the kinds of questions alike, however many there are of each",
    )


class OpenAnswering(TrainableTask[InternVideoMM]):
    """Trains an `InternVideoMM` with a decoder on clips with questions.

    Raises:
        ConfigError: the model has no decoder.
    """

    def __init__(
        self,
        model: InternVideoMM,
        preprocessing: Preprocessing,
        config: OpenAnsweringConfig,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        if not has(model, "captions"):
            raise ConfigError("model.decoder_depth 0: without a decoder no answer can be written")
        self.model = model
        self.preprocessing = preprocessing
        self.config = config
        self.input = TrainingInput(preprocessing, augmentation)
        # nothing is compared, and data-parallel training wants a gradient of the others
        for parameter in model.projections():
            parameter.requires_grad_(False)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return uint8 frames "t h w c", and ids of questions with their answers "q l".

        `answered` marks the tokens of the answers, "q l". Where a clip has fewer questions than are
        wanted, rows without an answer fill the rest.

        Raises:
            DataError: the clip has no question.
        """
        config = self.config
        asked = draw_questions(
            sample, config.questions_per_clip, rng, kinds_alike=config.kinds_alike
        )
        rows = [self._row(each.question, each.answer) for each in asked]
        missing = self.config.questions_per_clip - len(asked)
        tokens = torch.stack([ids for ids, _ in rows] + [rows[0][0]] * missing)
        answered = torch.stack(
            [marks for _, marks in rows] + [torch.zeros_like(rows[0][1])] * missing
        )
        return [
            {
                **self.input.prepare(from_numpy(sample.frames), rng),
                "tokens": tokens,
                "answered": answered,
                "host_length": 1 + answered.int().sum(dim=0).nonzero().max(),
            }
        ]

    def _row(self, question: str, answer: str) -> tuple[Int[Tensor, "l"], Bool[Tensor, "l"]]:
        """Return a question with its answer as one text, and which of its tokens are the answer's.

        A question that leaves no room is cut, as `InternVideoMM.complete` cuts it.
        """
        tokenizer = self.model.tokenizer
        prompt = self.model.prompt(question)
        ids = [*prompt, tokenizer.start_id, *tokenizer.encode(answer), tokenizer.end_id]
        length = tokenizer.context_length
        if len(ids) > length:
            ids = [*ids[: length - 1], tokenizer.end_id]
        tokens = torch.zeros(length, dtype=torch.int64)
        tokens[: len(ids)] = torch.tensor(ids)
        answered = torch.zeros(length, dtype=torch.bool)
        answered[len(prompt) + 1 : len(ids)] = True
        return tokens, answered

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross-entropy of the tokens of the answers, and the share of right ones."""
        video = self.input.finish(batch)
        length = max(as_list(batch["host_length"]))
        ids = batch["tokens"][:, :, :length].flatten(0, 1)
        answered = batch["answered"][:, :, :length].flatten(0, 1)[:, 1:]
        rows = torch.arange(len(video), device=ids.device)
        rows = rows.repeat_interleave(self.config.questions_per_clip)
        logits = self.model.next_tokens(self.model.forward_features(video), ids, rows=rows)
        targets = ids[:, 1:].masked_fill(~answered, _IGNORED)
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=_IGNORED
        )
        right = (logits.detach().argmax(dim=-1) == targets) & answered
        return {"loss": loss, "token_accuracy": right.sum() / answered.sum()}


def build(config: OpenAnsweringConfig, parts: Parts) -> OpenAnswering:
    """Build the task of a recipe; towers and decoder start from `init`."""
    parts.refuse("init_labels")
    model = parts.build_model()
    if parts.init is not None:
        load_towers(model, parts.init)
    return OpenAnswering(model, parts.preprocessing, config, augmentation=parts.augmentation)
