"""Ask a model about every video of a source, a few videos ahead, and keep what it says in a file.

    source ──► all views of a video (decoded once, a few videos ahead) ──► rows "v k" ──► line
           ──► predictions.jsonl, one line a video

Only a few videos are in memory at any time. Several processes share the videos; each video belongs
to exactly one, so nothing has to be counted twice. What a row holds (logits, cosines, an embedding)
and what becomes of the rows of a video is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.errors import VideoError
from internvideo.tasks.predictions import PredictionFile
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.read_ahead import read_ahead

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from internvideo.data.samples import EvaluationSource

__all__ = ["Line", "Running", "answer_videos", "gathered"]

Line: TypeAlias = dict[str, Any]
"""What the predictions file says of a video; `index`, `video`, `label`, and the answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """How an evaluation runs; none of it changes the numbers.

    Attributes:
        batch_size: views that go through the model together.
        num_workers: videos that are decoded at once, in threads; 0 decodes in between.
        fabric: brings precision and, where there are several processes, their share of the videos;
            every process gets the whole answer.
        predictions: file of the answers; an interrupted evaluation goes on from it.
        progress: called with (videos done, videos in all) by this process.
    """

    batch_size: int = 16
    num_workers: int = 2
    fabric: Fabric | None = None
    predictions: Path | None = None
    progress: Callable[[int, int], None] | None = None


class _Read(NamedTuple):
    """One video as it comes from the decoder."""

    index: int
    views: Float[Tensor, "v c t h w"] | VideoError


def answer_videos(
    model: nn.Module,
    ask: Callable[[Float[Tensor, "b c t h w"]], Float[Tensor, "b k"]],
    to_line: Callable[[int, Float[Tensor, "v k"]], Line],
    source: EvaluationSource,
    protocol: Preprocessing,
    *,
    evaluation: Mapping[str, Any],
    running: Running,
) -> list[Line]:
    """Return one line for each video of a source, in its order.

    A video that cannot be read is never left out in silence: its line has `error` in place of an
    answer.

    Args:
        model: is in evaluation mode meanwhile, and left in the mode in which it was; the clips go
            to its device.
        ask: from clips to rows, one for each view; runs without gradients.
        to_line: what is kept of a video: from its number and its rows, on the CPU in float32. The
            key `scores` is kept in the file only.
        source: the videos.
        protocol: frames, clips and crops, resolution.
        evaluation: what must be the same for a stopped evaluation to go on.
        running: batch size, workers, the file.

    Raises:
        ConfigError: the file is one of another evaluation.
    """
    fabric = running.fabric
    rank, world_size = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    file = PredictionFile(running.predictions, evaluation, rank=rank)
    finished = frozenset().union(*gathered(file.finished, fabric))
    left = [index for index in range(len(source)) if index not in finished][rank::world_size]
    done, total = len(file.finished), len(file.finished) + len(left)
    workers = running.num_workers
    reads = read_ahead(partial(_read, source, protocol), left, threads=workers, depth=2 * workers)
    with _asked(model, ask, fabric) as answer, torch.inference_mode():
        for read, rows in _answered(reads, answer, protocol, batch_size=running.batch_size):
            if rows is None:
                file.add(_failure(read, source))
            else:
                file.add(to_line(read.index, rows))
            done += 1
            if running.progress is not None:
                running.progress(done, total)
    file.close()
    ordered = _in_order(gathered(file.lines, fabric))
    if rank == 0:
        file.complete(ordered)
    return ordered


def gathered(value: Any, fabric: Fabric | None) -> list[Any]:
    """Return the value of every process."""
    if fabric is None or fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def _read(source: EvaluationSource, protocol: Preprocessing, index: int) -> _Read:
    try:
        return _Read(index, source.read_views(index, protocol).views)
    except VideoError as error:
        return _Read(index, error)


@contextmanager
def _asked(
    model: nn.Module, ask: Callable[[Tensor], Tensor], fabric: Fabric | None
) -> Iterator[Callable[[Float[Tensor, "b c t h w"]], Float[Tensor, "b k"]]]:
    """Yield `ask` for clips on the CPU; the model is in evaluation mode meanwhile."""
    parameter = next(model.parameters())
    precision = fabric.autocast if fabric else nullcontext
    dtype = torch.float32 if fabric else parameter.dtype
    was_training = model.training

    def answer(clips: Tensor) -> Tensor:
        with precision():
            return ask(clips.to(parameter.device, dtype)).float().cpu()

    model.eval()
    try:
        yield answer
    finally:
        model.train(was_training)


def _answered(
    reads: Iterator[_Read],
    answer: Callable[[Tensor], Tensor],
    protocol: Preprocessing,
    *,
    batch_size: int,
) -> Iterator[tuple[_Read, Float[Tensor, "v k"] | None]]:
    """Yield each video with its rows; views of several videos fill a batch together."""
    waiting: list[_Read] = []
    for read in reads:
        waiting.append(read)
        if len(waiting) * protocol.num_views >= batch_size:
            yield from _flush(waiting, answer, batch_size=batch_size)
            waiting = []
    yield from _flush(waiting, answer, batch_size=batch_size)


def _flush(
    waiting: Sequence[_Read], answer: Callable[[Tensor], Tensor], *, batch_size: int
) -> Iterator[tuple[_Read, Float[Tensor, "v k"] | None]]:
    good = {read.index: read.views for read in waiting if isinstance(read.views, Tensor)}
    rows: dict[int, Tensor] = {}
    if good:
        clips = torch.cat(list(good.values())).split(batch_size)
        answers = torch.cat([answer(part) for part in clips])
        rows = dict(zip(good, answers.split([len(v) for v in good.values()]), strict=True))
    for read in waiting:
        yield read, rows.get(read.index)


def _failure(read: _Read, source: EvaluationSource) -> Line:
    index = read.index
    return {
        "index": index, "video": source.key(index), "label": source.label(index),
        "error": str(read.views),
    }  # fmt: skip


def _in_order(parts: Sequence[Mapping[int, Line]]) -> list[Line]:
    """Return the lines of all processes, one a video; an answer comes before a failure."""
    lines: dict[int, Line] = {}
    for part in parts:
        lines |= {i: line for i, line in part.items() if i not in lines or "error" in lines[i]}
    return [lines[index] for index in sorted(lines)]
