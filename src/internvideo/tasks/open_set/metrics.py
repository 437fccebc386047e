"""How well known classes are told apart, and unknown ones from them.

Unknown is the positive class, its score the uncertainty. A rejected video, one whose uncertainty is
above a threshold of the training videos, has the class number k, behind the known ones.

Letters: n videos, k known classes, u unknown classes, t trials.

Source: fixtures `metrics-openset*`; DEAR (arXiv 2107.10161), section 4.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (overloads of numpy that are typed in part)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from internvideo.errors import DataError

__all__ = [
    "Calibration",
    "Detection",
    "OpenF1",
    "calibration",
    "open_f1",
    "openness",
    "training_threshold",
    "unknown_selections",
]

_SHARE = 0.95
_TRIALS = 10
_SEED = 123
_BINS = 15
_Z95 = 1.959963984540054


def training_threshold(
    uncertainty: Float[np.ndarray, " n"], *, share: float = _SHARE, by_confidence: bool = False
) -> float:
    """Return the uncertainty that this share of the training videos does not exceed.

    Args:
        uncertainty: of the training videos.
        share: of them that stay known.
        by_confidence: take the next lower value, as the reference does where it sorts confidences
            (softmax, reciprocal points).

    Raises:
        DataError: no videos.
    """
    count = len(uncertainty)
    if not count:
        raise DataError("there are no training videos to take the threshold from")
    place = count - int(share * count) - (0 if by_confidence else 1)
    return float(np.sort(uncertainty)[::-1][min(max(place, 0), count - 1)])


@dataclass(frozen=True)
class Detection:
    """Unknown videos against known ones, by their scores.

    Attributes:
        known: scores of the known videos.
        unknown: scores of the unknown ones; higher is more unknown.

    Raises:
        DataError: one of the two sets is empty, or a score is not a number.
    """

    known: Float[np.ndarray, " n"]
    unknown: Float[np.ndarray, " m"]

    def __post_init__(self) -> None:
        for name in ("known", "unknown"):
            scores = getattr(self, name)
            if not len(scores):
                raise DataError(f"no {name} videos: unknown ones are told from known ones")
            if not np.isfinite(scores).all():
                raise DataError(f"{int((~np.isfinite(scores)).sum())} {name} scores are no numbers")

    @cached_property
    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Unknown and known videos at or above each different score, from the highest."""
        scores = np.concatenate([self.unknown, self.known])
        positive = np.arange(len(scores)) < len(self.unknown)
        order = np.argsort(-scores, kind="stable")
        scores, hits = scores[order], np.cumsum(positive[order])
        last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
        return hits[last].astype(np.float64), last + 1.0 - hits[last]

    @cached_property
    def roc(self) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """False and true positive rates, from (0, 0) to (1, 1), without collinear points."""
        hits, alarms = self._counts
        if len(hits) > 2:
            bends = (np.diff(hits, 2) != 0) | (np.diff(alarms, 2) != 0)
            kept = np.concatenate([[True], bends, [True]])
            hits, alarms = hits[kept], alarms[kept]
        return (
            np.concatenate([[0.0], alarms]) / len(self.known),
            np.concatenate([[0.0], hits]) / len(self.unknown),
        )

    @property
    def auroc(self) -> float:
        """Area under the ROC curve: chance is 0.5."""
        false_rate, true_rate = self.roc
        return _area(false_rate, true_rate)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the AUROC, by the variance of DeLong et al. (Biometrics 1988)."""
        ordered = [np.sort(self.known), np.sort(self.unknown)]

        def wins(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
            below = [np.searchsorted(others, scores, side) for side in ("left", "right")]
            return (below[0] + below[1]) / (2 * len(others))

        parts = (wins(self.unknown, ordered[0]), 1 - wins(self.known, ordered[1]))
        variance = sum(p.var(ddof=1) / len(p) for p in parts if len(p) > 1)
        half = _Z95 * float(np.sqrt(variance))
        return max(self.auroc - half, 0.0), min(self.auroc + half, 1.0)

    @property
    def aupr(self) -> float:
        """Area under the precision-recall curve, by the trapezoid rule."""
        hits, alarms = self._counts
        precision = np.concatenate([[1.0], hits / (hits + alarms)])
        recall = np.concatenate([[0.0], hits / len(self.unknown)])
        return _area(recall, precision)

    @property
    def fpr95(self) -> float:
        """False positive rate at the point of the ROC curve nearest to 95 % true positives."""
        false_rate, true_rate = self.roc
        return float(false_rate[np.argmin(np.abs(true_rate - _SHARE))])


def _area(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.diff(x) @ (y[1:] + y[:-1]) / 2)


def openness(num_known: int, num_unknown: int | np.ndarray) -> float | np.ndarray:
    """Return how open a test is, 0 to 1: 1 - sqrt(2k / (2k + u)).

    >>> round(float(openness(101, 51)), 4)
    0.1065
    """
    return 1 - np.sqrt(2 * num_known / (2 * num_known + num_unknown))


def unknown_selections(
    num_unknown: int, *, trials: int = _TRIALS, seed: int = _SEED
) -> Iterator[Bool[np.ndarray, "t u"]]:
    """Yield, for 1 to all of the unknown classes, which of them each trial has.

    COMPAT: NumPy's legacy generator, a draw a trial, as published figures have it; pinned by golden
    `metrics-openset`.
    """
    rng = np.random.RandomState(seed)
    for count in range(1, num_unknown + 1):
        chosen = np.zeros((trials, num_unknown), bool)
        for trial in chosen:
            trial[rng.choice(num_unknown, count, replace=False)] = True
        yield chosen


@dataclass(frozen=True)
class OpenF1:
    """Macro-F1 over known classes and "unknown", by the number of unknown classes from 0 on.

    Attributes:
        num_known: known classes.
        mean: over the trials.
        std: over the trials.
    """

    num_known: int
    mean: Float[np.ndarray, " u1"]
    std: Float[np.ndarray, " u1"]

    @property
    def openness(self) -> Float[np.ndarray, " u1"]:
        """Openness of each entry, 0 to 1."""
        return np.asarray(openness(self.num_known, np.arange(len(self.mean))))

    @property
    def weighted(self) -> tuple[float, float]:
        """Mean and deviation, each weighted by the openness: the open macro-F1."""
        weights = self.openness / self.openness.sum()
        return float(weights @ self.mean), float(weights @ self.std)


def open_f1(
    known: Int[np.ndarray, " n"],
    known_labels: Int[np.ndarray, " n"],
    unknown: Int[np.ndarray, " m"],
    unknown_labels: Int[np.ndarray, " m"],
    num_known: int,
    *,
    num_unknown: int | None = None,
    trials: int = _TRIALS,
    seed: int = _SEED,
) -> OpenF1:
    """Return the macro-F1 for every number of unknown classes, averaged over random choices.

    Only counts of answers are needed: an unknown class adds its row of the confusion matrix.

    Args:
        known: answers to the known videos, 0 to `num_known`; the last is "unknown".
        known_labels: their classes.
        unknown: answers to the unknown videos.
        unknown_labels: their classes, from 0 on, numbered by themselves.
        num_known: known classes.
        num_unknown: unknown classes; None is all up to the highest label.
        trials: choices of classes for each number of them.
        seed: of the choices.

    Raises:
        DataError: no videos.
    """
    if not len(known) or not len(unknown):
        raise DataError("the open macro-F1 needs known and unknown videos")
    size = num_known + 1
    total = num_unknown or int(unknown_labels.max()) + 1
    matrix = np.bincount(known_labels * size + known, minlength=size * size).reshape(size, size)
    added = np.bincount(unknown_labels * size + unknown, minlength=total * size)
    added = added.reshape(total, size).astype(np.float64)
    hits, wrong = np.diag(matrix).astype(np.float64), np.zeros(size)
    wrong += matrix.sum(axis=0) + matrix.sum(axis=1)  # = 2 hits + false alarms + misses
    means, deviations = [_macro_f1(hits[None], wrong[None])[0]], [0.0]
    for chosen in unknown_selections(total, trials=trials, seed=seed):
        answers = chosen @ added
        more_hits = np.zeros_like(answers)
        more_hits[:, -1] = answers[:, -1]
        more = answers.copy()
        more[:, -1] += answers.sum(axis=1)
        scores = _macro_f1(hits + more_hits, wrong + more)
        means.append(scores.mean())
        deviations.append(scores.std())
    return OpenF1(num_known, np.array(means), np.array(deviations))


def _macro_f1(hits: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes that occur or are answered; `both` counts both."""
    occurs = both > 0
    scores = 2 * hits / np.where(occurs, both, 1)
    return scores.sum(axis=1) / occurs.sum(axis=1)


@dataclass(frozen=True)
class Calibration:
    """Whether certainty goes with being right.

    Attributes:
        ece: expected calibration error of the confidence 1 - uncertainty.
        eavuc: error of accuracy against uncertainty, a sum over the videos.
    """

    ece: float
    eavuc: float


def calibration(
    correct: Bool[np.ndarray, " n"],
    confidence: Float[np.ndarray, " n"],
    uncertainty: Float[np.ndarray, " n"],
    *,
    bins: int = _BINS,
) -> Calibration:
    """Return how well the uncertainty of answers is calibrated.

    Args:
        correct: which answers are right.
        confidence: probability of the answered class.
        uncertainty: 0 to 1.
        bins: of equal width, each without its lower end.
    """
    certainty = 1 - uncertainty
    place = np.ceil(certainty * bins).astype(int)
    ece = 0.0
    for each in range(1, bins + 1):
        inside = place == each
        if inside.any():
            ece += inside.mean() * abs(correct[inside].mean() - certainty[inside].mean())
    right = confidence[correct] * np.log(certainty[correct])
    wrong = (1 - confidence[~correct]) * np.log(uncertainty[~correct])
    return Calibration(float(ece), float(-right.sum() - wrong.sum()))
