"""The claims of the paper, and the rule by which a result decides about each.

The rule, written down before any result: a comparison is paired over the seeds, and judged by the
95 % t interval of the mean difference. It *holds* where the interval lies above zero; it *does not
hold* where it lies below zero; where it has zero inside, nothing is *shown*. A claim of several
comparisons holds if all of them do, and does not hold if one does not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from internvideo.errors import ConfigError
from internvideo.world import ACTIONS, COLORS

__all__ = [
    "PEOPLE_CLAIMS",
    "WORLD_CLAIMS",
    "Claim",
    "Comparison",
    "Finding",
    "Outcome",
    "Quantity",
    "judge",
    "title_of",
]

Verdict: TypeAlias = Literal["holds", "not shown", "does not hold", "not measured"]

# 97.5 % quantiles of Student's t by degrees of freedom, from 1 on
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number that each seed has.

    Attributes:
        title: what it is, for people.
        step: the step that measures it, without the seed.
        key: its name there.
        value: in place of these, a constant such as chance.
    """

    title: str
    step: str = ""
    key: str = "accuracy"
    value: float | None = None

    def of(self, results: Mapping[str, Mapping[str, Any]], seed: int) -> float | None:
        """Return the number of a seed; None where it is not measured yet."""
        if self.value is not None:
            return self.value
        found = results.get(f"seed-{seed}/{self.step}")
        return None if found is None else float(found["numbers"][self.key])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is claimed to be higher than what.

    Attributes:
        measure: what is compared, in words.
        better: what is claimed to be higher.
        worse: what it is compared with.

    Of several, each seed takes the highest.
    """

    measure: str
    better: tuple[Quantity, ...]
    worse: tuple[Quantity, ...]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the paper.

    Attributes:
        letter: by which it is called.
        statement: what the paper says.
        tested: how it is tested here, in a sentence or two.
        comparisons: that decide.
        beside: numbers that are shown and decide nothing.
    """

    letter: str
    statement: str
    tested: str
    comparisons: tuple[Comparison, ...]
    beside: tuple[tuple[str, Quantity], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a comparison.

    Attributes:
        comparison: the question.
        better: a number a seed.
        worse: a number a seed.
    """

    comparison: Comparison
    better: tuple[float, ...]
    worse: tuple[float, ...]

    @property
    def differences(self) -> tuple[float, ...]:
        """The first less the second, a number a seed."""
        return tuple(a - b for a, b in zip(self.better, self.worse, strict=True))

    @property
    def mean(self) -> float:
        """The mean difference."""
        return statistics.fmean(self.differences)

    @property
    def deviation(self) -> float:
        """The standard deviation of the differences over the seeds."""
        return statistics.stdev(self.differences)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % t interval of the mean difference.

        Raises:
            ConfigError: a number of seeds for which there is no quantile here.
        """
        count = len(self.differences)
        if not 2 <= count <= len(_T975) + 1:
            raise ConfigError(f"intervals need 2 to {len(_T975) + 1} seeds, got {count}")
        half = _T975[count - 2] * self.deviation / math.sqrt(count)
        return self.mean - half, self.mean + half

    @property
    def verdict(self) -> Verdict:
        """What the interval decides."""
        if not self.differences:
            return "not measured"
        low, high = self.interval
        return "holds" if low > 0 else "does not hold" if high < 0 else "not shown"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        asked = self.comparison
        found: dict[str, Any] = {
            "measure": asked.measure,
            "better": {"title": title_of(asked.better), "values": list(self.better)},
            "worse": {"title": title_of(asked.worse), "values": list(self.worse)},
            "verdict": self.verdict,
        }
        if self.differences:
            found |= {
                "differences": [round(each, 3) for each in self.differences],
                "mean": round(self.mean, 3),
                "sd": round(self.deviation, 3),
                "interval95": [round(each, 3) for each in self.interval],
            }
        return found


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim with what was found.

    Attributes:
        claim: the statement.
        outcomes: one a comparison.
        beside: (measure, title, numbers) that decide nothing.
    """

    claim: Claim
    outcomes: tuple[Outcome, ...]
    beside: tuple[tuple[str, str, tuple[float, ...]], ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What all comparisons decide together."""
        found = {each.verdict for each in self.outcomes}
        for verdict in ("not measured", "does not hold", "not shown"):
            if verdict in found:
                return verdict
        return "holds"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "claim": self.claim.letter,
            "statement": self.claim.statement,
            "tested": self.claim.tested,
            "verdict": self.verdict,
            "comparisons": [each.to_dict() for each in self.outcomes],
            "beside": [
                {"measure": measure, "title": title, "values": list(values)}
                for measure, title, values in self.beside
            ],
        }


