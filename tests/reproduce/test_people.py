import json

import numpy as np
import pytest
import torch

from internvideo.data.clip_file import ClipFile
from internvideo.errors import DataError
from internvideo.reproduce.budget import find_budget
from internvideo.reproduce.claims import PEOPLE_CLAIMS
from internvideo.reproduce.people import ANNOTATIONS, VIDEOS, cut_people, missing_people
from internvideo.reproduce.steps import plan
from internvideo.reproduce.study import reproduce
from internvideo.video.preprocessing import PRESETS
from internvideo.video.writer import write_video

_NANO = PRESETS["nano"]


@pytest.fixture
def folder(tmp_path):
    """Three videos of eight seconds at ten frames a second, with two segments each."""
    database = {}
    (tmp_path / VIDEOS).mkdir()
    for number in range(3):
        frames = np.full((80, 48, 64, 3), 40 * number, np.uint8)
        frames[40:] += 100
        write_video(tmp_path / VIDEOS / f"v{number}.mp4", frames, fps=10)
        database[f"v{number}"] = {
            "subset": "training" if number else "validation",
            "duration": 8.0,
            "annotations": [
                {"segment": [0.0, 4.0], "label": "sit"},
                {"segment": [4.0, 8.0], "label": "walk"},
            ],
        }
    (tmp_path / ANNOTATIONS).write_text(json.dumps({"version": "1", "database": database}))
    return tmp_path


def test_videos_are_dealt_whole_and_cut_into_segments_and_windows(folder, tmp_path):
    cut_people(tmp_path / "out", {"folder": str(folder), "seed": 1, "num_videos": 3}, _NANO)
    parts = {
        part: ClipFile(tmp_path / "out" / f"{part}.safetensors")
        for part in ("train", "test", "windows")
    }
    names = {part: {clips.key(i)[:2] for i in range(len(clips))} for part, clips in parts.items()}
    assert len(names["train"]) == 2
    assert names["windows"] == names["train"]
    assert names["test"].isdisjoint(names["train"])
    train = parts["train"]
    assert train.class_names == ("sit", "walk")
    assert [train.label(index) for index in range(len(train))] == [0, 1, 0, 1]
    assert parts["windows"].label(0) is None
    still, moved = (train.all_frames()[index].float() for index in (0, 1))
    assert still.shape == (16, 32, 32, 3)
    assert torch.all(still.std(dim=0) < 3)  # a segment is not mixed with its neighbour
    assert (moved - still).mean() > 90


def test_what_is_missing_is_named(folder, tmp_path):
    assert missing_people(folder) == ""
    assert "--real" in missing_people(None)
    assert VIDEOS in missing_people(tmp_path / "nowhere")
    (folder / ANNOTATIONS).write_text("{}")
    with pytest.raises(DataError):
        cut_people(tmp_path, {"folder": str(folder), "seed": 1, "num_videos": 3}, _NANO)


def test_every_quantity_of_people_has_a_step(tmp_path):
    names = {step.name for step in plan(find_budget("tiny"), tmp_path)}
    for claim in PEOPLE_CLAIMS:
        for comparison in claim.comparisons:
            for quantity in (*comparison.better, *comparison.worse):
                assert f"seed-1/{quantity.step}" in names


def test_a_folder_without_the_videos_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(DataError, match=r"no fir_activitynet.json and no fir; leave out --real"):
        reproduce(tmp_path / "study", budget="tiny", real=tmp_path)
    assert not (tmp_path / "study").exists()
