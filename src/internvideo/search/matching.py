"""A closer look: the best hits once more, each beside the text, by a model with a matching head."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.engine import Answerer, Batch, Seen, Unreadable, answers
from internvideo.models.contract import Matcher, has
from internvideo.models.tokenizer import trim_padding
from internvideo.search.cutting import Span, decode_spans
from internvideo.search.hits import Hit
from internvideo.video import Video
from internvideo.video.preprocessing import Preprocessing
from internvideo.zoo.hub import LoadedModel

__all__ = ["check_matches", "matched"]

_LOG = logging.getLogger(__name__)


def check_matches(model: LoadedModel) -> Matcher:
    """Return the network, as one with a matching head.

    Raises:
        ConfigError: it has none.
    """
    if not has(model.model, "match"):
        raise ConfigError(
            f"{model.name} has no matching head, so nothing can be reranked; index with a UMT "
            "multimodal model, or leave out --rerank"
        )
    return model.model


def matched(model: LoadedModel, hits: Sequence[Hit], text: str) -> list[Hit]:
    """Return the hits in the order of how well a matching head thinks that they fit a text.

    Those whose videos cannot be read any more follow, as they came.

    Raises:
        ConfigError: the model has no matching head.
    """
    matcher = _TextMatcher(model, text)
    read = partial(_read, matcher.protocol)
    looked_at: list[Hit] = []
    unread: list[Hit] = []
    for hit, (_, match) in zip(hits, answers(matcher, hits, read), strict=True):
        if isinstance(match, VideoError):
            unread.append(hit)
            _LOG.warning("not reranked: %s", match)
        else:
            looked_at.append(replace(hit, match=match))
    return [*sorted(looked_at, key=lambda hit: -(hit.match or 0.0)), *unread]


def _read(protocol: Preprocessing, hit: Hit) -> Seen | Unreadable:
    span = Span(hit.part.first_frame, hit.part.num_frames)
    try:
        with Video(hit.path) as video:
            [(views, _)] = decode_spans(video, protocol, [span])
    except VideoError as error:
        return Unreadable(hit.path, error)
    return Seen(hit.path, views)


class _TextMatcher(Answerer[float]):
    """Says how probably a text is that of a video, the mean over its views."""

    def __init__(self, model: LoadedModel, text: str) -> None:
        super().__init__(model.model, model.protocol)
        self.matcher = check_matches(model)
        ids = trim_padding(self.matcher.tokenizer([text]))
        with torch.no_grad():
            self.text = self.matcher.read(ids.to(self.matcher.temperature().device))

    def answer(self, batch: Batch) -> list[float]:
        """Return the probability for each video of a batch."""

        def match(clips: Tensor) -> Tensor:
            tokens = self.matcher.forward_features(clips).tokens
            same = self.text.take(torch.zeros(len(clips), dtype=torch.long, device=tokens.device))
            return self.matcher.match_logits(tokens, same)

        return [float(logits.softmax(dim=1)[:, 1].mean()) for _, logits in batch.each(match)]
