"""The table of formats, and the records that belong to videos."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from internvideo.annotations import Segment
from internvideo.data import write_world
from internvideo.data.clip_list import ClipList
from internvideo.errors import ConfigError, DataError
from internvideo.formats import FORMATS, READABLE, WRITABLE, activitynet, find_format
from internvideo.formats.detect import detect_kind
from internvideo.world import World


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_format_has_what_its_record_says(form):
    module = form.load()
    if form.options is not None:
        assert callable(module.looks_like)
        options = list(inspect.signature(module.read).parameters)[2:]
        assert options == list(form.options)
    if form.layout is not None:
        assert list(inspect.signature(module.write).parameters) == ["data"]
        assert len(form.layout.shares) == len(form.layout.splits)
        assert sum(form.layout.shares) == pytest.approx(1)


@pytest.mark.parametrize("name", READABLE)
def test_a_format_that_is_read_has_documentation(name):
    pages = Path(__file__).parents[2].joinpath("docs").glob("*.md")
    assert any(f"`{name}`" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("name", [name for name in READABLE if name in WRITABLE])
def test_what_the_world_writes_is_recognised(name, tmp_path):
    world = World(seed=5, size=16, objects=("star", "circle"))
    written = write_world(tmp_path, 8, kind=name, world=world, workers=1)
    found = {}
    for path in {*tmp_path.iterdir()} - {written.truth}:
        with suppress(DataError):
            found[path] = detect_kind(path)
    assert name in found.values()
    assert {kind for path, kind in found.items() if path.is_file()} <= {name}


def test_names_are_unique_and_a_wrong_one_is_told():
    assert len({form.name for form in FORMATS}) == len(FORMATS)
    assert {*READABLE, *WRITABLE} == {form.name for form in FORMATS}
    with pytest.raises(ConfigError, match=r"'kinetic'.*kinetics"):
        find_format("kinetic")


def test_annotations_belong_to_videos_and_clips_are_derived(tmp_path):
    parts = [{"label": "dig", "segment": [1, 2.5]}, {"label": "sail", "segment": [3, 9]}]
    database = {
        "one": {"subset": "training", "duration": 20, "annotations": parts},
        "two": {"subset": "training", "duration": 8, "annotations": parts[:1]},
        "none": {"subset": "training", "duration": 8, "annotations": []},
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"database": database}))
    one, two, none = activitynet.read(path, tmp_path).records
    assert (none.id, none.segments) == ("none", ())
    assert (one.id, one.duration) == ("one", 20)
    assert one.segments == (
        Segment(start=1, end=2.5, label=0),
        Segment(start=3, end=9, label=1),
    )
    assert len(two.segments) == 1
    clips = ClipList.read(activitynet.read(path, tmp_path))
    assert [(clip.start, clip.end, clip.label, clip.line) for clip in clips] == [
        (1, 2.5, 0, 1), (3, 9, 1, 1), (1, 2.5, 0, 2),
    ]  # fmt: skip


def test_the_world_needs_no_reader():
    code = (
        "import sys; from internvideo.data.config import WorldData, open_data\n"
        "from internvideo.video import Preprocessing\n"
        "data = WorldData(kind='world', num_clips=2)\n"
        "open_data(data, Preprocessing(num_frames=4))\n"
        "print(*(name for name in sys.modules if name.startswith('internvideo.formats.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["internvideo.formats.columns"]
