"""Questions about videos as clips to train on and to be measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from internvideo.annotations import Question, VideoAnnotation
from internvideo.data.build import warn_of_bad_lines
from internvideo.data.clip_list import ClipList
from internvideo.data.clip_sampling import ClipSampling
from internvideo.data.clips import VideoListSource
from internvideo.data.samples import AskedQuestion, ClipViews, EvaluationSource, Sample
from internvideo.data.world import WorldSource
from internvideo.errors import DataError, UnknownNameError, did_you_mean
from internvideo.formats import find_format
from internvideo.formats.questions import frequent_answers, read_answers
from internvideo.video import Preprocessing
from internvideo.world import QUESTION_KINDS, all_answers

__all__ = [
    "NO_ANSWER",
    "Answers",
    "AskedVideos",
    "QuestionSource",
    "read_questions",
    "world_questions",
]

NO_ANSWER = ""
"""The name of the output behind the answers of a classifier, which no question has.

COMPAT: the reference's classifiers have one output more than there are answers.
"""


@dataclass(frozen=True, kw_only=True)
class AskedVideos:
    """Videos, each once, and the questions about them.

    Attributes:
        videos: any source; its labels and captions do not matter.
        questions: those about video `i`; a sequence that may make them when it is asked.
    """

    videos: EvaluationSource
    questions: Sequence[tuple[Question, ...]]

    @property
    def num_questions(self) -> int:
        """Questions about all videos together."""
        return sum(len(asked) for asked in self.questions)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers that a classifier chooses from, and where they come from.

    Attributes:
        names: in the order of the outputs.
        origin: such as "1500 most frequent of 4000 answers to 158581 questions of train.jsonl".
    """

    names: tuple[str, ...]
    origin: str

    @classmethod
    def choose(cls, wanted: Path | int | None, asked: AskedVideos, *, file: Path) -> Answers:
        """Return the answers of a file, or the most frequent ones of some questions.

        Args:
            wanted: a file, see `read_answers`; so many answers; None: all.
            asked: the questions of the training.
            file: that they were read from.

        Raises:
            DataError: the file cannot be used.
        """
        if isinstance(wanted, Path):
            names = read_answers(wanted)
            return cls(names, f"{len(names)} of {wanted}")
        training = [each for about in asked.questions for each in about]
        every = frequent_answers(training)
        chosen = every[:wanted]
        of = f"the {len(every)} answers to {len(training)} questions of {file}"
        return cls(chosen, f"{len(chosen)} most frequent of {of}")


class QuestionSource:
    """Clips that come with questions.

    Args:
        asked: the videos and the questions.
        answers: what questions are answered with; None only reads the questions.
        per_video: a clip is a video with all questions about it; else every question is a clip of
            its own, in the order of the lines, as published.
        shuffled: whether the clips come in a new order in each epoch. COMPAT: the published
            recipes of question answering do not shuffle.
    """

    def __init__(
        self,
        asked: AskedVideos,
        answers: Answers | None = None,
        *,
        per_video: bool = False,
        shuffled: bool = True,
    ) -> None:
        self.asked = asked
        self.answers = answers
        self.shuffled = shuffled
        self._numbers = {name: place for place, name in enumerate(answers.names if answers else ())}
        self._places: np.ndarray | None = None  # of each clip: its video, and which question
        if not per_video:
            lines = [
                (each.line, video, place)
                for video, about in enumerate(asked.questions)
                for place, each in enumerate(about)
            ]
            self._places = np.array(sorted(lines), np.int64).reshape(-1, 3)[:, 1:]

    def __len__(self) -> int:
        return len(self.asked.videos) if self._places is None else len(self._places)

    def clip(self, index: int) -> tuple[int, tuple[Question, ...]]:
        """Return the number of the video of a clip, and its questions."""
        if self._places is None:
            return index, self.asked.questions[index]
        video, place = self._places[index].tolist()
        return video, (self.asked.questions[video][place],)

    def read(self, index: int, rng: np.random.Generator) -> Sample:
        """Decode one training clip; its questions are those of the clip, all of them.

        Raises:
            VideoError: the video cannot be read; the message names it.
        """
        sample = self.asked.videos.read(self.clip(index)[0], rng)
        asked = self.asked_questions(index)
        return replace(sample, questions=asked, label=None, key=self.key(index))

    def asked_questions(self, index: int) -> tuple[AskedQuestion, ...]:
        """Return the questions of a clip with the numbers of their answers."""
        return tuple(
            AskedQuestion(each.question, each.answer, self._numbers.get(each.answer), each.kind)
            for each in self.clip(index)[1]
        )

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Return the order of the clips in an epoch."""
        return rng.permutation(len(self)) if self.shuffled else np.arange(len(self))

    def read_views(self, index: int, protocol: Preprocessing) -> ClipViews:
        """Decode the video of a clip once and return all its views."""
        views = self.asked.videos.read_views(self.clip(index)[0], protocol)
        return views._replace(label=None, key=self.key(index))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The answers in the order of a classifier's outputs, and the one that is none of them."""
        return None if self.answers is None else (*self.answers.names, NO_ANSWER)

    def key(self, index: int) -> str:
        """Return the path of the video and, where every question is a clip, its line."""
        video, questions = self.clip(index)
        name = self.asked.videos.key(video)
        return name if self._places is None else f"{name}?{questions[0].line}"

    def label(self, index: int) -> int | None:
        """Return None: the answer belongs to a question, not to the clip."""
        del index

    def digest(self) -> str:
        """Return a hash of the questions and the answers, in their order."""
        content = [self.clip(index)[1] for index in range(len(self))], self.class_names
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def check_labels(self, num_classes: int) -> None:
        """Check that a classifier of so many outputs has one for each answer, and one more.

        Raises:
            DataError: it has another number.
        """
        names = self.class_names
        if names is not None and len(names) != num_classes:
            raise DataError(
                f"the data have {len(names) - 1} answers, and one output stands for none of them; "
                f"set model.num_classes: {len(names)} (it is {num_classes}), or data.answers"
            )


