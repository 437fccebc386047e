from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from internvideo.errors import ConfigError
from internvideo.models.videomae import VideoMAE, VideoMAEConfig, VideoMAEOutput
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.masked.panels import draw_grid, draw_panels
from internvideo.tasks.masked.viewer import reconstruct
from internvideo.video import Video
from internvideo.video.preprocessing import Preprocessing

CONFIG = VideoMAEConfig(
    encoder=VideoViTConfig(
        image_size=32, patch_size=16, num_frames=4, width=16, depth=1, num_heads=2
    ),
    decoder_width=8,
    decoder_depth=1,
    decoder_num_heads=2,
)
PROTOCOL = Preprocessing(
    num_frames=4, sampling="middle", resize_rule="squash", resize_size=32, crop_size=32
)
GREY = 209


class Oracle(VideoMAE):
    """Predicts exactly what it should."""

    def forward(self, video, mask, decoder_mask=None) -> VideoMAEOutput:
        output = super().forward(video, mask, decoder_mask)
        return replace(output, prediction=output.target, loss=output.loss * 0)


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def look(model, frames, protocol=PROTOCOL, **options):
    clip = protocol.transform(torch.from_numpy(frames))
    return reconstruct(model.eval(), clip, protocol, **{"mask_ratio": 0.5, **options})


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, target="pixels"),
        replace(CONFIG, target="motion"),
        replace(CONFIG, mask_patch_size=8),
    ],
    ids=["normalized", "pixels", "motion", "smaller places"],
)
def test_a_perfect_prediction_is_the_original(config, frames):
    result = look(Oracle(config), frames)
    assert np.abs(result.original.astype(int) - frames).max() <= 1
    assert np.abs(result.reconstructed.astype(int) - frames).max() <= 1
    assert result.psnr > 60


def test_motion_at_a_lower_resolution_is_magnified(frames):
    result = look(Oracle(replace(CONFIG, target="motion", target_size=16)), frames, mask="random")
    coarse = frames.reshape(4, 16, 2, 16, 2, 3).mean(axis=(2, 4)).repeat(2, 1).repeat(2, 2)
    hidden = (result.masked != result.original).any(axis=-1)
    assert np.abs(result.reconstructed[hidden] - coarse[hidden]).max() <= 1


def test_what_was_seen_stays_and_what_was_hidden_is_grey(frames):
    torch.manual_seed(0)
    result = look(VideoMAE(CONFIG), frames, seed=3)
    hidden = (result.masked == GREY).all(axis=-1)
    assert hidden.mean() == pytest.approx(0.5, abs=0.01)
    assert (hidden == hidden[:1]).all()  # a tube
    for picture in (result.masked, result.reconstructed):
        assert (picture[~hidden] == result.original[~hidden]).all()
    assert (result.reconstructed[hidden] != result.original[hidden]).any()
    assert 0 < result.psnr < 30
    again, other = (look(VideoMAE(CONFIG), frames, seed=s) for s in (3, 4))
    assert (again.masked == result.masked).all()
    assert (other.masked != result.masked).any()


def test_the_numbers_are_those_of_the_picture(frames):
    torch.manual_seed(0)
    model = VideoMAE(replace(CONFIG, target="pixels")).eval()
    result = look(model, frames)
    hidden = (result.masked == GREY).all(axis=-1)
    error = (result.reconstructed[hidden] / 255 - result.original[hidden] / 255) ** 2
    assert result.psnr == pytest.approx(-10 * np.log10(error.mean()), abs=0.05)
    told = json.loads(json.dumps(result.to_json()))
    assert told["psnr"] == result.psnr
    assert told["hidden"] == 0.5
    assert "50% hidden" in result.title


def test_blue_first_models_are_shown_in_the_right_colours(frames):
    result = look(Oracle(CONFIG), frames, replace(PROTOCOL, channel_order="bgr"))
    assert np.abs(result.original.astype(int) - frames).max() <= 1
    assert np.abs(result.reconstructed.astype(int) - frames).max() <= 1


def _places(picture: np.ndarray, cell: np.ndarray) -> list[tuple[int, int]]:
    """Return where (row, column) in a picture another one is."""
    height, width = cell.shape[:2]
    return [
        (int(y), int(x))
        for y, x in np.argwhere((picture == cell[0, 0]).all(axis=-1))
        if np.array_equal(picture[y : y + height, x : x + width], cell)
    ]


def test_the_grid_magnifies_small_frames_and_labels_them(frames, tmp_path):
    result = look(Oracle(CONFIG), frames)
    picture = np.asarray(Image.open(result.save(tmp_path / "new" / "grid.png")))
    magnified = result.original[1].repeat(4, axis=0).repeat(4, axis=1)
    (top, left), (lower, beneath) = _places(picture, magnified)  # original and reconstructed
    assert (lower - top, beneath) == (2 * (128 + 6), left)
    row_name = picture[top : top + 128, : left - (128 + 6)]
    for labelled in (picture[:top], row_name, picture[-60:]):
        assert (labelled < 100).any()


def test_of_long_clips_eight_spread_frames_are_shown():
    clip = np.zeros((20, 130, 130, 3), np.uint8)
    wide = draw_grid({"a": clip}, title="a title", note="a note").size[0]
    assert 8 * 130 < wide < 9 * 130


def test_the_video_shows_the_three_side_by_side(frames, tmp_path):
    result = look(Oracle(CONFIG), frames)
    rows = {"original": result.original, "masked": result.masked}
    panels = draw_panels(rows, title="a title", note="a note")
    (place,) = _places(panels[2], result.original[2].repeat(8, axis=0).repeat(8, axis=1))
    (beside,) = _places(panels[2], result.masked[2].repeat(8, axis=0).repeat(8, axis=1))
    assert (beside[0], beside[1] - place[1]) == (place[0], 256 + 6)
    with Video(result.save(tmp_path / "three.mp4")) as video:
        shown = video.frames([0, 1, 2, 3])
    assert shown.shape[0] == 4
    assert shown.shape[2] > 3 * 256


@pytest.mark.parametrize("name", ["grid.jpg", "grid", "grid.pn"])
def test_other_endings_are_refused(name, frames, tmp_path):
    with pytest.raises(ConfigError, match=r"\.png.*\.mp4"):
        look(Oracle(CONFIG), frames).save(tmp_path / name)


def test_a_model_in_training_is_refused(frames):
    clip = PROTOCOL.transform(torch.from_numpy(frames))
    with pytest.raises(ConfigError, match=r"model\.eval\(\)"):
        reconstruct(VideoMAE(CONFIG).train(), clip, PROTOCOL)


def test_a_bfloat16_model_can_be_looked_at(frames):
    result = look(VideoMAE(CONFIG).bfloat16(), frames)
    assert np.isfinite(result.loss)
