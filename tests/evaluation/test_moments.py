"""Moments of a user's video: as a table, as JSON, drawn above frames, cut out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from internvideo.errors import VideoError
from internvideo.evaluation.moments import Moment, Moments
from internvideo.video import Video
from internvideo.world import Encoding, World, write_mp4


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Moments:
    path = tmp_path_factory.mktemp("moments") / "film.mp4"
    world = World(seed=2, size=32, num_frames=16)
    frames = np.concatenate([world[number].frames for number in range(3)])
    write_mp4(path, frames, Encoding(fps=8, scale=1))
    moments = (
        Moment(start=0.5, end=2.0, label="move/left", score=0.9),
        Moment(start=1.0, end=1.5, label="blink", score=0.4),
        Moment(start=5.9, end=6.0, label="move/left", score=0.5),
    )
    return Moments(video=str(path), moments=moments, duration=6.0, source=path, model="tiny")


def test_table_summary_and_json_say_what_happens_when(found):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(found)
    text = console.export_text()
    assert all(part in text for part in ("0:00.5", "0:02.0", "move/left", "0.90"))
    assert found.summary() == ("3", "move/left at 0:00.5", "0.90")
    nothing = replace(found, moments=())
    assert nothing.summary() == ("0", "", "")
    console.print(nothing)
    assert "nothing was found" in console.export_text()
    read = json.loads(found.to_json())
    assert read["moments"][1] == {"start": 1.0, "end": 1.5, "label": "blink", "score": 0.4}


def test_bars_lie_above_frames_of_their_times(found, tmp_path):
    above, below = found.plot(tmp_path / "moments.png").axes
    drawn = [[bar.get_x(), bar.get_width(), bar.get_y() + 0.4] for bar in above.patches]
    np.testing.assert_allclose(drawn, [[0.5, 1.5, 0], [1.0, 0.5, 1], [5.9, 0.1, 0]], atol=1e-9)
    shown = [(box.xy[0], box.offsetbox.get_data()) for box in below.artists]
    with Video(found.video) as video:
        for time, picture in shown:
            np.testing.assert_array_equal(picture, video[int(time * 8)].numpy())
    assert len(shown) == 10
    assert below.get_xlim() == above.get_xlim() == (0, 6)
    replace(found, moments=()).plot(tmp_path / "nothing.png")


def test_clips_have_the_frames_of_the_moments(found, tmp_path):
    written = found.cut(tmp_path)
    assert [path.name for path in written] == [
        "01-move-left-0.50s.mp4", "02-blink-1.00s.mp4", "03-move-left-5.90s.mp4",
    ]  # fmt: skip
    with Video(found.video) as video:
        for path, (first, end) in zip(written, ((4, 16), (8, 12), (47, 48)), strict=True):
            with Video(path) as clip:
                assert len(clip) == end - first
                errors = (clip[:].float() - video[first:end].float()).abs()
                assert torch.all(errors.mean(dim=(1, 2, 3)) < 8)


def test_a_video_that_is_gone_is_an_error_of_its_own(found, tmp_path):
    gone = replace(found, source=tmp_path / "gone.mp4")
    for use in (lambda: gone.plot(tmp_path / "p.png"), lambda: gone.cut(tmp_path / "clips")):
        with pytest.raises(VideoError, match=r"gone\.mp4"):
            use()