def judge(claim: Claim, results: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> Finding:
    """Return what the results say of a claim; every seed must have been measured."""
    outcomes = []
    for asked in claim.comparisons:
        arms = [_best(each, results, seeds) for each in (asked.better, asked.worse)]
        better, worse = arms if all(arms) else ((), ())
        outcomes.append(Outcome(comparison=asked, better=better, worse=worse))
    beside = []
    for measure, quantity in claim.beside:
        values = [quantity.of(results, seed) for seed in seeds]
        if None not in values:
            known = tuple(each for each in values if each is not None)
            beside.append((measure, quantity.title, known))
    return Finding(claim=claim, outcomes=tuple(outcomes), beside=tuple(beside))


def title_of(quantities: Sequence[Quantity]) -> str:
    """Return what an arm of a comparison is called."""
    return " or ".join(each.title for each in quantities)


def _best(
    quantities: Sequence[Quantity], results: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]
) -> tuple[float, ...]:
    """Return the highest of the quantities for each seed; nothing where one is not measured."""
    found: list[float] = []
    for seed in seeds:
        values = [each.of(results, seed) for each in quantities]
        known = [each for each in values if each is not None]
        if len(known) < len(values):
            return ()
        found.append(max(known))
    return tuple(found)


_MASKED = Quantity(title="masked pretraining, fine-tuned", step="masked-actions")
_CONTRAST = Quantity(title="contrastive pretraining, fine-tuned", step="contrast-actions")
_SCRATCH = Quantity(title="from random weights", step="scratch-actions")


def _zero_shot(title: str, key: str) -> Quantity:
    return Quantity(title=title, step="zero-shot", key=key)


def _probe(encoder: str, key: str) -> Quantity:
    titles = {"masked": "masked", "contrast": "contrastive", "random": "random weights"}
    return Quantity(title=titles[encoder], step="probes", key=f"{encoder} {key}")


def _joined(title: str, key: str, step: str = "interaction") -> Quantity:
    return Quantity(title=title, step=step, key=key)


_BEST = (
    _joined("masked alone", "masked accuracy"),
    _joined("multimodal alone", "multimodal accuracy"),
)
_AVERAGE = (
    _joined("average of logits", "average of logits accuracy"),
    _joined("average of probabilities", "average of probabilities accuracy"),
)
_INTERACTION = _joined("interaction", "interaction accuracy")
_TASKS = {
    "retrieval": "retrieval: the clip of a caption, recall at 5",
    "questions": "question answering: accuracy",
    "localisation": "localisation: accuracy of the frames",
    "detection": "detection: box and action",
    "open set": "open set: AUROC, known against unknown actions",
}


def _features(encoder: str, task: str) -> Quantity:
    titles = {"masked": "masked", "multimodal": "multimodal", "fused": "fused"}
    title = titles.get(encoder, "both, side by side")
    return Quantity(title=title, step="downstream", key=f"{encoder} {task}")


