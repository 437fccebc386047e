"""Measure how well a model finds videos by sentences, and sentences by videos.

    video ──► encode_video ──► predictions.jsonl ──┐
                                                   ├──► cosine / temperature ──► ranks ──► report
    captions ──► encode_text ──────────────────────┘

Each video is decoded and encoded once, however many captions it has, and each caption once.
"""

from __future__ import annotations

import base64
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.data.samples import EvaluationSource
from internvideo.data.selection import Selection
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import as_list, from_numpy
from internvideo.evaluation.dual_softmax import Side
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.predictions import Answered
from internvideo.evaluation.retrieval_ranks import BothWays, Ties, retrieval_ranks
from internvideo.evaluation.similarity import Similarity, best_candidates
from internvideo.evaluation.text import embed_sentences, prompt_rule, warn_of_unknown_words
from internvideo.models.contract import DualEncoder, has
from internvideo.models.tokenizer import clean_caption
from internvideo.tasks.retrieval.captions import CaptionedVideos, CaptionSubset, captioned_videos
from internvideo.tasks.retrieval.report import (
    DIRECTIONS,
    DSL,
    PLAIN,
    RERANKED,
    Miss,
    RetrievalReport,
    Standing,
)
from internvideo.tasks.retrieval.rerank import Candidates, reranked, reranking_depth
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["VideoVectors", "evaluate", "measure"]

_MAX_MISSES = 100


class VideoVectors(Answerer[Tensor]):
    """Embeds videos for comparison with texts; the vectors of several views are averaged.

    So the product with the vector of a text is the mean of its cosines with the views.
    """

    def __init__(self, model: LoadedModel, protocol: Preprocessing) -> None:
        super().__init__(model.model.eval(), protocol)
        self.towers = model.two_towers
        self.normalize = not has(model.model, "match")  # see `Matcher`

    def answer(self, batch: Batch) -> list[Float[Tensor, " e"]]:
        """Return the vector of each video."""

        def embed(clips: Tensor) -> Tensor:
            return self.towers.encode_video(clips, normalize=self.normalize)

        return [rows.mean(dim=0) for _, rows in batch.each(embed)]

    def to_json(self, answer: Tensor) -> dict[str, Any]:
        """Return the float32 numbers, little endian, as base64."""
        return {"vector": base64.b64encode(answer.numpy().astype("<f4").tobytes()).decode()}

    def from_json(self, line: dict[str, Any]) -> Tensor:
        """Return the vector of a line."""
        numbers = np.frombuffer(base64.b64decode(line["vector"]), "<f4")
        return from_numpy(numbers.astype(np.float32))


