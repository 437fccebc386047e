from __future__ import annotations

import numpy as np
import pytest

import tiny
from internvideo.video import write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number, count in enumerate((20, 12)):
        rng = np.random.default_rng(number)
        frames = rng.integers(0, 255, (count, 32, 48, 3), dtype=np.uint8)
        write_video(folder / f"v_{number}.mp4", frames, fps=10)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.save_videomae(tmp_path_factory.mktemp("model")))


def test_a_file_a_video_with_options_before_the_preset(videos, model, tmp_path, call):
    out = tmp_path / "features"
    (videos / "broken.mp4").write_bytes(b"no video")
    line = ("extract", videos, "-m", model, "--out", out, "--preset", "thumos14")
    code, told, errors = call(*line, "--window", 8)
    assert code == 1
    assert "2 videos, 6 rows" in told
    assert "broken.mp4" in errors
    assert np.load(out / "v_0.npy").shape == (4, 32)
    (videos / "broken.mp4").unlink()
    code, told, _ = call(*line, "--window", 8)
    assert code == 0
    assert "0 videos, 0 rows, 2 videos there already" in told
    code, _, errors = call(*line)
    assert code == 2
    assert "window: 8, now 16" in errors


def test_unknown_presets_are_refused(videos, model, call):
    code, _, errors = call("extract", videos, "-m", model, "--preset", "thumos")
    assert code == 2
    assert "thumos14" in errors


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_cluster_writes_the_same(videos, model, tmp_path, call):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        for engine in ("local", "ray"):
            line = ("extract", videos, "-m", model, "--out", tmp_path / engine, "--workers", 1)
            code, told, _ = call(*line, "--window", 8, "--stride", 4, "--engine", engine)
            assert code == 0
            assert "2 videos, 6 rows" in told
    finally:
        ray.shutdown()
    for name in ("v_0.npy", "v_1.npy"):
        one, other = (np.load(tmp_path / engine / name) for engine in ("local", "ray"))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
