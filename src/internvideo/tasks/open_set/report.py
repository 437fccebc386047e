"""How well known classes are told apart, and unknown ones from them: numbers, table, plots."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (overloads of numpy that are typed in part)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from internvideo.evaluation.pictures import BAR_COLOR, LINE_COLOR
from internvideo.evaluation.report import Report, Share
from internvideo.tasks.open_set.judging import Judged
from internvideo.tasks.open_set.metrics import Detection, OpenF1, calibration, open_f1

__all__ = ["OpenSetReport"]

_BINS = 30
_WIDE = 50  # largest over smallest uncertainty from which the axis is logarithmic
_GRAY = "#888888"
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class OpenSetReport(Report):
    """An evaluation on videos of known classes, and of unknown ones where there are any.

    Attributes:
        labels: names of the known classes.
        known: judgements of the known videos.
        unknown: those of the unknown ones.
        shared: unknown classes that have the name of a known one.
        threshold: uncertainty above which a video is unknown; None where none is known.
        score: what the uncertainty is.
    """

    labels: tuple[str, ...]
    known: tuple[Judged, ...]
    unknown: tuple[Judged, ...] = ()
    shared: tuple[str, ...] = ()
    threshold: float | None = None
    score: str = ""

    @property
    def num_answered(self) -> int:
        """Number of videos that could be read."""
        return len(self.known) + len(self.unknown)

    @property
    def closed_set(self) -> Share:
        """The known videos whose class is found, with none rejected."""
        return Share(sum(each.predicted == each.label for each in self.known), len(self.known))

    @cached_property
    def detection(self) -> Detection | None:
        """Unknown videos against known ones; None without any."""
        return self._detection("uncertainty")

    @cached_property
    def baseline(self) -> Detection | None:
        """The same by 1 - the highest softmax probability of the same model."""
        return self._detection("doubt")

    def _detection(self, name: str) -> Detection | None:
        if not self.unknown or not self.known:
            return None
        return Detection(*(_column(each, name) for each in (self.known, self.unknown)))

    @cached_property
    def f1(self) -> OpenF1 | None:
        """The open macro-F1; None without unknown videos or a threshold."""
        if self.threshold is None or not self.unknown or not self.known:
            return None
        # the classes that occur are numbered anew; a list without labels is one class
        labels = [-1 if each.label is None else each.label for each in self.unknown]
        _, numbers = np.unique(labels, return_inverse=True)
        known = np.array([each.label for each in self.known])
        return open_f1(
            self._answers(self.known), known, self._answers(self.unknown), numbers,
            len(self.labels),
        )  # fmt: skip

    def _answers(self, videos: Sequence[Judged]) -> np.ndarray:
        """Return the answered classes, the number behind them where a video is rejected."""
        assert self.threshold is not None
        rejected = _column(videos, "uncertainty") > self.threshold
        return np.where(rejected, len(self.labels), [each.predicted for each in videos])

    @property
    def rejected(self) -> tuple[Share, Share] | None:
        """How many known and unknown videos are above the threshold."""
        if self.threshold is None:
            return None
        known, unknown = (
            Share(sum(e.uncertainty > self.threshold for e in part), len(part))
            for part in (self.known, self.unknown)
        )
        return known, unknown

    def metrics(self) -> dict[str, float]:
        """Return the numbers, in percent; the first is the AUROC, or without unknown ones top-1."""
        found: dict[str, float] = {}
        if self.detection is not None and self.baseline is not None:
            found["auroc"] = 100 * self.detection.auroc
            found["aupr"] = 100 * self.detection.aupr
            found["fpr95"] = 100 * self.detection.fpr95
            found["auroc_softmax"] = 100 * self.baseline.auroc
        if self.f1 is not None:
            found["open_macro_f1"] = 100 * self.f1.weighted[0]
        return {**found, "top1": self.closed_set.percent}

    def numbers(self) -> dict[str, Any]:
        """Return the numbers with intervals and counts, and the curve of the open macro-F1."""
        found: dict[str, Any] = {
            **self.metrics(),
            "top1_interval": list(self.closed_set.interval),
            "score": self.score,
            "threshold": self.threshold,
            "num_known": len(self.known),
            "num_unknown": len(self.unknown),
            "shared_classes": list(self.shared),
        }
        if self.detection is not None:
            found["auroc_interval"] = [100 * bound for bound in self.detection.interval]
        if self.f1 is not None:
            found["open_macro_f1_std"] = 100 * self.f1.weighted[1]
            found["f1_curve"] = {
                "openness": (100 * self.f1.openness).tolist(),
                "macro_f1": (100 * self.f1.mean).tolist(),
            }
        if self.rejected is not None:
            found["rejected"] = {
                name: share.percent
                for name, share in zip(("known", "unknown"), self.rejected, strict=True)
            }
        if self.score in ("evidential", "softmax"):
            doubts = np.clip(_column(self.known, "uncertainty"), _TINY, 1 - _TINY)
            right = np.array([each.predicted == each.label for each in self.known])
            found["calibration"] = asdict(
                calibration(right, _column(self.known, "confidence"), doubts)
            )
        return found

    def rows(self) -> Iterator[Sequence[str]]:
        """Yield the rows of the table."""
        if self.detection is not None and self.baseline is not None:
            low, high = self.detection.interval
            yield f"AUROC, unknown by {self.score}", f"{100 * self.detection.auroc:.2f} %"
            yield "  95 % interval", f"{100 * low:.2f} … {100 * high:.2f}"
            yield "  by 1 - highest softmax", f"{100 * self.baseline.auroc:.2f} %"
            yield "  chance", "50.00 %"
            yield "AUPR", f"{100 * self.detection.aupr:.2f} %"
            share = len(self.unknown) / self.num_answered
            yield "  chance", f"{100 * share:.2f} %"
            yield "FPR at 95 % TPR", f"{100 * self.detection.fpr95:.2f} %"
        if self.f1 is not None:
            mean, std = self.f1.weighted
            yield "open macro-F1", f"{100 * mean:.2f} ± {100 * std:.2f} %"
        yield "closed-set top-1", str(self.closed_set)
        yield "  95 % interval", self.closed_set.range
        if self.rejected is not None:
            known, unknown = self.rejected
            yield "rejected known videos", str(known)
            if self.unknown:
                yield "rejected unknown videos", str(unknown)
        yield "known videos", str(len(self.known))
        if self.unknown:
            yield "unknown videos", str(len(self.unknown))

    def notes(self) -> Sequence[str]:
        """Return remarks on what the numbers leave out."""
        found: list[str] = []
        if not self.unknown:
            found.append("no unknown videos (--unknown) were seen: only the accuracy is measured")
        elif self.threshold is None:
            found.append(
                "no threshold, so no open macro-F1: give --training, or a model trained for this "
                "score"
            )
        if self.shared:
            found.append(
                f"{len(self.shared)} unknown classes have the name of a known one and count as "
                f"unknown all the same: {', '.join(self.shared[:5])}"
            )
        if self.unknown and all(each.label is None for each in self.unknown):
            found.append("the unknown videos have no classes; they count as one")
        return found

    def draw(self) -> Any:
        """Draw the ROC curve, the macro-F1 over the openness, and both kinds of uncertainty."""
        detection = self.detection
        if detection is None or self.baseline is None:
            return super().draw()
        figure = self.figure(11, 3.6)
        roc, curve, counts = figure.subplots(1, 3)
        for found, color, name in (
            (self.baseline, _GRAY, "1 - highest softmax"),
            (detection, BAR_COLOR, self.score),
        ):
            area = f"{name}, {100 * found.auroc:.1f} %"
            roc.plot(*(100 * rates for rates in found.roc), color=color, label=area)
        roc.plot([0, 100], [0, 100], color=_GRAY, lw=0.8, ls=":")
        roc.set_xlabel("known videos rejected, percent")
        roc.set_ylabel("unknown videos rejected, percent")
        roc.legend(loc="lower right", fontsize=8, title="AUROC")
        if self.f1 is not None:
            openness, mean, std = (100 * v for v in (self.f1.openness, self.f1.mean, self.f1.std))
            curve.plot(openness, mean, "o-", ms=3, color=BAR_COLOR)
            curve.fill_between(openness, mean - std, mean + std, color=BAR_COLOR, alpha=0.2)
            curve.set_ylim(0, 100)
        else:
            curve.text(0.5, 0.5, "no threshold", ha="center", transform=curve.transAxes)
        curve.set_xlabel("openness, percent")
        curve.set_ylabel("macro-F1, percent")
        both = np.concatenate([detection.known, detection.unknown])
        low, high = both.min(), max(both.max(), both.min() + _TINY)
        is_wide = 0 < low < high / _WIDE
        edges = (np.geomspace if is_wide else np.linspace)(low, high, _BINS + 1)
        counts.set_xscale("log" if is_wide else "linear")
        for values, color, name in (
            (detection.known, BAR_COLOR, "known"),
            (detection.unknown, LINE_COLOR, "unknown"),
        ):
            weights = np.full(len(values), 100 / len(values))
            counts.hist(values, edges, weights=weights, color=color, alpha=0.55, label=name)
        if self.threshold is not None:
            counts.axvline(self.threshold, color="black", lw=1, ls="--", label="threshold")
        counts.set_xlabel(f"uncertainty ({self.score})")
        counts.set_ylabel("videos, percent")
        counts.legend(fontsize=8)
        return figure


def _column(videos: Sequence[Judged], name: str) -> Float[np.ndarray, " n"]:
    return np.array([getattr(each, name) for each in videos], dtype=np.float64)
