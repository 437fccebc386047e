"""How high the true answers stand: recalls, median and mean rank in both directions."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from internvideo.evaluation.arrays import as_list
from internvideo.evaluation.dual_softmax import Side
from internvideo.evaluation.pictures import BAR_COLOR, LINE_COLOR
from internvideo.evaluation.report import Report, Share
from internvideo.evaluation.retrieval_ranks import Ranks, Ties

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["DIRECTIONS", "DSL", "PLAIN", "RERANKED", "Miss", "RetrievalReport", "Standing"]

PLAIN, DSL, RERANKED = "plain", "dual softmax", "reranked"
"""The ways in which candidates are put in order."""

DIRECTIONS = ("text to video", "video to text")

_RECALLS = (1, 5, 10)
_CURVE = 100
_COLORS = {PLAIN: BAR_COLOR, DSL: LINE_COLOR, RERANKED: "#2e8b57"}
_SIDES: dict[Side, str] = {
    "text": "the texts",
    "video": "the videos",
    "both": "the queries of each direction",
}
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the true answers of the queries of one direction stand.

    Attributes:
        ranks: from 0; one each, or more where ties add some.
        num_candidates: to choose from.
        lower_median: the median of an even number is the lower of the two in the middle, as the
            published evaluator has it for several captions a video; else their mean.
    """

    ranks: tuple[int, ...]
    num_candidates: int
    lower_median: bool = False

    @classmethod
    def of(cls, ranks: Ranks, ties: Ties = "best", *, lower_median: bool = False) -> Standing:
        """Return the standing that ranks mean under a rule for ties."""
        return cls(tuple(as_list(ranks.places(ties))), ranks.num_candidates, lower_median)

    def recall(self, k: int) -> Share:
        """Return how many true answers are among the first `k`."""
        return Share(sum(rank < k for rank in self.ranks), len(self.ranks))

    @property
    def median(self) -> float:
        """Median rank, from 1."""
        median = statistics.median_low if self.lower_median else statistics.median
        return 1.0 + median(self.ranks)

    @property
    def mean(self) -> float:
        """Mean rank, from 1."""
        return 1 + sum(self.ranks) / len(self.ranks)

    def chance(self, k: int) -> float:
        """Return the percentage of true answers that a guesser has among the first `k`."""
        return 100 * min(k / self.num_candidates, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain data; recalls and their 95 % intervals in percent."""
        found: dict[str, Any] = {"num_queries": len(self.ranks)}
        for k in _RECALLS:
            share = self.recall(k)
            found |= {f"R{k}": share.percent, f"R{k}_interval": list(share.interval)}
        return {**found, "MdR": self.median, "MnR": self.mean}


@dataclass(frozen=True, slots=True)
class Miss:
    """A caption whose video is not the first to be found.

    Attributes:
        text: the caption.
        video: what it is about.
        rank: of that video, from 1.
        first: the video that is found first.
    """

    text: str
    video: str
    rank: int
    first: str


@dataclass(frozen=True, kw_only=True)
class RetrievalReport(Report):
    """An evaluation of retrieval.

    Captions of videos that cannot be read, and these videos, are no part of the numbers; "of all"
    counts them as misses.

    Attributes:
        text_to_video: for each way of ordering, where the videos of the captions stand.
        video_to_text: where the best caption of each video stands.
        num_missing_texts: captions of videos that cannot be read.
        num_missing_videos: these videos.
        captions: which captions were searched with.
        side: what the dual softmax runs over.
        frames: of a clip.
        temperature: that cosines were divided by for the dual softmax.
        depth: candidates that were reranked; 0 is none.
        misses: some captions that do not find their video first, by plain scores.
        remarks: on the captions and on ties.
        left_out: what in the data is no query, and why.
    """

    columns: ClassVar[tuple[str, ...]] = ("", *(f"R@{k}" for k in _RECALLS), "MdR", "MnR")

    text_to_video: Mapping[str, Standing]
    video_to_text: Mapping[str, Standing]
    num_missing_texts: int = 0
    num_missing_videos: int = 0
    captions: str = ""
    side: Side = "both"
    frames: int = 0
    temperature: float = 1.0
    depth: int = 0
    misses: tuple[Miss, ...] = ()
    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def _directions(self) -> dict[str, tuple[Mapping[str, Standing], int]]:
        """Each direction with its standings and the number of missing queries."""
        missing = (self.num_missing_texts, self.num_missing_videos)
        ways = (self.text_to_video, self.video_to_text)
        return dict(zip(DIRECTIONS, zip(ways, missing, strict=True), strict=True))

    @property
    def num_answered(self) -> int:
        """Number of videos that could be read."""
        return len(self.video_to_text[PLAIN].ranks)

    def metrics(self) -> dict[str, float]:
        """Return the numbers for a training log; R@1 from text to video comes first.

        It is that after reranking where there was any, else the plain one.
        """
        found: dict[str, float] = {}
        for way in sorted(self.text_to_video, key=lambda way: way != RERANKED):
            for direction, (ways, _) in self._directions.items():
                name = "_".join((*(() if way == PLAIN else way.split()), *direction.split()))
                standing = ways[way]
                found |= {f"{name}_r{k}": standing.recall(k).percent for k in _RECALLS}
                found |= {f"{name}_mdr": standing.median, f"{name}_mnr": standing.mean}
        return {**found, "num_failed": float(len(self.failures))}

    def numbers(self) -> dict[str, Any]:
        """Return all numbers, how they came about, and some misses, as plain data."""
        return {
            "captions": self.captions,
            "frames": self.frames,
            "temperature": self.temperature,
            "dual_softmax_over": self.side,
            "reranked_candidates": self.depth,
            **{
                direction.replace(" ", "_"): {
                    way.replace(" ", "_"): {
                        **standing.to_dict(),
                        "R1_of_all": _of_all(standing, 1, missing).percent,
                    }
                    for way, standing in ways.items()
                }
                for direction, (ways, missing) in self._directions.items()
            },
            "num_missing_texts": self.num_missing_texts,
            "num_failed": len(self.failures),
            "misses": [
                {"text": miss.text, "video": miss.video, "rank": miss.rank, "first": miss.first}
                for miss in self.misses
            ],
            "remarks": list(self.remarks),
            "left_out": list(self.left_out),
        }

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table; below a recall stands its 95 % interval."""
        for number, (direction, (ways, missing)) in enumerate(self._directions.items()):
            if number:
                yield ()
            yield direction, "", "", "", "", ""
            for way, standing in ways.items():
                cells = [_with_interval(standing.recall(k)) for k in _RECALLS]
                yield f"  {way}", *cells, f"{standing.median:g}", f"{standing.mean:.1f}"
            chances = [f"{ways[PLAIN].chance(k):.2f}" for k in _RECALLS]
            expected = f"{(ways[PLAIN].num_candidates + 1) / 2:g}"
            yield "  chance", *chances, expected, expected
            for way, standing in ways.items() if missing else ():
                shares = [_of_all(standing, k, missing) for k in _RECALLS]
                cells = [f"{share.percent:.2f}" for share in shares]
                yield f"!  {way}, of all {shares[0].total}", *cells, "", ""

    def __rich__(self) -> Table:
        from rich.markup import escape

        table = super().__rich__()
        table.caption = escape("\n".join((self.protocol, *self._conditions())))
        return table

    def _conditions(self) -> list[str]:
        """Return what the numbers depend on, in words."""
        found = [
            self.captions,
            f"dual softmax over {_SIDES[self.side]}, temperature {self.temperature:.4g}; it knows "
            "all queries at once",
        ]
        if self.depth:
            found.append(f"reranked: the best {self.depth} candidates by the matching head")
        return found

    def notes(self) -> Sequence[str]:
        """Return the remarks, and what was left out."""
        notes = list(self.remarks)
        if self.left_out:
            notes.append(
                f"{len(self.left_out)} entries of the data are no queries: "
                + "; ".join(self.left_out[:_SHOWN])
                + ("; …" if len(self.left_out) > _SHOWN else "")
            )
        return notes

    def details(self, *, complete: bool) -> Table | None:
        """Return captions that do not find their video first, if they are asked for."""
        if not complete or not self.misses:
            return None
        from rich.markup import escape
        from rich.table import Table

        table = Table(title="captions whose video is not the first")
        for heading in ("caption", "its video", "rank", "found first"):
            table.add_column(heading, overflow="fold")
        for miss in self.misses[:_SHOWN]:
            table.add_row(*map(escape, (miss.text, miss.video, str(miss.rank), miss.first)))
        return table

    def draw(self) -> Any:
        """Draw the recall among the first K, with chance, for both directions."""
        figure = self.figure(9, 3.8)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (direction, (ways, _)) in zip(panels, self._directions.items(), strict=True):
            size = min(_CURVE, ways[PLAIN].num_candidates)
            firsts = np.arange(1, size + 1)
            for way, standing in ways.items():
                ranks = np.sort(np.asarray(standing.ranks))
                shares = [
                    Share(int(count), len(ranks))
                    for count in np.searchsorted(ranks, firsts, side="left")
                ]
                low, high = zip(*(share.interval for share in shares), strict=True)
                axes.plot(firsts, [s.percent for s in shares], color=_COLORS[way], label=way)
                axes.fill_between(firsts, low, high, color=_COLORS[way], alpha=0.15, linewidth=0)
            chance = [ways[PLAIN].chance(int(k)) for k in firsts]
            axes.plot(firsts, chance, color="gray", linestyle="dashed", label="chance")
            axes.set_xscale("log")
            axes.set_xticks([k for k in (1, 2, 5, 10, 20, 50, 100) if k <= size])
            axes.xaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
            axes.set_title(f"{direction}, {len(ways[PLAIN].ranks)} queries")
            axes.set_xlabel("K")
        panels[0].set_ylim(0, 100)
        panels[0].set_ylabel("found among the first K, percent")
        panels[1].legend(loc="lower right")
        return figure


def _with_interval(share: Share) -> str:
    low, high = share.interval
    return f"{share.percent:.2f}\n{low:.1f} … {high:.1f}"


def _of_all(standing: Standing, k: int, missing: int) -> Share:
    """Return the recall with the missing queries as misses."""
    share = standing.recall(k)
    return Share(share.correct, share.total + missing)