def evaluate(
    model: LoadedModel,
    videos: EvaluationSource,
    *,
    loop: EvalLoop,
    caption_subset: Annotated[
        CaptionSubset,
        Option("All captions of a video, its first one, or all of its parts as one paragraph."),
    ] = "all",
    side: Annotated[
        Side | None,
        Option(
            "Dual softmax over the texts, the videos, or both: in each direction its queries. "
            "Default: both, but the texts where a video has several captions."
        ),
    ] = None,
    frames: Annotated[
        int | None, Option("Frames of a clip, in place of the model's.", minimum=1)
    ] = None,
    temperature: Annotated[
        float | None, Option("Of the dual softmax, in place of the model's.")
    ] = None,
    rerank: Annotated[
        int | None,
        Option(
            "Candidates that a matching head looks at: 128 where the model has one, all where its "
            "vectors do not choose; 0 for none.",
            minimum=0,
        ),
    ] = None,
    ties: Annotated[
        Ties,
        Option("Of equal scores the true one first; legacy: as in the published evaluator."),
    ] = "best",
) -> RetrievalReport:
    """Measure text-to-video and video-to-text retrieval: R@1, R@5, R@10, median and mean rank.

    Plain scores and dual softmax (DSL) stand side by side; DSL knows all queries at once, so it is
    no number for a single one. A video is found by each of its captions; the captions of a video
    are as good as the best of them. Videos that cannot be read are listed, and their captions count
    as misses in a second number.

    Raises:
        DataError: no captions, or no video can be read.
        ConfigError: the model has no text tower, an option does not fit it, or the folder belongs
            to another evaluation.
    """
    data, towers = captioned_videos(videos, caption_subset), model.two_towers
    protocol, depth = _protocol(model, frames), reranking_depth(model, rerank)
    divisor = _temperature(towers, temperature)
    texts = _Texts.of(model, towers, data)
    answered = loop.run(VideoVectors(model, protocol), data.source)
    readable = _Readable.of(data, answered)
    vectors = readable.vectors.to(texts.vectors.device)
    similarity = Similarity.of_vectors(texts.vectors[readable.texts], vectors, divisor)
    one_each = len(texts.read) == len(data.captions)
    side = side or ("both" if one_each else "text")
    plain, dual = retrieval_ranks(similarity, readable.owners, side=side)
    ranks = {PLAIN: plain, DSL: dual}
    if depth is None:
        depth = max(similarity.shape)
    if depth:
        ranks[RERANKED] = reranked(
            model,
            protocol,
            Selection(data.source, readable.videos),
            [texts.read[number] for number in readable.texts],
            Candidates(*best_candidates(similarity, depth)),
            owners=readable.owners,
            plain=plain,
            loop=loop,
        )
    return RetrievalReport(
        text_to_video={
            way: Standing.of(each.to_video, ties, lower_median=not one_each)
            for way, each in ranks.items()
        },
        video_to_text={way: Standing.of(each.to_text, ties) for way, each in ranks.items()},
        num_missing_texts=len(texts.read) - len(readable.texts),
        num_missing_videos=len(readable.failures),
        captions=data.describe(),
        side=side,
        frames=protocol.num_frames,
        temperature=divisor,
        depth=depth,
        misses=_misses(data, readable, similarity, plain),
        remarks=(*texts.remarks, *_tie_remarks(ranks, ties)),
        left_out=data.left_out,
        failures=readable.failures,
        protocol=protocol.describe(),
        model=model.name,
    )


def measure(
    model: LoadedModel, source: EvaluationSource, *, loop: EvalLoop, quick: bool
) -> RetrievalReport:
    """Measure a model in a training run: quickly one central view, by its vectors where it can."""
    if not quick:
        return evaluate(model, source, loop=loop)
    protocol = dataclasses.replace(model.protocol, num_clips=1, num_crops=1)
    by_vectors = has(model.model, "match") and not model.model.matches_all
    one_view = model.with_record(preprocessing=protocol)
    return evaluate(one_view, source, loop=loop, rerank=0 if by_vectors else None)


def _protocol(model: LoadedModel, frames: int | None) -> Preprocessing:
    if frames is None:
        return model.protocol
    return dataclasses.replace(model.protocol, num_frames=frames)


def _temperature(towers: DualEncoder, given: float | None) -> float:
    if given is None:
        return float(towers.temperature().detach())
    if not 0 < given < float("inf"):
        raise ConfigError(f"--temperature must be a positive number, got {given}")
    return given


@dataclasses.dataclass(frozen=True)
class _Texts:
    """All captions, as the model reads them.

    Attributes:
        read: cleaned where its family does so.
        vectors: one each; equal captions are embedded once.
        remarks: what is worth knowing of them.
    """

    read: list[str]
    vectors: Float[Tensor, "t e"]
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, model: LoadedModel, towers: DualEncoder, data: CaptionedVideos) -> _Texts:
        """Embed the captions of all videos, in their order."""
        captions = [text for texts in data.captions for text in texts]
        clean = prompt_rule(model.architecture).clean
        read = [clean_caption(text) for text in captions] if clean else captions
        places = {text: place for place, text in enumerate(dict.fromkeys(read))}
        warn_of_unknown_words(towers.tokenizer, places, name=model.name, warned=set())
        vectors = embed_sentences(towers, list(places))
        remarks: list[str] = []
        if cut := sum(_is_cut(towers, text) for text in places):
            limit = towers.tokenizer.context_length
            remarks.append(
                f"longer than the {limit} tokens that {model.name} reads, and cut off there: {cut} "
                f"of {len(places)} different captions"
            )
        if lost := int((~vectors.isfinite().all(dim=1)).sum()):
            remarks.append(
                f"without a finite vector of {model.name}, and so never found: {lost} of "
                f"{len(places)} different captions"
            )
        if (shared := _shared(data)) > 0:
            remarks.append(
                "word for word those of other videos too, so that not all can come first: "
                f"{shared} of {len(read)} captions"
            )
        return cls(read, vectors[torch.tensor([places[text] for text in read])], tuple(remarks))


