"""The files of the six retrieval data sets on the command line: recognised as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from internvideo.data import write_world
from internvideo.world import World

SETS = {
    "msrvtt": ("MSRVTT_JSFUSION_test.csv", "one caption of each of 2 videos"),
    "msvd": ("test_list.txt", "all 6 captions of 2 videos"),
    "lsmdc": ("LSMDC16_challenge_1000_publictect.csv", "one caption of each of 2 videos"),
    "didemo": ("test_list.txt", "the captions of each of 2 videos as one paragraph"),
    "activitynet-captions": ("val_ids.json", "the captions of each of 4 videos as one paragraph"),
    "vatex": ("test_list.txt", "all 12 captions of 4 videos"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "mm"
    tiny.save_internvideo_mm(path)
    return path


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    world = World(seed=3, size=16, num_frames=6, objects=("star", "circle"))
    for kind in SETS:
        captions = {"captions": 3} if kind in ("msvd", "vatex", "msrvtt") else {}
        write_world(root / kind, 20, kind=kind, world=world, **captions)
    return root


@pytest.mark.parametrize("kind", SETS)
def test_each_set_is_measured_as_it_comes(call, model, sets, kind):
    name, captions = SETS[kind]
    line = ("-d", sets / kind / name, "--root", sets / kind / "videos")
    code, out, err = call("evaluate", "retrieval", model, *line, "--json", "--strict")
    assert code == 0, err
    report = json.loads(out)
    assert report["captions"] == captions
    assert report["video_to_text"]["plain"]["num_queries"] == int(captions.split(" videos")[0][-1])
    code, out, err = call("evaluate", "captioning", model, *line, "--json", "--strict")
    assert code == 0, err
    assert json.loads(out)["num_videos"] == report["video_to_text"]["plain"]["num_queries"]
    code, out, _ = call("data", "check", *line[1:], "--every", 1, "--workers", 1)
    assert code == 0
    assert "problems: none" in out


def test_a_split_is_chosen_by_its_name(call, model, sets):
    line = ("-d", sets / "msrvtt/MSRVTT_data.json", "--root", sets / "msrvtt/videos")
    code, out, _ = call("evaluate", "retrieval", model, *line, "--split", "1ka-test", "--json")
    assert code == 0
    assert json.loads(out)["captions"] == SETS["msrvtt"][1]
    code, out, err = call("evaluate", "retrieval", model, *line, "--split", "1ka-tset")
    assert (code, out) == (2, "")
    assert "Did you mean '1ka-test'" in err


def test_what_a_list_names_in_vain_is_told_and_missing_videos_are_listed(call, model, sets):
    names = (sets / "didemo/test_list.txt").read_text().splitlines()
    path = sets / "didemo/bad_list.txt"
    path.write_text(f"{names[0]}\n{names[1]}\nnobody.mov\n{names[0]}\n")
    rows = json.loads((sets / "didemo/test_data.json").read_text())
    (sets / "didemo/bad_data.json").write_text(json.dumps(rows))
    videos = sets / "didemo/few"
    videos.mkdir()
    (videos / f"{names[0]}.mp4").write_bytes((sets / f"didemo/videos/{names[0]}.mp4").read_bytes())
    line = ("-d", path, "--root", videos)
    code, out, err = call("evaluate", "retrieval", model, *line, "--json")
    assert code == 0, err
    assert "bad_list.txt:3: 'nobody.mov' has no sentence in bad_data.json" in err
    assert f"bad_list.txt:4: '{names[0]}' is that of line 1, too" in err
    assert "1 of 2 videos could not be used" in err
    assert f"few/{names[1]}.mp4" in err
    assert call("evaluate", "retrieval", model, *line, "--strict")[0] == 1
    code, out, _ = call("data", "check", *line[1:], "--workers", 1, "--json")
    assert code == 1
    problems = json.loads(out)["problems"]
    assert [(each["kind"], each["line"]) for each in problems] == [
        ("missing", 2), ("line", 3), ("line", 4),
    ]  # fmt: skip


def test_a_forgotten_root_is_hinted_at(call, model, sets):
    code, _, err = call("evaluate", "retrieval", model, "-d", sets / "didemo/test_list.txt")
    assert code == 2
    assert "--root names the folder" in err
