"""Video-text contrast: the symmetric cross-entropy with several possible positives.

`S = v tᵀ / temperature` of unit vectors; the target of row i is uniform over all j with the same
sample id, so a caption that occurs twice in a batch is not its own negative. The loss is the mean
of the video→text and the text→video cross-entropy, as in ViCLIP (arXiv 2307.06942); with distinct
ids it is the InfoNCE loss of CLIP. `contrastive_loss` says it in four lines, for one process;
`blockwise_contrast` computes the same for large batches and several processes.

There the B x B matrix S is never held. It is computed by blocks of rows, of which only the
log-sum-exp of the rows and of the columns stay; the backward pass computes each block again. Both
directions of the loss come from the same block:

    loss = ½ mean_i lse_j S_ij + ½ mean_j lse_i S_ij − mean_i Σ_j y_ij S_ij
    ∂loss/∂S_ij = (exp(S_ij − row_i) + exp(S_ij − column_j) − 2 y_ij) / 2B

with the targets y of `contrastive_targets`, which are symmetric. On w processes each has n = B / w
videos and texts and computes the rows of its own videos, n x B:

* exchange "gather": all texts are gathered once, and the gradient of the texts is summed and sent
  back to where they came from (an all-gather with full gradient);
* exchange "ring": the texts of one process at a time go round, with their log-sum-exp and, in the
  backward pass, their gradient: no process ever holds more than 2n texts.

The videos stay where they are: what a column needs of other rows is one number a text.

Both give the exact gradient of the loss of the whole batch. (In ViCLIP's code every process
computes the whole matrix and keeps the gradient of its own features; DDP then divides by w, so its
gradient is 1 / w of this one. AdamW, which is blind to a constant factor, hides that.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from internvideo.train.collectives import (
    gather_rows,
    group_rank,
    group_size,
    merge_logsumexp,
    pass_on,
    scatter_sum,
    total,
)

__all__ = [
    "Contrast",
    "Exchange",
    "blockwise_contrast",
    "caption_ids",
    "contrastive_loss",
    "contrastive_targets",
]

Exchange = Literal["gather", "ring"]

_BLOCK = 1 << 22  # numbers of S at a time: 16 MB


def caption_ids(captions: Sequence[str]) -> Int[Tensor, "b"]:
    """Return one id per caption, equal for equal captions, in any batch and on any machine.

    >>> first, second, third = caption_ids(["a red star", "a digit", "a red star"]).tolist()
    >>> first == third != second
    True
    """
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in captions]
    return torch.tensor(
        [int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64
    )


def contrastive_targets(ids: Int[Tensor, "b"]) -> Float[Tensor, "b b"]:
    """Return the target distribution of each row: uniform over the samples with the same id."""
    same = (ids[:, None] == ids[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def contrastive_loss(
    video: Float[Tensor, "b d"],
    text: Float[Tensor, "b d"],
    temperature: float | Float[Tensor, ""],
    *,
    ids: Int[Tensor, "b"] | None = None,
) -> Float[Tensor, ""]:
    """Return the symmetric contrastive loss of a batch of pairs.

    Args:
        video: unit-norm video embeddings.
        text: unit-norm text embeddings; row i belongs to video i.
        temperature: the similarities are divided by it.
        ids: sample ids; pairs with equal ids are positives of each other. None: all are distinct.
    """
    logits = video.float() @ text.float().T / temperature
    if ids is None:
        target = torch.arange(len(logits), device=logits.device)
    else:
        target = contrastive_targets(ids)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class Contrast(NamedTuple):
    """The result of comparing a batch.

    Attributes:
        loss: of the whole batch, equal in all processes.
        accuracy: share of all videos whose nearest text is one of their own; no gradient.
    """

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


def blockwise_contrast(
    video: Float[Tensor, "n d"],
    text: Float[Tensor, "n d"],
    temperature: float | Float[Tensor, ""],
    *,
    ids: Int[Tensor, "n"] | None = None,
    group: dist.ProcessGroup | None = None,
    exchange: Exchange = "gather",
    block: int = _BLOCK,
) -> Contrast:
    """Return the symmetric contrastive loss of the pairs of all processes, in float32.

    Memory beside the features grows with `block`, not with the square of the batch. The gradients
    are scaled by the number of processes, for DDP and FSDP, which average them: what the optimiser
    then sees is exactly the gradient of the loss of the whole batch.

    Args:
        video: unit-norm video embeddings of this process.
        text: unit-norm text embeddings; row i belongs to video i.
        temperature: the similarities are divided by it.
        ids: sample ids; pairs with equal ids, of whatever process, are positives of each other.
            None: all are distinct.
        group: the processes, each with equally many pairs; None is this one alone.
        exchange: "gather" is faster, "ring" never holds all texts.
        block: similarities that are computed at a time.

    Raises:
        ValueError: `exchange` is not one of the two.
    """
    if exchange not in ("gather", "ring"):
        raise ValueError(f"exchange {exchange!r} is not 'gather' or 'ring'")
    count, rank = len(video), group_rank(group)
    if ids is None:
        all_ids = torch.arange(count * group_size(group), device=video.device)
    else:
        all_ids = gather_rows(ids, group)
    batch = _Batch(
        all_ids=all_ids,
        own_ids=all_ids[rank * count : (rank + 1) * count],
        group=group,
        exchange=exchange,
        block=block,
    )
    if not isinstance(temperature, Tensor):
        temperature = torch.tensor(temperature, device=video.device)
    loss, accuracy = _BlockwiseContrast.apply(
        video.float(), text.float(), temperature.float(), batch
    )
    return Contrast(loss, accuracy)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Which pairs belong together, and how the processes exchange them."""

    all_ids: Int[Tensor, "b"]
    own_ids: Int[Tensor, "n"]
    group: dist.ProcessGroup | None
    exchange: Exchange
    block: int

    @property
    def in_ring(self) -> bool:
        return self.group is not None and self.exchange == "ring"

    @property
    def steps(self) -> int:
        """Number of sets of texts that this process compares its videos with."""
        return group_size(self.group) if self.in_ring else 1

    def column_ids(self, step: int) -> Int[Tensor, "m"]:
        """Return the ids of the texts that are here at this step."""
        if not self.in_ring:
            return self.all_ids
        count = len(self.own_ids)
        first = (group_rank(self.group) - step) % self.steps * count
        return self.all_ids[first : first + count]

    def target(self) -> Float[Tensor, "n"]:
        """Return 1 / (number of texts with the same id) of each row: its non-zero targets."""
        ranked = self.all_ids.sort().values
        above = torch.searchsorted(ranked, self.own_ids, right=True)
        return 1.0 / (above - torch.searchsorted(ranked, self.own_ids))

    def row_blocks(self, columns: int) -> list[slice]:
        height, rows = max(self.block // columns, 1), len(self.own_ids)
        return [slice(first, first + height) for first in range(0, rows, height)]


class _Rows:
    """What stays of the rows of S while its columns come by."""

    def __init__(self, video: Float[Tensor, "n d"], batch: _Batch) -> None:
        self.video = video  # divided by the temperature
        self.batch = batch
        self.target = batch.target()
        self.lse = video.new_full((len(video),), -torch.inf)
        self.positives = video.new_zeros(())
        self.best = video.new_full((len(video),), -torch.inf)
        self.found = torch.zeros_like(batch.own_ids, dtype=torch.bool)

    def compare(self, text: Float[Tensor, "m d"], ids: Int[Tensor, "m"]) -> Float[Tensor, "m"]:
        """Take in these columns; return the log-sum-exp of each over the rows of this process."""
        columns = text.new_full((len(text),), -torch.inf)
        for part in self.batch.row_blocks(len(text)):
            own_ids = self.batch.own_ids[part]
            similarity = self.video[part] @ text.T
            self.lse[part] = torch.logaddexp(self.lse[part], similarity.logsumexp(dim=1))
            columns = torch.logaddexp(columns, similarity.logsumexp(dim=0))
            value, nearest = similarity.max(dim=1)
            better = value > self.best[part]
            self.best[part] = torch.where(better, value, self.best[part])
            self.found[part] = torch.where(better, ids[nearest] == own_ids, self.found[part])
            similarity.masked_fill_(own_ids[:, None] != ids, 0.0)
            self.positives += similarity.sum(dim=1) @ self.target[part]
        return columns


class _Gradients:
    """The gradient of the rows, and of the columns that come by, apart from a common factor."""

    def __init__(self, video: Float[Tensor, "n d"], lse: Float[Tensor, "n"], batch: _Batch) -> None:
        self.video = video
        self.lse = lse
        self.batch = batch
        self.target = batch.target()
        self.of_video = torch.zeros_like(video)

    def add(
        self,
        text: Float[Tensor, "m d"],
        columns: Float[Tensor, "m"],
        ids: Int[Tensor, "m"],
        of_text: Float[Tensor, "m d"],
    ) -> None:
        """Add what these columns give to the gradient of the videos, and to `of_text`."""
        for part in self.batch.row_blocks(len(text)):
            similarity = self.video[part] @ text.T
            weights = (similarity - self.lse[part, None]).exp_()
            weights += similarity.sub_(columns).exp_()
            similarity.copy_(self.batch.own_ids[part, None] == ids)
            weights -= similarity.mul_(2 * self.target[part, None])
            self.of_video[part].addmm_(weights, text)
            of_text.addmm_(weights.T, self.video[part])


class _Context(FunctionCtx):
    """What `forward` leaves for `backward`."""

    saved_tensors: tuple[Tensor, ...]
    batch: _Batch


class _BlockwiseContrast(torch.autograd.Function):
    """See the module's docstring; the arguments are those of `blockwise_contrast`, in float32."""

    @staticmethod
    def forward(
        ctx: _Context, video: Tensor, text: Tensor, temperature: Tensor, batch: _Batch
    ) -> tuple[Tensor, Tensor]:
        group = batch.group
        temperature = temperature.clone()  # a model may clamp its own in place before backward
        if not batch.in_ring:
            text = gather_rows(text, group)
        with torch.autocast(video.device.type, enabled=False):
            rows = _Rows(video / temperature, batch)
            columns = text.new_full((len(text),), -torch.inf)
            for step in range(batch.steps):
                found = rows.compare(text, batch.column_ids(step))
                columns = torch.logaddexp(columns, found)
                if batch.in_ring:  # after as many passes as processes, all are home again
                    text, columns = pass_on([text, columns], group)
        if not batch.in_ring:
            columns = merge_logsumexp(columns, group)
        own_columns = columns.sum() / (1 if batch.in_ring else group_size(group))
        partial = rows.lse.sum() / 2 + own_columns / 2 - rows.positives
        sums = total(torch.stack([partial, rows.found.float().sum()]), group)
        loss, accuracy = sums / len(batch.all_ids)
        ctx.save_for_backward(rows.video, text, temperature, rows.lse, columns)
        ctx.batch = batch
        ctx.mark_non_differentiable(accuracy)
        return loss, accuracy

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]  # the base takes any
        ctx: _Context, of_loss: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        video, text, temperature, lse, columns = ctx.saved_tensors
        batch = ctx.batch
        of_text = torch.zeros_like(text)
        with torch.autocast(video.device.type, enabled=False):
            gradients = _Gradients(video, lse, batch)
            for step in range(batch.steps):
                gradients.add(text, columns, batch.column_ids(step), of_text)
                if batch.in_ring:
                    text, columns, of_text = pass_on([text, columns, of_text], batch.group)
        if not batch.in_ring:
            of_text = scatter_sum(of_text, batch.group)
        # 1 / 2B of the whole loss, times the processes over which the optimiser's side averages.
        factor = of_loss * group_size(batch.group) / (2 * len(batch.all_ids))
        of_video = gradients.of_video * (factor / temperature)
        # ∂S/∂temperature = -S / temperature, and Σ_j S_ij w_ij = v_i · Σ_j t_j w_ij.
        of_temperature = -(video * of_video).sum()
        return of_video, of_text * factor, of_temperature, None
