"""Answers to a user's question about videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from internvideo.errors import VideoError
from internvideo.evaluation.videos import ask_videos
from internvideo.formats.questions import read_answers
from internvideo.tasks.question_answering.answers import VideoReply
from internvideo.tasks.question_answering.asking import ask, readable
from internvideo.tasks.task import Option
from internvideo.video.opening import AnyVideo
from internvideo.zoo.hub import LoadedModel

__all__ = ["predict"]


def predict(
    model: LoadedModel,
    videos: Iterable[AnyVideo],
    *,
    question: Annotated[str, Option("What to ask about each video.", is_argument=True)],
    top_k: Annotated[
        int, Option("Best answers for each video, of a classifier.", flags=("-k",), minimum=1)
    ] = 5,
    answers: Annotated[
        str | None, Option("File of a classifier's answers, where it does not name them.")
    ] = None,
) -> Iterator[VideoReply | VideoError]:
    """Answer a question about each video.

    A model with a classifier gives the likeliest of the answers that it knows; one with a caption
    decoder writes an answer, if it was trained on questions.

    The default model, qa-nano, ships with the package. It knows only the small words of the
    procedural world; fine-tune an InternVideo-MM on questions about real videos.

    Raises:
        ConfigError: the model answers no questions, or the question has no words that it knows.
        DataError: the file of the answers cannot be used.
    """
    asked = readable(model, question)
    names = None if answers is None else read_answers(Path(answers))
    answerer = ask(model, lambda video: (asked,), names, top_k=top_k)
    described = answerer.protocol.describe()

    def replies() -> Iterator[VideoReply | VideoError]:
        for video, found in ask_videos(answerer, videos):
            if isinstance(found, VideoError):
                yield found
                continue
            [reply] = found
            yield VideoReply(
                video=video.name,
                question=question,
                answers=reply.answers,
                probabilities=reply.probabilities,
                model=answerer.name,
                protocol=described,
            )

    return replies()