def _is_cut(towers: DualEncoder, text: str) -> bool:
    """Tell whether a tokenizer drops the end of a text; a token has at least one byte."""
    limit = towers.tokenizer.context_length - 2  # start and end
    return len(text.encode()) > limit and len(towers.tokenizer.encode(text)) > limit


def _shared(data: CaptionedVideos) -> int:
    """Return how many captions belong to several videos."""
    videos = Counter(text for texts in data.captions for text in set(texts))
    return sum(videos[text] > 1 for texts in data.captions for text in texts)


@dataclasses.dataclass(frozen=True)
class _Readable:
    """The videos that have a vector, and their captions.

    Attributes:
        videos: their numbers in the source.
        vectors: one each.
        texts: numbers of their captions among all.
        owners: which of `videos` each caption is about.
        failures: (video, reason) of the others.
    """

    videos: list[int]
    vectors: Float[Tensor, "v e"]
    texts: list[int]
    owners: Int[Tensor, "t"]
    failures: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, data: CaptionedVideos, answered: Sequence[Answered[Tensor]]) -> _Readable:
        """Sort out the answers.

        Raises:
            DataError: there is no vector.
        """
        failures: list[tuple[str, str]] = []
        videos: list[int] = []
        vectors: list[Tensor] = []
        for each in answered:
            if each.answer is None:
                failures.append((each.video, each.error))
            elif not bool(each.answer.isfinite().all()):
                failures.append((each.video, "the model gives it a vector that is not finite"))
            else:
                videos.append(each.index)
                vectors.append(each.answer)
        if not vectors:
            raise DataError(f"no video could be read: {failures[0][1]}")
        counts = torch.tensor([len(texts) for texts in data.captions])
        firsts = counts.cumsum(0) - counts
        texts = [
            number
            for index in videos
            for number in range(int(firsts[index]), int(firsts[index] + counts[index]))
        ]
        owners = torch.arange(len(videos)).repeat_interleave(counts[videos])
        return cls(videos, torch.stack(vectors), texts, owners, tuple(failures))


def _misses(
    data: CaptionedVideos, readable: _Readable, similarity: Similarity, plain: BothWays
) -> tuple[Miss, ...]:
    """Return some captions whose video is not the first, with what is."""
    captions = [text for texts in data.captions for text in texts]
    missed: list[int] = as_list(plain.to_video.ahead.nonzero()[:_MAX_MISSES, 0])
    every = slice(0, len(readable.videos))
    found: list[Miss] = []
    for number in missed:
        scores = similarity.tile(slice(number, number + 1), every)[0]
        first = int(scores.nan_to_num(-torch.inf).argmax())
        owner = int(readable.owners[number])
        found.append(
            Miss(
                text=captions[readable.texts[number]],
                video=data.source.key(readable.videos[owner]),
                rank=int(plain.to_video.ahead[number]) + 1,
                first=data.source.key(readable.videos[first]),
            )
        )
    return tuple(found)


def _tie_remarks(ranks: Mapping[str, BothWays], ties: Ties) -> list[str]:
    """Tell where ties matter, and how much."""
    remarks: list[str] = []
    for way, both in ranks.items():
        for direction, each in zip(DIRECTIONS, both, strict=True):
            count = int((each.tied > 0).sum())
            if not count:
                continue
            worst = 100 * float((each.ahead + each.tied == 0).double().mean())
            rule = "stand behind it" if ties == "best" else "add a rank each"
            remarks.append(
                f"{direction}, {way}: for {count} of {len(each.tied)} queries other candidates "
                f"have exactly the score of the true one and {rule}; if they came first, R@1 "
                f"would be {worst:.2f} %"
            )
    return remarks
