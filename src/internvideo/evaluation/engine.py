"""The one loop behind every question: decode some videos ahead, fill a batch, ask, keep the answer.

    items ──► read (threads, a few ahead) ──► Seen ──► Batch ──► Answerer.answer ──► an answer each

`answers` is that loop for any iterable of videos; `EvalLoop.run` adds what an evaluation needs: a
file of answers, from which it resumes after a stop, and the split between processes. The `Answerer`
decides what an answer is (class scores, a sentence, segments, boxes, a vector) and converts it to
JSON and back. Only a few videos are in memory at any time.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from internvideo.data.samples import EvaluationSource
from internvideo.errors import DataError, VideoError
from internvideo.evaluation.predictions import Answered, JsonAnswers, PredictionFile
from internvideo.train.config import RuntimeConfig
from internvideo.train.distribution import build_fabric
from internvideo.video.preprocessing import Preprocessing
from internvideo.video.read_ahead import read_ahead
from internvideo.zoo.hub import weights_sha256

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from internvideo.evaluation.report import Report

__all__ = [
    "Answerer",
    "Batch",
    "EvalLoop",
    "Seen",
    "Store",
    "Unreadable",
    "answers",
    "evaluation_identity",
    "gathered",
    "joined_processes",
]

A = TypeVar("A")
Item = TypeVar("Item")

_BATCH_VIEWS = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """A video, or a part of one, as a model sees it.

    Attributes:
        name: of the video.
        views: normalised, in the order of the protocol.
        index: number of the video in its source; 0 where a user named it.
        start: seconds from the start of the video.
        end: likewise; 0 where unknown.
    """

    name: str
    views: Float[Tensor, "v c t h w"]
    index: int = 0
    start: float = 0.0
    end: float = 0.0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A video that cannot be read, and why."""

    name: str
    error: VideoError
    index: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Some videos that go through a model together.

    Attributes:
        videos: at least one.
        size: views at once in the model.
        device: of the model.
        dtype: of its input.
        precision: returns the context in which it computes.
    """

    videos: Sequence[Seen]
    size: int
    device: torch.device
    dtype: torch.dtype
    precision: Callable[[], AbstractContextManager[Any]]

    @classmethod
    def of(
        cls, network: nn.Module, videos: Sequence[Seen], size: int, fabric: Fabric | None = None
    ) -> Batch:
        """Return a batch for a model where it is, in the precision of `fabric`."""
        parameter = next(network.parameters())
        precision: Any = nullcontext
        if fabric is not None:
            precision = fabric.autocast  # pyright: ignore
        return cls(
            videos=videos,
            size=size,
            device=parameter.device,
            dtype=torch.float32 if fabric else parameter.dtype,
            precision=precision,
        )

    def each(self, ask: Callable[[Float[Tensor, "b c t h w"]], Any]) -> Iterator[tuple[Seen, Any]]:
        """Yield every video with the rows of its views, one row a view.

        Args:
            ask: takes clips on the device of the model, returns a row for each: a tensor "b …",
                which is moved to the CPU as float32, or a list.
        """
        clips = torch.cat([video.views for video in self.videos])
        parts: list[Any] = []
        with torch.no_grad():
            for start in range(0, len(clips), self.size):
                with self.precision():
                    part = clips[start : start + self.size]
                    rows = ask(part.to(self.device, self.dtype))
                parts.append(rows.float().cpu() if isinstance(rows, Tensor) else rows)
        is_tensor = isinstance(parts[0], Tensor)
        whole: Any = torch.cat(parts) if is_tensor else [row for part in parts for row in part]
        start = 0
        for video in self.videos:
            end = start + len(video.views)
            yield video, whole[start:end]
            start = end


class Answerer(ABC, Generic[A]):
    """How a model answers one kind of question about videos.

    Args:
        network: the model, used where it is and in evaluation mode.
        protocol: how a video is looked at: frames, clips and crops, resolution.
    """

    def __init__(self, network: nn.Module, protocol: Preprocessing) -> None:
        self.network = network
        self.protocol = protocol

    @abstractmethod
    def answer(self, batch: Batch) -> list[A]:
        """Return one answer for each video of a batch, in its order."""

    def to_json(self, answer: A) -> dict[str, Any]:
        """Return an answer as plain data; by default, its own `to_dict`."""
        return answer.to_dict()  # type: ignore[attr-defined]

    def from_json(self, line: dict[str, Any]) -> A:
        """Return the answer in a line of the predictions file; the inverse of `to_json`."""
        raise NotImplementedError(f"{type(self).__name__} cannot read answers back")

    def identity(self) -> dict[str, Any]:
        """Return, as plain data, what must not change for a stopped evaluation to resume."""
        return {"protocol": self.protocol.to_dict(), "weights": weights_sha256(self.network)}


class Store(Protocol[A]):
    """Where the answers of an evaluation are kept while it runs."""

    @property
    def finished(self) -> frozenset[int]:
        """Numbers of the videos that need no further look."""
        ...

    @property
    def kept(self) -> dict[int, Answered[A]]:
        """What is known so far, by number of the video."""
        ...

    def add(self, answered: Answered[A]) -> None:
        """Keep one answer."""
        ...

    def close(self) -> None:
        """Close files; called by every process after its last answer."""
        ...

    def complete(self, answered: Sequence[Answered[A]]) -> None:
        """Take the answers of all processes, in order; called by the first process only."""
        ...


def answers(
    answerer: Answerer[A],
    videos: Iterable[Item],
    read: Callable[[Item], Seen | Unreadable] | None = None,
    *,
    batch_size: int = _BATCH_VIEWS,
    num_workers: int | None = None,
    fabric: Fabric | None = None,
) -> Iterator[tuple[Seen | Unreadable, A | VideoError]]:
    """Yield each video, in order, with its answer or why it cannot be read.

    Args:
        answerer: asks the model.
        videos: any number of them; an error raised while iterating comes after the answers to all
            earlier ones.
        read: decodes one of them, in a thread; None where they are `Seen` already.
        batch_size: views that go through the model together; those of several videos fill a batch.
        num_workers: videos decoded at once; None is up to four, 0 decodes between batches.
        fabric: sets the precision.
    """

    def flush(
        waiting: list[Seen | Unreadable],
    ) -> Iterator[tuple[Seen | Unreadable, A | VideoError]]:
        good = [each for each in waiting if isinstance(each, Seen)]
        found = iter(
            answerer.answer(Batch.of(answerer.network, good, batch_size, fabric)) if good else ()
        )
        for each in waiting:
            yield each, (next(found) if isinstance(each, Seen) else each.error)

    threads = min(4, os.cpu_count() or 1) if num_workers is None else num_workers
    reads: Any = videos
    if read is not None:
        reads = read_ahead(read, videos, threads=threads, depth=2 * max(threads, 1))
    waiting: list[Seen | Unreadable] = []
    num_views = 0
    broken: VideoError | None = None
    left = iter(reads)
    while True:
        try:
            each = next(left)
        except StopIteration:
            break
        except VideoError as error:
            broken = error
            break
        waiting.append(each)
        num_views += len(each.views) if isinstance(each, Seen) else 0
        if num_views >= batch_size or len(waiting) >= 4 * batch_size:
            yield from flush(waiting)
            waiting, num_views = [], 0
    yield from flush(waiting)
    if broken is not None:
        raise broken


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalLoop:
    """How an evaluation runs; nothing here changes the numbers.

    Attributes:
        batch_size: views that go through the model together.
        num_workers: videos decoded at once, in threads; 0 decodes between batches.
        fabric: sets the precision and splits the videos between processes; every process returns
            all answers.
        directory: for `predictions.jsonl`, from which a stopped evaluation resumes, and, at the
            end, `report.json`; None keeps nothing.
        progress: called with (videos done, videos in all) by this process.
    """

    batch_size: int = _BATCH_VIEWS
    num_workers: int = 2
    fabric: Fabric | None = None
    directory: Path | None = None
    progress: Callable[[int, int], None] | None = None

    def run(
        self,
        answerer: Answerer[A],
        source: EvaluationSource,
        store: Store[A] | None = None,
        *,
        file: str = "predictions.jsonl",
    ) -> list[Answered[A]]:
        """Return what the model answers for each video of a source, in its order.

        A video that cannot be read is never skipped silently: it has an `error` instead of an
        answer, and the next evaluation tries it again. Each video belongs to exactly one process.

        Args:
            answerer: asks the model, whose training mode is restored at the end.
            source: the videos.
            store: keeps the answers; by default, `file` in the directory.
            file: its name.

        Raises:
            DataError: there are no videos.
            ConfigError: the directory belongs to another evaluation.
        """
        if not len(source):
            raise DataError("there are no videos to evaluate: the list is empty")
        if store is None:
            header = {} if self.directory is None else evaluation_identity(answerer, source)
            store = self.prediction_file(file, header, answerer)

        def ask(left: list[int]) -> Iterator[Answered[A]]:
            for video, found in answers(
                answerer,
                left,
                partial(_read, source, answerer.protocol),
                batch_size=self.batch_size,
                num_workers=self.num_workers,
                fabric=self.fabric,
            ):
                name, index = source.key(video.index), video.index
                if isinstance(found, VideoError):
                    yield Answered(index, name, error=str(found))
                else:
                    yield Answered(index, name, found)

        with _evaluation_mode(answerer.network):
            return self.collect(len(source), store, ask)

    def prediction_file(
        self, name: str, header: dict[str, Any], answerer: JsonAnswers[A]
    ) -> PredictionFile[A]:
        """Return this process's part of a file of answers in the directory."""
        path = self.directory and self.directory / name
        return PredictionFile(path, header, answerer, rank=self._place[0])

    def collect(
        self,
        count: int,
        store: Store[A],
        ask: Callable[[list[int]], Iterable[Answered[A]]],
    ) -> list[Answered[A]]:
        """Return the answers to questions 0 to `count`, from the store and from all processes.

        Args:
            count: how many there are.
            store: keeps the answers.
            ask: is given the numbers that are left to this process.
        """
        rank, size = self._place
        finished = frozenset[int]().union(*gathered(store.finished, self.fabric))
        left = [index for index in range(count) if index not in finished][rank::size]
        total = len(store.finished) + len(left)
        for done, answered in enumerate(ask(left), start=total - len(left) + 1):
            store.add(answered)
            if self.progress is not None:
                self.progress(done, total)
        store.close()
        ordered = _in_order(gathered(store.kept, self.fabric))
        if rank == 0:
            store.complete(ordered)
        return ordered

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self._place[0] == 0

    @property
    def _place(self) -> tuple[int, int]:
        """The number of this process, and of how many."""
        return (self.fabric.global_rank, self.fabric.world_size) if self.fabric else (0, 1)

    def write(self, report: Report) -> None:
        """Write `report.json` to the directory, if there is one, from the first process."""
        if self.directory is not None and self.is_first:
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")


