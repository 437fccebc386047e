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
from collections.abc import Sequence
from typing import Any, cast

import torch
from internvideo.results import ChoiceAnswer, MultipleChoiceReport
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.data.build import ChoiceQuestion, MultipleChoice
from internvideo.data.clips import VideoListSource
from internvideo.evaluation.engine import Line, Running, answer_videos
from internvideo.models.dual_encoder import DualEncoder
from internvideo.models.tokenizer import clean_caption
from internvideo.tasks.zero_shot.classifier import embed_sentences
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.fingerprint import weights_sha256

__all__ = ["choice_scores", "evaluate_multiple_choice"]

_DIGITS = 8
_RUNNING = Running()


def choice_scores(
    videos: Float[Tensor, "b e"],
    options: Float[Tensor, "b o e"],
    temperature: Float[Tensor, ""],
) -> Float[Tensor, "b o"]:
    """Return the cosine of each video with each of its options, divided by the temperature.

    Args:
        videos: unit-norm embeddings.
        options: likewise, those of each video.
        temperature: of the model, exp(-logit_scale).
    """
    return torch.einsum("be,boe->bo", videos.float(), options.float()) / temperature


def evaluate_multiple_choice(
    model: DualEncoder,
    choices: MultipleChoice,
    protocol: Preprocessing,
    *,
    clean: bool = False,
    running: Running = _RUNNING,
) -> MultipleChoiceReport:
    """Measure how often the true option has the largest score.

    The scores of several views of a video are averaged. A video that cannot be read is listed in
    the report's `failures`, and its questions count as misses in `accuracy_of_all`.

    Args:
        model: an `nn.Module` with two towers.
        choices: the questions.
        protocol: frames, clips and crops, resolution.
        clean: apply `clean_caption` to the options, as ViCLIP's evaluation does with sentences.
        running: batch size, workers, and the file of the answers.

    Raises:
        ConfigError: the file of the answers is one of another evaluation.
    """
    network = cast(nn.Module, model).eval()
    source = VideoListSource(choices.videos, protocol)
    rows = _option_rows(model, choices, clean=clean)
    temperature = model.temperature().detach().float().cpu()

    def to_line(index: int, views: Float[Tensor, "v e"]) -> Line:
        asked = choices.questions[index]
        answers = [_answer(question, views, rows, temperature) for question in asked]
        return {
            "index": index,
            "video": source.key(index),
            "answers": [answer.to_dict() for answer in answers],
        }

    lines = answer_videos(
        network,
        model.encode_video,
        to_line,
        source,
        protocol,
        evaluation=_identity(network, choices, protocol, clean, running),
        running=running,
    )
    return _report(lines, choices, protocol)


def _option_rows(
    model: DualEncoder, choices: MultipleChoice, *, clean: bool
) -> dict[str, Float[Tensor, " e"]]:
    """Return the embedding of every option, on the CPU."""
    options = {
        option: None
        for asked in choices.questions
        for question in asked
        for option in question.options
    }
    texts = [clean_caption(option) if clean else option for option in options]
    return dict(zip(options, embed_sentences(model, texts).cpu(), strict=True))


def _answer(
    question: ChoiceQuestion,
    views: Float[Tensor, "v e"],
    rows: dict[str, Float[Tensor, " e"]],
    temperature: Float[Tensor, ""],
) -> ChoiceAnswer:
    options = torch.stack([rows[option] for option in question.options])
    scores = choice_scores(views, options.expand(len(views), -1, -1), temperature).mean(dim=0)
    return ChoiceAnswer(
        video=question.path,
        options=question.options,
        answer=question.answer,
        scores=tuple(round(each, _DIGITS) for each in scores.tolist()),
        kind=question.kind,
    )


def _identity(
    network: nn.Module,
    choices: MultipleChoice,
    protocol: Preprocessing,
    clean: bool,
    running: Running,
) -> dict[str, Any]:
    """Return what makes two evaluations the same one; nothing where none can be continued."""
    if running.predictions is None:
        return {}
    return {
        "protocol": protocol.to_dict(),
        "weights": weights_sha256(network),
        "questions": hashlib.sha256(repr(choices.questions).encode()).hexdigest(),
        "clean": clean,
    }


def _report(
    lines: Sequence[Line], choices: MultipleChoice, protocol: Preprocessing
) -> MultipleChoiceReport:
    failed = [line for line in lines if "error" in line]
    return MultipleChoiceReport(
        answers=tuple(
            ChoiceAnswer.from_dict(line["video"], answer)
            for line in lines
            for answer in line.get("answers", ())
        ),
        failures=tuple((line["video"], line["error"]) for line in failed),
        num_unanswered=sum(len(choices.questions[line["index"]]) for line in failed),
        left_out=choices.left_out,
        protocol=protocol.describe(),
    )
