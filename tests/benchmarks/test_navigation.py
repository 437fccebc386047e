"""The benchmark of panoramas compares what is equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_a_band_of_rays_shows_what_all_rays_show():
    import navigation
    from _plain_panorama import plain_panorama

    from internvideo.simulator.backend import Sensors
    from internvideo.simulator.rendering import panorama

    room = navigation.furnished_room()
    assert navigation.agreement(room, Sensors(rgb=64, depth=64), count=2) > 0.95
    assert navigation.agreement(room, Sensors(rgb=224, depth=224), count=1) > 0.985
    position, yaw = navigation.places(1)[0]
    ours, plain = (
        make(room, position, yaw, Sensors(rgb=48)).rgb for make in (panorama, plain_panorama)
    )
    off = np.abs(ours.astype(int) - plain).max(axis=-1) > 25
    assert off.mean() < 0.05