def evaluation_identity(answerer: Answerer[Any], source: EvaluationSource) -> dict[str, Any]:
    """Return, as plain data, what identifies an evaluation."""
    return {**answerer.identity(), "num_videos": len(source), "first_video": source.key(0)}


def joined_processes(network: nn.Module) -> Fabric | None:
    """Return the fabric of the processes of `torchrun`, with the model on its device; else None."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return None
    on_cpu = next(network.parameters()).device.type == "cpu"
    fabric = build_fabric(RuntimeConfig(accelerator="cpu" if on_cpu else "auto"))
    network.to(fabric.device)
    return fabric


def gathered(value: Any, fabric: Fabric | None) -> list[Any]:
    """Return the value that each process has."""
    if fabric is None or fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def _read(source: EvaluationSource, protocol: Preprocessing, index: int) -> Seen | Unreadable:
    try:
        return Seen(source.key(index), source.read_views(index, protocol).views, index)
    except VideoError as error:
        return Unreadable(source.key(index), error, index)


@contextmanager
def _evaluation_mode(network: nn.Module) -> Generator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def _in_order(parts: Sequence[dict[int, Answered[A]]]) -> list[Answered[A]]:
    """Return the answers of all processes, one per video; an answer beats a failure."""
    found: dict[int, Answered[A]] = {}
    for part in parts:
        found |= {i: each for i, each in part.items() if i not in found or found[i].error}
    return [found[index] for index in sorted(found)]
