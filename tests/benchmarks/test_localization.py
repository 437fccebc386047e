"""The benchmark of temporal localisation compares what is equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def localization(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import localization

    monkeypatch.setattr(localization, "NUM_SEGMENTS", 300)
    monkeypatch.setattr(localization, "NUM_CLASSES", 3)
    monkeypatch.setattr(localization, "VIDEO_CLASSES", 5)
    monkeypatch.setattr(localization, "NUM_VIDEOS", 40)
    return localization


def test_suppression(localization, tmp_path):
    compiled = localization.compiled_loop(tmp_path)
    rows = localization.compare_suppression("long segments", compiled, 1)
    assert len(rows) == (2 if compiled is None else 4)
    assert all(row.ratio > 0 for row in rows)


def test_evaluation(localization):
    assert localization.compare_map(2_000, 1).ratio > 1


def test_a_difference_is_found(localization, monkeypatch):
    official = localization.official_method
    monkeypatch.setattr(localization, "official_method", lambda *both: official(*both) + 1e-3)
    with pytest.raises(RuntimeError, match="average precisions differ"):
        localization.compare_map(500, 1)
    plain = localization.plain_loop
    monkeypatch.setattr(localization, "plain_loop", lambda found: [
        each[::-1] for each in plain(found)
    ])  # fmt: skip
    with pytest.raises((RuntimeError, ValueError)):
        localization.compare_suppression("long segments", None, 1)
    assert np.isfinite(plain(localization.segments(0, "long segments"))[0]).all()
