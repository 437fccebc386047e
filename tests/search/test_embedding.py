"""The same library from a Ray cluster: one of two processes, here."""

from __future__ import annotations

import numpy as np
import pytest

from internvideo.search.library import open_library
from internvideo.search.records import Cut
from internvideo.search.store import Filter


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_cluster_makes_the_same_library(cluster, tmp_path, model, films):
    (films / "broken.mp4").write_bytes(b"no video" * 99)
    cut = Cut(kind="shots", window=1.0)
    here = open_library(tmp_path / "here.lance", model, device="cpu")
    there = open_library(tmp_path / "there.lance", model, device="cpu")
    here.index(films, cut=cut)
    report = there.index(films, cut=cut, engine="ray", workers=2)
    assert (report.new, report.parts, report.unreadable) == (4, 12, 1)
    asked = np.eye(16, dtype=np.float32)[0]
    rows = [
        {hit.part.id: hit for hit in library._existing().search(asked, 99, Filter())}
        for library in (here, there)
    ]
    assert rows[0].keys() == rows[1].keys()
    assert len(rows[0]) == 12
    for key, hit in rows[0].items():
        one, other = hit.part.to_row(), rows[1][key].part.to_row()
        np.testing.assert_allclose(one.pop("vector"), other.pop("vector"), atol=1e-5)
        assert one == other
    again = there.index(films / "film 1.mp4", engine="ray")
    assert (again.new, again.unchanged) == (0, 1)
