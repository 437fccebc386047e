"""A closer look: the best candidates of every query again, each beside it, by a matching head.

    candidates ──► by video ──► read it once ──► logit of each of its texts ──► ranks
    (from vectors)

A video is read a second time here, as its tokens are too many to keep; a text is read once. The
others keep their order behind the candidates.

Source: the retrieval evaluation of Unmasked Teacher (Li et al., 2023, arXiv 2303.16058).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from internvideo.data.samples import EvaluationSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.arrays import as_list, from_numpy
from internvideo.evaluation.engine import Answerer, Batch, EvalLoop
from internvideo.evaluation.retrieval_ranks import BothWays, Ranks
from internvideo.models.contract import Matcher, TextTokens, has
from internvideo.models.tokenizer import trim_padding
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["Candidates", "reranked", "reranking_depth"]

_FILE = "matches.jsonl"
_DEPTH = 128  # as published
_DIGITS = 8
_TEXT_BATCH = 256

_Logits: TypeAlias = "tuple[float, ...]"


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best candidates of all queries, from the vectors.

    Attributes:
        of_texts: numbers of videos.
        of_videos: numbers of texts.
    """

    of_texts: Int[Tensor, "t k"]
    of_videos: Int[Tensor, "v k"]

    def pairs(self) -> Int[Tensor, "2 p"]:
        """Return the video and the text of each pair of both directions once, by video."""
        num_texts, num_videos = len(self.of_texts), len(self.of_videos)
        texts = torch.arange(num_texts)[:, None].expand_as(self.of_texts)
        videos = torch.arange(num_videos)[:, None].expand_as(self.of_videos)
        pairs = (self.of_texts * num_texts + texts, videos * num_texts + self.of_videos)
        places = from_numpy(np.unique(torch.cat([each.flatten() for each in pairs]).numpy()))
        return torch.stack([places // num_texts, places % num_texts])


def reranking_depth(model: LoadedModel, depth: int | None) -> int | None:
    """Return how many candidates a matching head looks at: 0 of a model without one, None for all.

    By default it is 128 as published, and all where the vectors were not trained to choose.

    Raises:
        ConfigError: a depth was given, but the model has no matching head.
    """
    if has(model.model, "match"):
        if depth is not None:
            return depth
        return None if model.model.matches_all else _DEPTH
    if depth:
        raise ConfigError(
            f"{model.name} has no matching head, so nothing can be reranked; leave out --rerank, "
            "or load a multimodal unmasked teacher"
        )
    return 0


def reranked(
    model: LoadedModel,
    protocol: Preprocessing,
    source: EvaluationSource,
    texts: Sequence[str],
    candidates: Candidates,
    *,
    owners: Int[Tensor, "t"],
    plain: BothWays,
    loop: EvalLoop,
) -> BothWays:
    """Return the ranks when the candidates are put in the order of their matching logits.

    Args:
        model: has a matching head.
        protocol: how it looks at a video.
        source: the videos, all of which could be read before.
        texts: as the model reads them.
        candidates: of both directions.
        owners: which video each text is about.
        plain: ranks without a closer look, which queries keep whose truth is no candidate.
        loop: how the evaluation runs; answers are kept in `matches.jsonl`.

    Raises:
        DataError: a video cannot be read any more.
    """
    video, text = candidates.pairs()
    ends = as_list(torch.bincount(video, minlength=len(source)).cumsum(0))
    by_video = [text[start:end] for start, end in pairwise([0, *ends])]
    matcher = _MatchScorer(model, protocol, texts, by_video)
    logits: list[float] = []
    for line in loop.run(matcher, source, file=_FILE):
        if line.answer is None:
            raise DataError(f"a video cannot be read any more: {line.error}")
        logits += line.answer
    table = _Table(video * len(texts) + text, torch.tensor(logits), len(texts))
    return BothWays(
        _ranks_of_texts(table, candidates.of_texts, owners, plain.to_video),
        _ranks_of_videos(table, candidates.of_videos, owners, plain.to_text),
    )


class _MatchScorer(Answerer[_Logits]):
    """Gives the logits of the texts that a video is compared with, averaged over its views."""

    def __init__(
        self,
        model: LoadedModel,
        protocol: Preprocessing,
        texts: Sequence[str],
        by_video: Sequence[Int[Tensor, "p"]],
    ) -> None:
        super().__init__(model.model.eval(), protocol)
        assert has(model.model, "match")
        self.matcher: Matcher = model.model
        self.texts = texts
        self.by_video = by_video
        self._read: TextTokens | None = None

    @torch.no_grad()
    def _tokens(self) -> TextTokens:
        if self._read is None:
            ids = trim_padding(self.matcher.tokenizer(self.texts))
            device = self.matcher.temperature().device
            parts = [
                self.matcher.read(ids[start : start + _TEXT_BATCH].to(device))
                for start in range(0, len(ids), _TEXT_BATCH)
            ]
            self._read = TextTokens(
                torch.cat([part.tokens for part in parts]),
                torch.cat([part.shown for part in parts]),
            )
        return self._read

    def answer(self, batch: Batch) -> list[_Logits]:
        """Return the logits of each video, in the order of its texts."""
        texts = self._tokens()

        def tokens(clips: Tensor) -> Tensor:
            return self.matcher.forward_features(clips).tokens

        found: list[_Logits] = []
        for video, views in batch.each(tokens):
            of_video = self.by_video[video.index].to(batch.device)
            logits: list[float] = []
            for start in range(0, len(of_video), batch.size):
                some = texts.take(of_video[start : start + batch.size])
                each_view = torch.stack([self._logits(view, some, batch) for view in views])
                logits += [round(each, _DIGITS) for each in as_list(each_view.mean(dim=0))]
            found.append(tuple(logits))
        return found

    @torch.no_grad()
    def _logits(
        self, view: Float[Tensor, "n d"], texts: TextTokens, batch: Batch
    ) -> Float[Tensor, "p"]:
        tokens = view.to(texts.tokens.device, texts.tokens.dtype)
        with batch.precision():
            logits = self.matcher.match_logits(tokens.expand(len(texts.tokens), -1, -1), texts)
        return logits[:, 1].float().cpu()

    def to_json(self, answer: _Logits) -> dict[str, Any]:
        """Return plain data."""
        return {"logits": list(answer)}

    def from_json(self, line: dict[str, Any]) -> _Logits:
        """Return the logits of a line."""
        return tuple(line["logits"])

    def identity(self) -> dict[str, Any]:
        """Add the texts and the candidates."""
        pairs = repr((list(self.texts), [as_list(each) for each in self.by_video]))
        return {**super().identity(), "candidates": hashlib.sha256(pairs.encode()).hexdigest()}


class _Table:
    """The logits of some pairs, by video and text."""

    def __init__(self, keys: Int[Tensor, "p"], logits: Float[Tensor, "p"], num_texts: int) -> None:
        self.keys = keys
        self.logits = logits.masked_fill(logits.isnan(), -torch.inf)
        self.num_texts = num_texts

    def at(self, videos: Int[Tensor, "*s"], texts: Int[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Return the logits of pairs that are there."""
        return self.logits[torch.searchsorted(self.keys, videos * self.num_texts + texts)]


def _ranks_of_texts(
    table: _Table, candidates: Int[Tensor, "t k"], owners: Int[Tensor, "t"], plain: Ranks
) -> Ranks:
    texts = torch.arange(len(candidates))[:, None].expand_as(candidates)
    logits, own = table.at(candidates, texts), candidates == owners[:, None]
    return _ranks(logits, own, plain)


def _ranks_of_videos(
    table: _Table, candidates: Int[Tensor, "v k"], owners: Int[Tensor, "t"], plain: Ranks
) -> Ranks:
    """As above, but of the texts of one video only the best counts."""
    videos = torch.arange(len(candidates))[:, None].expand_as(candidates)
    logits, of_video = table.at(videos, candidates), owners[candidates]
    order = torch.argsort(logits, dim=1, descending=True, stable=True)
    logits, of_video = logits.gather(1, order), of_video.gather(1, order)
    # the first of each video in a row is its best
    by_video, place = of_video.sort(dim=1, stable=True)
    repeated = torch.zeros_like(by_video, dtype=torch.bool)
    repeated[:, 1:] = by_video[:, 1:] == by_video[:, :-1]
    later = torch.zeros_like(repeated).scatter_(1, place, repeated)
    own = (of_video == torch.arange(len(candidates))[:, None]) & ~later
    return _ranks(logits, own, plain, counted=~later)


def _ranks(
    logits: Float[Tensor, "q k"],
    own: Tensor,
    plain: Ranks,
    counted: Tensor | None = None,
) -> Ranks:
    """Rank the truth, where it is one of the candidates, by the logits; else as before."""
    counted = torch.ones_like(own) if counted is None else counted
    truth = logits.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    ahead = ((logits > truth) & counted).sum(dim=1)
    tied = ((logits == truth) & counted).sum(dim=1) - 1
    chosen = own.any(dim=1)
    behind = torch.maximum(plain.ahead, counted.sum(dim=1))
    return Ranks(
        ahead=torch.where(chosen, ahead, behind),
        tied=torch.where(chosen, tied, 0),
        num_candidates=plain.num_candidates,
    )
