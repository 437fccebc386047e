"""How a model answers questions about a clip: it chooses among its answers, or writes one."""

from __future__ import annotations

import difflib
import logging
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.engine import Answerer, Batch, Seen
from internvideo.evaluation.text import warn_of_unknown_words
from internvideo.models.contract import QuestionReader, VideoEncoder, VideoFeatures, has
from internvideo.models.internvideo_mm import InternVideoMM
from internvideo.models.tokenizer import Tokenizer, WordTokenizer, trim_padding
from internvideo.video.windows import window_protocol
from internvideo.zoo.hub import LoadedModel

__all__ = [
    "DEFAULT_MODEL",
    "OPEN_KIND",
    "AnswerChooser",
    "AnswerWriter",
    "QuestionAnswerer",
    "Reply",
    "ask",
    "count_cut",
    "readable",
]

DEFAULT_MODEL = "qa-nano"
OPEN_KIND = "open-question-answering"
"""The kind of the task that teaches a decoder to answer; a trained model says it in its record."""

_LOG = logging.getLogger(__name__)
_DIGITS = 6
_SHOWN = 80
_NEAR = 0.8

Questions = Callable[[Seen], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answers to one question.

    Attributes:
        answers: the likeliest first; one where it is written.
        probabilities: of the answers among all that the model knows; empty where it is written.
    """

    answers: tuple[str, ...]
    probabilities: tuple[float, ...] = ()


class QuestionAnswerer(Answerer[tuple[Reply, ...]]):
    """Answers questions about videos, of which one clip and the central crop are looked at.

    A video is encoded once, however many questions there are about it.

    Args:
        model: chooses or writes answers.
        questions: those about a video.
        digest: a hash of all questions, without which an evaluation cannot be resumed.
    """

    def __init__(self, model: LoadedModel, questions: Questions, *, digest: str = "") -> None:
        super().__init__(model.model, window_protocol(model.protocol))
        self.name = model.name
        self.tokenizer: Tokenizer = model.model.tokenizer  # type: ignore[assignment]
        self.questions = questions
        self.digest = digest

    @abstractmethod
    def reply(
        self, features: VideoFeatures, questions: Sequence[str], rows: Int[Tensor, "q"]
    ) -> list[Reply]:
        """Answer questions; question i is about clip `rows[i]`."""

    def answer(self, batch: Batch) -> list[tuple[Reply, ...]]:
        """Return the replies to the questions about each video."""
        clips = torch.cat([video.views for video in batch.videos]).to(batch.device, batch.dtype)
        asked = [self.questions(video) for video in batch.videos]
        counts = torch.tensor([len(each) for each in asked])
        rows = torch.arange(len(asked)).repeat_interleave(counts).to(batch.device)
        with torch.no_grad(), batch.precision():
            features = cast(VideoEncoder, self.network).forward_features(clips)
            flat = [question for each in asked for question in each]
            replies = iter(self.reply(features, flat, rows) if flat else ())
        return [tuple(next(replies) for _ in each) for each in asked]

    def to_json(self, answer: tuple[Reply, ...]) -> dict[str, Any]:
        """Return plain data."""
        return {"replies": [[list(each.answers), list(each.probabilities)] for each in answer]}

    def from_json(self, line: dict[str, Any]) -> tuple[Reply, ...]:
        """Return the replies of a line."""
        return tuple(Reply(tuple(one), tuple(other)) for one, other in line["replies"])

    def identity(self) -> dict[str, Any]:
        """Add the questions."""
        return {**super().identity(), "questions": self.digest}


class AnswerChooser(QuestionAnswerer):
    """Chooses among the answers that a classifier knows.

    Args:
        model: with the capability "answers".
        questions: those about a video.
        names: the answers in the order of the outputs; where there is one output more, it is that
            of no answer, and never chosen.
        top_k: so many of the best answers.
        digest: see `QuestionAnswerer`.

    Raises:
        ConfigError: another number of answers than outputs.
    """

    def __init__(
        self,
        model: LoadedModel,
        questions: Questions,
        names: Sequence[str],
        *,
        top_k: int = 1,
        digest: str = "",
    ) -> None:
        super().__init__(model, questions, digest=digest)
        assert has(model.model, "answers")
        self.reader: QuestionReader = model.model
        outputs = self.reader.config.num_classes
        if outputs - len(names) not in (0, 1):
            raise ConfigError(
                f"{model.name} has {outputs} outputs, but {len(names)} answers are named; expected "
                f"{outputs} or {outputs - 1}"
            )
        # COMPAT: one output belongs to no answer, see `data.questions.NO_ANSWER`
        self.names = tuple(name for name in names if name)
        self.top_k = min(top_k, len(self.names))

    def reply(
        self, features: VideoFeatures, questions: Sequence[str], rows: Int[Tensor, "q"]
    ) -> list[Reply]:
        """Return the best answers to each question."""
        ids = trim_padding(self.reader.tokenize(questions)).to(rows.device)
        shares = self.reader.answer(features, ids, rows=rows).float().softmax(dim=1)
        best = shares[:, : len(self.names)].topk(self.top_k)
        places, values = as_list(best.indices.cpu()), as_list(best.values.cpu())
        return [
            Reply(
                answers=tuple(self.names[int(place)] for place in row),
                probabilities=tuple(round(float(value), _DIGITS) for value in chances),
            )
            for row, chances in zip(places, values, strict=True)
        ]

    def identity(self) -> dict[str, Any]:
        """Add the answers."""
        return {**super().identity(), "answers": list(self.names)}


class AnswerWriter(QuestionAnswerer):
    """Writes answers with a caption decoder.

    Args:
        model: an `InternVideoMM` with a decoder; one that was not trained on questions writes about
            the clip whatever the question is.
        questions: those about a video.
        digest: see `QuestionAnswerer`.
    """

    def __init__(self, model: LoadedModel, questions: Questions, *, digest: str = "") -> None:
        super().__init__(model, questions, digest=digest)
        assert isinstance(model.model, InternVideoMM)
        self.writer = model.model
        if model.record.provenance.get("task") != OPEN_KIND:
            _LOG.warning(
                "%s was not trained on questions: what it writes is about the clip, but is no "
                "answer",
                model.name,
            )

    def reply(
        self, features: VideoFeatures, questions: Sequence[str], rows: Int[Tensor, "q"]
    ) -> list[Reply]:
        """Return the written answer to each question."""
        return [Reply((text,)) for text in self.writer.complete(features, questions, rows=rows)]


def ask(
    model: LoadedModel,
    questions: Questions,
    names: Sequence[str] | None = None,
    *,
    top_k: int = 1,
    digest: str = "",
) -> QuestionAnswerer:
    """Return what answers questions by a model.

    Args:
        model: chooses or writes answers.
        questions: those about a video.
        names: the answers of a classifier that does not name them itself.
        top_k: so many of the best answers of a classifier.
        digest: see `QuestionAnswerer`.

    Raises:
        ConfigError: the model can do neither, or nobody names the answers of its outputs.
    """
    if has(model.model, "answers"):
        names = model.labels or names
        if names is None:
            raise ConfigError(
                f"{model.name} does not name the answers of its {model.model.config.num_classes} "
                "outputs; give their file, such as --labels msrvtt_train_ans2label.json"
            )
        return AnswerChooser(model, questions, names, top_k=top_k, digest=digest)
    if has(model.model, "captions") and isinstance(model.model, InternVideoMM):
        return AnswerWriter(model, questions, digest=digest)
    raise ConfigError(
        f"{model.name} answers no questions: it has neither a classifier of answers nor a caption "
        f"decoder; load {DEFAULT_MODEL}, or an InternVideo-MM that was fine-tuned on questions"
    )


def count_cut(tokenizer: Tokenizer, questions: Iterable[str]) -> int:
    """Return how many questions are longer than what a model with this tokenizer reads."""
    room = _room(tokenizer)
    return sum(len(tokenizer.encode(question)) > room for question in questions)


def _room(tokenizer: Tokenizer) -> int:
    return tokenizer.context_length - 3  # start, end, and the place that stays empty


def readable(model: LoadedModel, question: str) -> str:
    """Return a user's question as a model reads it, and warn where that is not what was asked.

    A word that a model of few words does not know gives way to the nearest one that it knows.

    Raises:
        ConfigError: the question has no words, or none that the model knows.
    """
    if not any(map(str.isalnum, question)):
        raise ConfigError(f"the question {question[:_SHOWN]!r} has no words; ask something")
    tokenizer: Tokenizer = model.model.tokenizer  # type: ignore[assignment]
    if isinstance(tokenizer, WordTokenizer):
        question = _in_known_words(tokenizer, question, model.name)
    length, room = len(tokenizer.encode(question)), _room(tokenizer)
    if length > room:
        _LOG.warning("the question has %d tokens; %s reads the first %d", length, model.name, room)
    return question


def _in_known_words(tokenizer: WordTokenizer, question: str, name: str) -> str:
    nearest = {}
    unknown = tokenizer.unknown_words(question)
    for word in unknown:
        if near := difflib.get_close_matches(word, tokenizer.vocabulary, n=1, cutoff=_NEAR):
            nearest[word] = near[0]
            _LOG.warning("%s does not know %r and reads it as %r", name, word, near[0])
            question = re.sub(rf"\b{re.escape(word)}\b", near[0], question, flags=re.IGNORECASE)
    if {*tokenizer.encode(question)} == {tokenizer.unknown_id}:
        raise ConfigError(
            f"{name} knows no word of the question {question[:_SHOWN]!r}; it reads "
            f"{len(tokenizer.vocabulary)} English words, as in 'what color is the star'"
        )
    warn_of_unknown_words(tokenizer, [question], name=name, warned=set())
    return question
