"""Zero-shot multiple choice: the sentence that is nearest to the video, among a few.

    video ──► encode_video ──┐
                             ├──► exp(logit_scale) · cosine ──► the largest is the answer
    options ──► encode_text ─┘

Each video is decoded and encoded once, however many questions there are about it, and each sentence
once, however often it is an option.

Source: the zero-shot protocol of InternVideo on MSRVTT-MC and LSMDC-MC (arXiv 2212.03191).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.annotations import Choice
from internvideo.data.build import MultipleChoice, read_multiple_choice
from internvideo.data.clips import VideoListSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.text import embed_sentences, prompt_rule
from internvideo.formats.files import read_json
from internvideo.models.tokenizer import clean_caption
from internvideo.tasks.multiple_choice.report import ChoiceAnswer, MultipleChoiceReport
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["OptionChooser", "choice_scores", "evaluate", "open_choices", "score"]

_DIGITS = 8


def choice_scores(
    videos: Float[Tensor, "b e"], options: Float[Tensor, "b o e"], temperature: Float[Tensor, ""]
) -> Float[Tensor, "b o"]:
    """Return the cosine of each video with each of its options, divided by the temperature.

    The embeddings have unit norm; the temperature is exp(-logit_scale).
    """
    return torch.einsum("be,boe->bo", videos.float(), options.float()) / temperature


def open_choices(data: AnnotatedData, protocol: Preprocessing | None = None) -> MultipleChoice:
    """Read the questions; a line of a .jsonl is {"video", "options", "answer"}.

    Raises:
        DataError: the questions cannot be used; the line is named.
        ConfigError: an option that questions do not have.
    """
    del protocol
    for option in ("format", "labels", "split"):
        if getattr(data, option) is not None:
            raise ConfigError(f"--{option} does not go with multiple choice; leave it out")
    if data.is_world:
        raise ConfigError(
            "write the questions of the world first: internvideo world --format multiple-choice"
        )
    return read_multiple_choice(Path(data.path), root=data.root)


class OptionChooser(Answerer[tuple[ChoiceAnswer, ...]]):
    """Answers all questions about a video; the scores of its views are averaged.

    `clean` applies `clean_caption` to the options, as ViCLIP's evaluation does with sentences.
    """

    def __init__(self, model: LoadedModel, choices: MultipleChoice, *, clean: bool) -> None:
        super().__init__(model.model.eval(), model.protocol)
        self.towers = model.two_towers
        self.choices = choices
        self.clean = clean
        options = dict.fromkeys(
            sentence
            for asked in choices.questions
            for question in asked
            for sentence in question.sentences
        )
        texts = [clean_caption(option) if clean else option for option in options]
        rows = embed_sentences(self.towers, texts).cpu()
        self._rows = dict(zip(options, rows, strict=True))
        self._temperature = self.towers.temperature().detach().float().cpu()

    def answer(self, batch: Batch) -> list[tuple[ChoiceAnswer, ...]]:
        """Return the answers to the questions about each video."""
        return [
            tuple(
                self._answer(video.index, each, views)
                for each in self.choices.questions[video.index]
            )
            for video, views in batch.each(self.towers.encode_video)
        ]

    def _answer(self, index: int, question: Choice, views: Float[Tensor, "v e"]) -> ChoiceAnswer:
        options = torch.stack([self._rows[sentence] for sentence in question.sentences])
        options = options.expand(len(views), -1, -1)
        scores = choice_scores(views, options, self._temperature).mean(dim=0)
        return ChoiceAnswer(
            video=self.choices.videos.written_path(index),
            options=question.options,
            answer=question.answer,
            scores=tuple(round(each, _DIGITS) for each in as_list(scores)),
            question=question.question,
            kind=question.kind,
        )

    def to_json(self, answer: tuple[ChoiceAnswer, ...]) -> dict[str, Any]:
        """Return plain data."""
        return {"answers": [each.to_dict() for each in answer]}

    def from_json(self, line: dict[str, Any]) -> tuple[ChoiceAnswer, ...]:
        """Return the answers of a line."""
        return tuple(ChoiceAnswer.from_dict(line["video"], each) for each in line["answers"])

    def identity(self) -> dict[str, Any]:
        """Add the questions, and whether they are cleaned."""
        questions = hashlib.sha256(repr(self.choices.questions).encode()).hexdigest()
        return {**super().identity(), "questions": questions, "clean": self.clean}


def score(data: AnnotatedData, predictions: Path) -> MultipleChoiceReport:
    """Measure answers that another program wrote, without a model.

    Args:
        data: the questions, each with an id (NExT-QA; a line of your own with an `id`).
        predictions: a json object from id to `{"prediction": number}`, as NExT-QA's code writes it,
            or to the number.

    Raises:
        DataError: it is no such file, or lacks the answer to a question.
    """
    choices, content = open_choices(data), read_json(predictions)
    found = cast("dict[str, Any]", content if isinstance(content, dict) else {})
    answers: list[ChoiceAnswer] = []
    for index, asked in enumerate(choices.questions):
        for question in asked:
            chosen = found.get(question.id)
            if isinstance(chosen, dict):
                chosen = cast("dict[str, Any]", chosen).get("prediction")
            if not isinstance(chosen, int) or not 0 <= chosen < len(question.options):
                raise DataError(
                    f"{predictions}: no answer from 0 to {len(question.options) - 1} to the "
                    f"question {question.id!r} of {choices.videos.file}:{question.line}"
                )
            answers.append(
                ChoiceAnswer(
                    video=choices.videos.written_path(index),
                    options=question.options,
                    answer=question.answer,
                    scores=tuple(float(place == chosen) for place in range(len(question.options))),
                    question=question.question,
                    kind=question.kind,
                )
            )
    return MultipleChoiceReport(answers=tuple(answers), protocol="as written")


def evaluate(model: LoadedModel, videos: MultipleChoice, *, loop: EvalLoop) -> MultipleChoiceReport:
    """Measure how often a model picks the right one of some sentences for a video.

    A line of the .jsonl is {"video": "a.mp4", "options": ["…", "…"], "answer": 0}, and where the
    options answer one, a "question", which then stands before each of them. The files of MSRVTT-MC,
    LSMDC-MC, TGIF-QA (action, transition) and NExT-QA are read as they are. A video that cannot be
    read is listed, and its questions count as misses in a second number.

    Raises:
        ConfigError: no text tower, or the folder belongs to another evaluation.
    """
    chooser = OptionChooser(model, videos, clean=prompt_rule(model.architecture).clean)
    answered = loop.run(chooser, VideoListSource(videos.videos, chooser.protocol))
    return MultipleChoiceReport(
        answers=tuple(each for line in answered for each in line.answer or ()),
        failures=tuple((line.video, line.error) for line in answered if line.error),
        num_unanswered=sum(len(videos.questions[line.index]) for line in answered if line.error),
        left_out=videos.left_out,
        protocol=chooser.protocol.describe(),
        model=model.name,
    )
