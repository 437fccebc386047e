from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import tiny
from internvideo.video import Video, write_video
from internvideo.world import World


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_videomae(tmp_path_factory.mktemp("models") / "videomae")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    frames = np.asarray(World(seed=3).clip(0).frames)
    return write_video(tmp_path_factory.mktemp("clips") / "world.mp4", frames, fps=8)


def test_a_picture_of_a_world_clip(call, model, clip, tmp_path):
    out = tmp_path / "filled.png"
    code, stdout, stderr = call("reconstruct", clip, "-m", model, "--mask-ratio", 0.5, "--out", out)
    assert (code, stderr) == (0, "")
    assert "tube mask, 50% hidden" in stdout
    assert str(out) in stdout
    assert Image.open(out).size[0] > 4 * 128


def test_a_video_and_the_numbers_as_json(call, model, clip, tmp_path):
    out = tmp_path / "filled.mp4"
    line = ("reconstruct", clip, "-m", model, "--mask", "random", "--json", "-o", out)
    code, stdout, _ = call(*line)
    told = json.loads(stdout)
    assert code == 0
    assert (told["mask"], told["mask_ratio"], told["seed"]) == ("random", 0.75, 0)
    assert told["out"] == str(out)
    with Video(out) as video:
        assert video.num_frames == told["frames"] == 4


def test_another_seed_hides_other_places(call, model, clip, tmp_path):
    pictures = []
    for seed in (0, 0, 1):
        out = tmp_path / f"{len(pictures)}.png"
        assert call("reconstruct", clip, "-m", model, "--seed", seed, "-o", out)[0] == 0
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mask-ratio", "0.1"), "mask_ratio 0.1 hides none of the 2x2x2 tokens"),
        (("--mask-ratio", "1.5"), "mask_ratio is 1.5; expected a share between 0 and 1"),
        (("-o", "filled.jpg"), "cannot write filled.jpg: the name must end in .png or .mp4"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    call, model, clip, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call("reconstruct", clip, "-m", model, *options)
    assert (code, stdout) == (2, "")
    assert stderr.startswith(f"error: {message}")
    assert stderr.count("\n") == 1


def test_models_without_a_decoder_are_refused(call, clip, tmp_path):
    model = tiny.save_classifier(tmp_path / "classifier")
    code, _, stderr = call("reconstruct", clip, "-m", model, "-o", tmp_path / "x.png")
    assert code == 2
    assert "is a VideoClassifier and cannot fill in a clip" in stderr
    assert not (tmp_path / "x.png").exists()
