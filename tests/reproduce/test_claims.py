import math

import pytest

from internvideo.errors import ConfigError
from internvideo.reproduce.budget import BUDGETS, find_budget
from internvideo.reproduce.claims import (
    WORLD_CLAIMS,
    Claim,
    Comparison,
    Outcome,
    Quantity,
    judge,
)
from internvideo.reproduce.steps import fingerprints, plan

_COMPARISON = Comparison(
    measure="accuracy",
    better=(Quantity(title="ours", step="ours"),),
    worse=(Quantity(title="theirs", step="theirs"), Quantity(title="chance", value=10.0)),
)


def _outcome(*differences):
    return Outcome(comparison=_COMPARISON, better=differences, worse=(0.0,) * len(differences))


def test_the_interval_is_that_of_student():
    # 7/3 ∓ 4.3027 · sd / √3, 4.3027 being the quantile of two degrees of freedom
    low, high = _outcome(1.0, 2.0, 4.0).interval
    assert math.isclose(low, -1.461167, abs_tol=1e-3)
    assert math.isclose(high, 6.127833, abs_tol=1e-3)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((10.0, 11.0, 12.0), "holds"),
        ((-10.0, -11.0, -12.0), "does not hold"),
        ((1.0, 2.0, 4.0), "not shown"),
        ((), "not measured"),
    ],
)
def test_the_interval_decides(differences, verdict):
    assert _outcome(*differences).verdict == verdict


def test_one_seed_has_no_interval():
    with pytest.raises(ConfigError, match="2 to 10 seeds"):
        _ = _outcome(1.0).interval


def _results(ours, theirs):
    return {
        f"seed-{seed}/{step}": {"numbers": {"accuracy": value}}
        for step, values in (("ours", ours), ("theirs", theirs))
        for seed, value in enumerate(values, start=1)
    }


def test_differences_are_paired_and_the_best_rival_counts():
    claim = Claim(letter="x", statement="", tested="", comparisons=(_COMPARISON,))
    finding = judge(claim, _results([30, 40, 50], [5, 25, 35]), (1, 2, 3))
    assert finding.outcomes[0].worse == (10.0, 25.0, 35.0)
    assert finding.outcomes[0].differences == (20.0, 15.0, 15.0)
    assert finding.verdict == "holds"


def test_a_claim_that_fails_in_part_fails():
    swapped = Comparison(measure="b", better=_COMPARISON.worse[:1], worse=_COMPARISON.better)
    claim = Claim(letter="x", statement="", tested="", comparisons=(_COMPARISON, swapped))
    results = _results([30, 40, 50], [12, 25, 35])
    assert judge(claim, results, (1, 2, 3)).verdict == "does not hold"
    assert judge(claim, {}, (1, 2, 3)).verdict == "not measured"


def test_every_quantity_has_a_step():
    names = {step.name for step in plan(find_budget("tiny"))}
    for claim in WORLD_CLAIMS:
        asked = [each for c in claim.comparisons for each in (*c.better, *c.worse)]
        for quantity in [*asked, *(each for _, each in claim.beside)]:
            assert quantity.value is not None or f"seed-1/{quantity.step}" in names


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_steps_come_after_what_they_need(budget):
    steps = plan(budget)
    done = set()
    for step in steps:
        assert done >= set(step.needs)
        done.add(step.name)
    assert len(done) == len(steps)
    assert len(set(fingerprints(steps).values())) == len(steps)


def test_a_change_upstream_changes_what_follows_alone():
    steps = plan(find_budget("tiny"))
    before = fingerprints(steps)
    changed = [
        step
        if step.name != "seed-1/masked"
        else type(step)(name=step.name, work=step.work, needs=step.needs, options={})
        for step in steps
    ]
    after = fingerprints(changed)
    moved = {name for name in before if before[name] != after[name]}
    assert "seed-1/masked-actions" in moved
    assert "seed-1/contrast" not in moved
    assert not any(name.startswith("seed-2/") for name in moved)