WORLD_CLAIMS = (
    Claim(
        letter="a",
        statement="Masked pretraining is better than training from scratch.",
        tested="One network is pretrained on clips without labels, its twin starts from random "
        "weights; both are fine-tuned on the same few labelled clips of 28 actions, each with the "
        "learning rate that suited it best in an earlier study (docs/nano.md).",
        comparisons=(
            Comparison(measure="accuracy, 28 actions", better=(_MASKED,), worse=(_SCRATCH,)),
        ),
        beside=(("accuracy, 28 actions", _CONTRAST),),
    ),
    Claim(
        letter="b",
        statement="Contrastive pretraining gives zero-shot recognition.",
        tested="A two-tower model, trained on captioned clips alone, is asked with sentences whose "
        "wording no caption had; beside it chance, and its twin of random weights.",
        comparisons=(
            Comparison(
                measure="accuracy, 28 actions",
                better=(_zero_shot("contrastive", "accuracy"),),
                worse=(
                    _zero_shot("untrained", "untrained accuracy"),
                    Quantity(title="chance", value=100 / len(ACTIONS)),
                ),
            ),
            Comparison(
                measure=f"colour of a lone object, {len(COLORS)} colours",
                better=(_zero_shot("contrastive", "colour"),),
                worse=(
                    _zero_shot("untrained", "untrained colour"),
                    Quantity(title="chance", value=100 / len(COLORS)),
                ),
            ),
        ),
        beside=(
            ("an action above its time reversal", _zero_shot("contrastive", "pair")),
            ("an action above its time reversal", Quantity(title="chance", value=50.0)),
        ),
    ),
    Claim(
        letter="c",
        statement="Masked pretraining is better at motion, contrastive pretraining at appearance.",
        tested="Linear classifiers on the features of both frozen encoders, which are of one "
        "shape. Motion: is an action told from its time reversal, which shows the same pictures? "
        "Appearance: the colour of a lone object. Most captions of the world name the action, "
        "which captions of real videos seldom do.",
        comparisons=(
            Comparison(
                measure="motion: an action above its time reversal",
                better=(_probe("masked", "pair"),),
                worse=(_probe("contrast", "pair"),),
            ),
            Comparison(
                measure="appearance: colour",
                better=(_probe("contrast", "colour"),),
                worse=(_probe("masked", "colour"),),
            ),
        ),
        beside=(
            ("motion: an action above its time reversal", _probe("random", "pair")),
            ("appearance: colour", _probe("random", "colour")),
            ("accuracy, 28 actions", _probe("masked", "accuracy")),
            ("accuracy, 28 actions", _probe("contrast", "accuracy")),
            ("accuracy, 28 actions", _probe("random", "accuracy")),
        ),
    ),
    Claim(
        letter="d",
        statement="Model interaction is better than the best single model, which is better than "
        "the average of both.",
        tested="A masked and a contrastive encoder, each fine-tuned on the labelled clips, are "
        "frozen; cross-model attention between them learns on the same clips. Best of two single "
        "models: the one that is better on the test clips of the seed; likewise of two averages.",
        comparisons=(
            Comparison(
                measure="interaction over the best single model",
                better=(_INTERACTION,),
                worse=_BEST,
            ),
            Comparison(
                measure="interaction over the average", better=(_INTERACTION,), worse=_AVERAGE
            ),
            Comparison(measure="best single model over the average", better=_BEST, worse=_AVERAGE),
        ),
        beside=tuple(("accuracy, 28 actions", each) for each in (*_BEST, *_AVERAGE)),
    ),
    Claim(
        letter="e",
        statement="Supervised post-pretraining on the union of label sets helps.",
        tested="A masked-pretrained network is fine-tuned on a small target data set of 14 "
        "actions, at once, or after training on the union label set of 28 actions.",
        comparisons=(
            Comparison(
                measure="accuracy, 14 actions",
                better=(Quantity(title="by way of the union", step="target-union"),),
                worse=(Quantity(title="directly", step="target-direct"),),
            ),
        ),
        beside=(
            (
                "an action above its time reversal",
                Quantity(title="by way of the union", step="target-union", key="pair"),
            ),
            (
                "an action above its time reversal",
                Quantity(title="directly", step="target-direct", key="pair"),
            ),
        ),
    ),
    Claim(
        letter="f",
        statement="Fused features help in every downstream task.",
        tested="Small heads on the frozen tokens of the fused model and of the two fine-tuned "
        "encoders in it, all of one width; the heads learn from clips on which no encoder learnt "
        "a label. This compares features, not systems. For the open set note that the encoders "
        "have seen labels of all actions, the heads only those of the known ones.",
        comparisons=tuple(
            Comparison(
                measure=measure,
                better=(_features("fused", task),),
                worse=(_features("masked", task), _features("multimodal", task)),
            )
            for task, measure in _TASKS.items()
        ),
        beside=tuple(
            (measure, _features(encoder, task))
            for task, measure in _TASKS.items()
            for encoder in ("masked", "multimodal", "both")
        ),
    ),
)
"""The claims that are tested on the world, in the order of the report."""


def _people(title: str, start: str) -> Quantity:
    return Quantity(title=title, step=f"people-{start}-actions")


_PEOPLE_BEST = (
    _joined("masked alone", "masked accuracy", "people-interaction"),
    _joined("multimodal alone", "multimodal accuracy", "people-interaction"),
)
_PEOPLE_AVERAGE = (
    _joined("average of logits", "average of logits accuracy", "people-interaction"),
    _joined("average of probabilities", "average of probabilities accuracy", "people-interaction"),
)
_PEOPLE_INTERACTION = _joined("interaction", "interaction accuracy", "people-interaction")

PEOPLE_CLAIMS = (
    Claim(
        letter="a",
        statement="Masked pretraining is better than training from scratch.",
        tested="The masked-pretrained network of the world goes on with windows of the training "
        "videos, without labels; then it and a network of random weights are fine-tuned on their "
        "labelled segments.",
        comparisons=(
            Comparison(
                measure="accuracy, 9 actions",
                better=(_people("masked pretraining, fine-tuned", "masked"),),
                worse=(_people("from random weights", "scratch"),),
            ),
        ),
        beside=(("accuracy, 9 actions", _people("contrastive (world), fine-tuned", "contrast")),),
    ),
    Claim(
        letter="d",
        statement="Model interaction is better than the best single model, which is better than "
        "the average of both.",
        tested="As on the world: both fine-tuned encoders are frozen, and cross-model attention "
        "between them learns on the same segments.",
        comparisons=(
            Comparison(
                measure="interaction over the best single model",
                better=(_PEOPLE_INTERACTION,),
                worse=_PEOPLE_BEST,
            ),
            Comparison(
                measure="interaction over the average",
                better=(_PEOPLE_INTERACTION,),
                worse=_PEOPLE_AVERAGE,
            ),
            Comparison(
                measure="best single model over the average",
                better=_PEOPLE_BEST,
                worse=_PEOPLE_AVERAGE,
            ),
        ),
        beside=tuple(("accuracy, 9 actions", each) for each in (*_PEOPLE_BEST, *_PEOPLE_AVERAGE)),
    ),
)
"""The claims that are tested on real people."""
