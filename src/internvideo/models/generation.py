"""Writing a text token by token: greedy, beam search, nucleus (top-p) sampling.

Nothing here knows of videos. A `Writer` holds a batch of unfinished texts; it takes the next token
of each and returns the logits of the one after that:

    start ──► writer.step ──► logits ──► choose ──► writer.step ──► … until the end token

Shapes: b texts, k beams a text, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Limits", "Writer", "Written", "beam_search", "greedy", "nucleus"]


@runtime_checkable
class Writer(Protocol):
    """A batch of texts that a model goes on with."""

    def step(self, ids: Int[Tensor, "b"]) -> Float[Tensor, "b v"]:
        """Put one token behind each text; return the logits of the token that follows it."""
        ...

    def reorder(self, rows: Int[Tensor, "r"]) -> None:
        """Let text i go on from what text `rows[i]` is so far; rows may repeat."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Where texts start and end.

    Attributes:
        start_id: the token in front of every text.
        end_id: the token that ends a text.
        max_length: longest text in tokens, the end token included and the start token not.
        banned: tokens that are never written.
    """

    start_id: int
    end_id: int
    max_length: int
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ValueError(f"max_length must be at least 1, not {self.max_length}")
        if self.end_id in self.banned:
            raise ValueError(f"the end token {self.end_id} is banned: no text could end")


@dataclass(frozen=True, slots=True)
class Written:
    """One text.

    Attributes:
        ids: its tokens without the start and the end token.
        log_prob: natural logarithm of the probability of its tokens, of the end token too.
        ended: whether the end token came before the limit of the length.
    """

    ids: tuple[int, ...]
    log_prob: float
    ended: bool


def greedy(writer: Writer, limits: Limits, *, batch: int, device: torch.device) -> list[Written]:
    """Write the most probable token each time.

    Args:
        writer: at the start of `batch` texts.
        limits: start, end, and length.
        batch: number of texts.
        device: where the writer works.
    """
    return _one_by_one(
        writer, limits, lambda scores: scores.argmax(dim=-1), batch=batch, device=device
    )


def nucleus(
    writer: Writer,
    limits: Limits,
    *,
    batch: int,
    device: torch.device,
    top_p: float = 0.9,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> list[Written]:
    """Draw each token from the smallest set of tokens that holds `top_p` of the probability.

    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration".

    Args:
        writer: at the start of `batch` texts.
        limits: start, end, and length.
        batch: number of texts.
        device: where the writer works.
        top_p: probability that the set must reach; near 0 leaves the most probable token only.
        temperature: logits are divided by it before all else.
        generator: source of randomness, on the device of the writer.

    Raises:
        ValueError: `top_p` is not in (0, 1], or the temperature is not positive.
    """
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}; greedy has none")

    def draw(scores: Float[Tensor, "b v"]) -> Int[Tensor, "b"]:
        probabilities = (scores / temperature).softmax(dim=-1)
        sorted_, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = sorted_.cumsum(dim=-1) - sorted_
        # What comes before the most probable token is 0 up to rounding: it always stays.
        before[:, 0] = 0
        nucleus_ = sorted_.masked_fill(before >= top_p, 0)
        place = torch.multinomial(nucleus_, 1, generator=generator)
        return order.gather(1, place)[:, 0]

    return _one_by_one(writer, limits, draw, batch=batch, device=device)


def beam_search(
    writer: Writer,
    limits: Limits,
    *,
    batch: int,
    device: torch.device,
    num_beams: int = 4,
    length_penalty: float = 0.0,
) -> list[Written]:
    """Follow the best `num_beams` beginnings of each text at once; return its best text.

    Beginnings are ranked by `log_prob / length ** length_penalty`. A text that has ended keeps its
    beam as long as no beginning is better. With one beam this is `greedy`; with as many beams as
    there are beginnings the result is the best text of all.

    Args:
        writer: at the start of `batch` texts.
        limits: start, end, and length.
        batch: number of texts.
        device: where the writer works.
        num_beams: beginnings to keep.
        length_penalty: 0 ranks by probability, which favours short texts; 1 by the mean over the
            tokens.

    Raises:
        ValueError: no beam, or a negative penalty.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams must be at least 1, not {num_beams}")
    if length_penalty < 0:
        raise ValueError(f"length_penalty must not be negative, it is {length_penalty}")
    beams = _Beams(limits, length_penalty, batch=batch, num_beams=num_beams, device=device)
    writer.reorder(torch.arange(batch, device=device).repeat_interleave(num_beams))
    for _ in range(limits.max_length):
        writer.reorder(beams.advance(_log_probs(writer.step(beams.last()), limits.banned)))
        if beams.done():
            break
    return beams.best()


