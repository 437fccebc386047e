"""Measure a model on questions about videos, by the rules of the published evaluations."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from internvideo.annotations import Question
from internvideo.data.questions import Answers, QuestionSource, read_questions, world_questions
from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop, Seen
from internvideo.formats import ASKING
from internvideo.formats.detect import detect_kind
from internvideo.formats.questions import read_answers
from internvideo.models.tokenizer import clean_caption
from internvideo.tasks.question_answering.asking import (
    AnswerChooser,
    Reply,
    ask,
    count_cut,
)
from internvideo.tasks.question_answering.report import AnsweredQuestion, QuestionReport
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["evaluate", "measure", "open_questions"]


def open_questions(data: AnnotatedData, protocol: Preprocessing) -> QuestionSource:
    """Return videos with questions: a file in any format of questions, or the world.

    The class list of the data, if there is one, is the file of the model's answers.

    Raises:
        DataError: the questions cannot be used; the line is named.
        ConfigError: a format without questions, or an option that they do not have.
    """
    if data.is_world:
        return world_questions(data.world_source())
    for option in ("split", "first_label"):
        if getattr(data, option) is not None:
            name = option.replace("_", "-")
            raise ConfigError(f"--{name} does not go with questions; leave it out")
    path = Path(data.path)
    kind = data.format or detect_kind(path)
    if kind not in ASKING:
        raise ConfigError(
            f"{path} is read as {kind}, which has no questions; give one of {', '.join(ASKING)}, "
            "and questions with options to `evaluate multiple-choice`"
        )
    asked = read_questions(kind, path, protocol=protocol, root=data.root)
    answers = None
    if data.labels is not None:
        answers = Answers(read_answers(Path(data.labels)), data.labels)
    return QuestionSource(asked, answers, per_video=True)


def evaluate(model: LoadedModel, videos: EvaluationSource, *, loop: EvalLoop) -> QuestionReport:
    """Measure how often a model gives the right answer to a question about a video.

    A model with a classifier chooses among the answers that it knows; one with a caption decoder
    writes. MSRVTT-QA, MSVD-QA, TGIF-QA and your own lines {"video", "question", "answer"} are read
    as they are; questions with options belong to `evaluate multiple-choice`. --labels is the file
    of the answers of a model that does not name them, such as msrvtt_train_ans2label.json.

    `accuracy` is the official number, which leaves out questions whose answer the model does not
    know; `strict` counts them as wrong. Beside both stands what always giving the most frequent
    answer to questions of that kind gets. Videos that cannot be read are listed, and their
    questions count as misses in a number of their own.

    Raises:
        ConfigError: the model answers no questions, the data ask none, or the folder belongs to
            another evaluation.
        DataError: no video can be read.
    """
    if not isinstance(videos, QuestionSource):
        raise ConfigError(
            "the data have no questions; give a file of questions, or to a recipe of the world "
            "evaluation.data.questions=true"
        )
    asked = videos.asked

    def about(video: Seen) -> list[str]:
        return [each.question for each in asked.questions[video.index]]

    named = videos.answers and videos.answers.names
    answerer = ask(model, about, named, digest=videos.digest())
    answered = loop.run(answerer, asked.videos)
    failures = tuple((line.video, line.error) for line in answered if line.error)
    if len(failures) == len(answered):
        raise DataError(f"no video could be read: {failures[0][1]}")
    names = frozenset(answerer.names) if isinstance(answerer, AnswerChooser) else None
    origin = str(model.record.provenance.get("answers") or "")
    return QuestionReport(
        answers=tuple(
            _answered(line.video, question, reply, names)
            for line in answered
            if line.answer is not None
            for question, reply in zip(asked.questions[line.index], line.answer, strict=True)
        ),
        failures=failures,
        num_unanswered=sum(len(asked.questions[line.index]) for line in answered if line.error),
        num_answers=len(names or ()),
        answers_origin=origin or (videos.answers.origin if videos.answers and names else ""),
        num_cut=count_cut(
            answerer.tokenizer, (each.question for about in asked.questions for each in about)
        ),
        protocol=answerer.protocol.describe(),
        model=model.name,
    )


def _answered(
    video: str, question: Question, reply: Reply, names: Collection[str] | None
) -> AnsweredQuestion:
    """Compare a reply with the true answer: a chosen one as it is, a written one word by word."""
    given = reply.answers[0]
    if names is None:
        right = clean_caption(given) == clean_caption(question.answer)
    else:
        right = given == question.answer
    return AnsweredQuestion(
        video=video,
        question=question.question,
        answer=question.answer,
        given=given,
        right=right,
        known=names is None or question.answer in names,
        kind=question.kind,
        probability=reply.probabilities[0] if reply.probabilities else 0.0,
    )


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> QuestionReport:
    """Measure a model in a training run; one view is looked at in any case."""
    del quick
    return evaluate(model, source, loop=loop)