def read_questions(
    kind: str,
    path: Path,
    *,
    protocol: Preprocessing,
    sampling: ClipSampling | None = None,
    root: Path | str | None = None,
    skip_bad: bool = False,
) -> AskedVideos:
    """Read a file of questions; no video is touched.

    Args:
        kind: one of `formats.ASKING`.
        path: the file.
        protocol: the input protocol of the model.
        sampling: how the frames of a training clip are drawn.
        root: folder of the videos; by default that of the file.
        skip_bad: leave out lines that cannot be used, where otherwise the first of them is an
            error.

    Raises:
        DataError: no questions, or a line that cannot be used.
        ConfigError: an unknown format.
    """
    found = find_format(kind).load().read(path, root or path.parent)
    records = list(found.records)
    asked = [
        each.questions for each in records if isinstance(each, VideoAnnotation) and each.questions
    ]
    kept = [each for each in records if not isinstance(each, VideoAnnotation) or each.questions]
    if not asked and len(kept) < len(records):
        raise DataError(
            f"{path} has only questions with options; they are measured by `evaluate "
            "multiple-choice`"
        )
    clips = ClipList.read(replace(found, records=kept))
    if clips.bad_lines:
        if not skip_bad:
            others = len(clips.bad_lines) - 1
            more = f" ({others} more lines cannot be used)" if others else ""
            raise DataError(f"{clips.bad_lines[0].message}{more}")
        warn_of_bad_lines(clips)
    return AskedVideos(
        videos=VideoListSource(clips, protocol, sampling=sampling), questions=tuple(asked)
    )


class _WorldQuestions(Sequence[tuple[Question, ...]]):
    """The questions about the clips of the world, made when they are asked for."""

    def __init__(self, source: WorldSource, kinds: Collection[str] | None) -> None:
        self.source = source
        self.kinds = kinds

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        world = self.source.world
        asked = world.questions(world.scene(self.source.start + index))
        return tuple(each for each in asked if self.kinds is None or each.kind in self.kinds)


def world_questions(source: WorldSource, *, kinds: Collection[str] | None = None) -> QuestionSource:
    """Return clips of the world with their questions, and all answers that there are.

    Args:
        source: the clips.
        kinds: of the questions that are asked; None: all.

    Raises:
        UnknownNameError: the world has no such kind of question.
    """
    for kind in kinds or ():
        if kind not in QUESTION_KINDS:
            raise UnknownNameError(
                f"the world has no questions about '{kind}'; it has {', '.join(QUESTION_KINDS)}."
                f"{did_you_mean(kind, QUESTION_KINDS)}"
            )
    asked = AskedVideos(videos=source, questions=_WorldQuestions(source, kinds))
    answers = all_answers()
    return QuestionSource(asked, Answers(answers, f"{len(answers)} of the world"), per_video=True)