class _Beams:
    """The beams of a batch of texts; dead ones (there were fewer beginnings) score -inf."""

    def __init__(
        self,
        limits: Limits,
        length_penalty: float,
        *,
        batch: int,
        num_beams: int,
        device: torch.device,
    ) -> None:
        shape = (batch, num_beams)
        self.limits = limits
        self.length_penalty = length_penalty
        self.ids = torch.full((*shape, 1), limits.start_id, device=device)
        self.log_prob = torch.full(shape, -torch.inf, device=device, dtype=torch.float32)
        self.log_prob[:, 0] = 0
        self.length = torch.zeros(shape, dtype=torch.int64, device=device)
        self.ended = torch.zeros(shape, dtype=torch.bool, device=device)
        self.finished: list[Written | None] = [None] * batch
        self.finished_score = torch.full((batch,), -torch.inf, device=device)

    def last(self) -> Int[Tensor, "r"]:
        """Return the newest token of each beam, text by text."""
        return self.ids[..., -1].flatten()

    def _score(self, log_prob: Tensor, length: Tensor | int) -> Tensor:
        return log_prob / torch.as_tensor(length).clamp(min=1) ** self.length_penalty

    def advance(self, log_probs: Float[Tensor, "r v"]) -> Int[Tensor, "r"]:
        """Put the best tokens behind the beams; return the row that each beam goes on from."""
        batch, num_beams = self.log_prob.shape
        vocabulary = log_probs.shape[1]
        more = log_probs.view(batch, num_beams, vocabulary)
        # An ended text has one continuation, itself, written as one more end token.
        stay = torch.full((vocabulary,), -torch.inf, device=more.device)
        stay[self.limits.end_id] = 0
        more = torch.where(self.ended[..., None], stay, more)
        total = (self.log_prob[..., None] + more).flatten(1)
        length = self.length + ~self.ended
        score = self._score(total, length.repeat_interleave(vocabulary, dim=1))
        chosen = score.topk(num_beams, dim=1).indices
        beam, token = chosen // vocabulary, chosen % vocabulary

        self.log_prob = total.gather(1, chosen)
        self.length = length.gather(1, beam)
        self.ended = (token == self.limits.end_id) | self.log_prob.isinf()
        kept = self.ids.gather(1, beam[..., None].expand(-1, -1, self.ids.shape[2]))
        self.ids = torch.cat([kept, token[..., None]], dim=2)
        self._remember_ended()
        first = torch.arange(batch, device=beam.device)[:, None] * num_beams
        return (first + beam).flatten()

    def _remember_ended(self) -> None:
        """Keep the best ended text: better beginnings that take its beam may end worse."""
        score = self._score(self.log_prob, self.length).masked_fill(~self.ended, -torch.inf)
        best, beam = score.max(dim=1)
        for text in (best > self.finished_score).nonzero()[:, 0].tolist():
            self.finished[text] = self._written(text, int(beam[text]))
            self.finished_score[text] = best[text]

    def done(self) -> bool:
        """Tell whether no beam can become better than the best ended text."""
        # Log-probabilities only fall, and no text is longer than the limit.
        bound = self._score(self.log_prob, self.limits.max_length)
        hopeless = self.ended | (bound <= self.finished_score[:, None])
        return bool(hopeless.all())

    def best(self) -> list[Written]:
        """Return the best text of each batch row; one cut by the limit counts as it is."""
        score, beam = self._score(self.log_prob, self.length).max(dim=1)
        finished = self.finished_score.tolist()
        return [
            ended
            if (ended := self.finished[text]) is not None and finished[text] >= value
            else self._written(text, int(beam[text]))
            for text, value in enumerate(score.tolist())
        ]

    def _written(self, text: int, beam: int) -> Written:
        length = int(self.length[text, beam])
        ids = self.ids[text, beam, 1 : 1 + length].tolist()
        return _written(ids, float(self.log_prob[text, beam]), self.limits.end_id)


def _one_by_one(
    writer: Writer,
    limits: Limits,
    choose: Callable[[Float[Tensor, "b v"]], Int[Tensor, "b"]],
    *,
    batch: int,
    device: torch.device,
) -> list[Written]:
    """Write texts that do not depend on each other; ended ones wait for the others."""
    last = torch.full((batch,), limits.start_id, device=device)
    ended = torch.zeros(batch, dtype=torch.bool, device=device)
    log_prob = torch.zeros(batch, device=device)
    columns: list[Tensor] = []
    for _ in range(limits.max_length):
        scores = _log_probs(writer.step(last), limits.banned)
        last = torch.where(ended, limits.end_id, choose(scores))
        log_prob += scores.gather(1, last[:, None])[:, 0].masked_fill(ended, 0)
        columns.append(last)
        ended |= last == limits.end_id
        if bool(ended.all()):
            break
    rows = torch.stack(columns, dim=1).tolist()
    return [
        _written(row, value, limits.end_id)
        for row, value in zip(rows, log_prob.tolist(), strict=True)
    ]


def _log_probs(logits: Float[Tensor, "b v"], banned: Sequence[int]) -> Float[Tensor, "b v"]:
    logits = logits.float()
    if banned:
        logits = logits.index_fill(1, torch.tensor(banned, device=logits.device), -torch.inf)
    return logits.log_softmax(dim=-1)


def _written(ids: list[int], log_prob: float, end_id: int) -> Written:
    ended = end_id in ids
    return Written(
        ids=tuple(ids[: ids.index(end_id)] if ended else ids), log_prob=log_prob, ended=ended
    )
