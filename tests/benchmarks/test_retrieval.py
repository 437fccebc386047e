from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


@pytest.mark.parametrize("shape", [(60, 60), (90, 20)])
def test_both_find_the_same_ranks(shape):
    import retrieval

    case = retrieval.make_case(*shape)
    assert "ranks equal" in retrieval.check(case)
    plain, dual = retrieval.by_sorts(case)
    assert 0 < plain[0].mean() < dual[0].size  # neither all right nor worse than chance
    assert [len(ranks) for ranks in (*plain, *dual)] == [shape[0], shape[1]] * 2


def test_a_wrong_rank_is_found(monkeypatch):
    import retrieval

    case = retrieval.make_case(30, 30)
    right = retrieval.by_sorts(case)
    wrong = (right.plain[0] + np.eye(1, 30, dtype=int)[0], right.plain[1])
    monkeypatch.setattr(retrieval, "by_sorts", lambda case: right._replace(plain=wrong))
    with pytest.raises(RuntimeError, match="the ranks differ"):
        retrieval.check(case)
