"""Ranks of retrieval, with one caption a video and with several, plain and by dual softmax."""

from __future__ import annotations

import statistics

import pytest
import torch

from golden.case import Case
from internvideo.evaluation.ranking import dual_softmax
from internvideo.evaluation.retrieval_ranks import retrieval_ranks
from internvideo.evaluation.similarity import Similarity
from internvideo.tasks.retrieval.report import Standing


def check(case: Case, name: str, standing: Standing) -> None:
    """Compare with the expected metrics; recalls are in percent."""
    ranks = standing.ranks
    found = {f"R{k}": standing.recall(k).percent for k in (1, 5, 10)}
    found |= {"MR": standing.median, "MedianR": standing.median, "MeanR": standing.mean}
    found["Std_Rank"] = statistics.pstdev(ranks)
    expected = case.meta["expected_metrics"][name]
    assert {key: found[key] for key in expected} == pytest.approx(
        expected, abs=case.meta["metric_tolerance"]
    )


def square(case: Case) -> None:
    """The published evaluator adds a rank for each tie; without ties that changes nothing."""
    scores = case.tensors["input.sim"]
    owners = torch.arange(len(scores))
    plain, ours = retrieval_ranks(Similarity.of_matrix(scores), owners, side="both")
    for name, ranks in (("t2v", plain.to_video), ("v2t", plain.to_text)):
        places = ranks.places("legacy")
        stored = case.tensors[f"output.rank_{name}"]
        assert places.sort().values.tolist() == stored.sort().values.tolist()
        check(case, name, Standing.of(ranks, "legacy"))
        if not ranks.tied.any():
            check(case, name, Standing.of(ranks))
    weighed = {"dsl": dual_softmax(scores), "dsl_T": dual_softmax(scores.T)}
    for name, actual in weighed.items():
        case.assert_close(actual, f"output.{name}")
    # Whether products are equal is decided by the last bit, so ties are counted in the stored ones.
    to_video, to_text = (
        retrieval_ranks(Similarity.of_matrix(case.tensors[f"output.{name}"]), owners, side="both")[
            0
        ].to_video
        for name in ("dsl", "dsl_T")
    )
    check(case, "dsl_t2v", Standing.of(to_video, "legacy"))
    check(case, "dsl_v2t", Standing.of(to_text, "legacy"))
    if not to_video.tied.any() and not to_text.tied.any():
        check(case, "dsl_t2v", Standing.of(ours.to_video))
        check(case, "dsl_v2t", Standing.of(ours.to_text))


def multi(case: Case) -> None:
    scores, ends = case.tensors["input.sim"], case.tensors["input.cut_off_points"]
    counts = ends.diff(prepend=ends.new_zeros(1))
    owners = torch.arange(len(counts)).repeat_interleave(counts)
    best = torch.stack([part.amax(dim=0) for part in scores.split(counts.tolist())])
    case.assert_close(best.T, "output.v2t_sim")
    case.assert_close(dual_softmax(scores), "output.dsl")
    plain, dual = retrieval_ranks(Similarity.of_matrix(scores), owners, side="text")
    for name, ranks in (("", plain), ("dsl_", dual)):
        check(case, f"{name}t2v", Standing.of(ranks.to_video, lower_median=True))
        check(case, f"{name}v2t", Standing.of(ranks.to_text))


ADAPTERS = {"metrics-retrieval-square": square, "metrics-retrieval-multi": multi}
