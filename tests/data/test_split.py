from __future__ import annotations

from pathlib import Path

import pytest

from internvideo.data.build import read_list
from internvideo.data.split import SPLITS, unlisted, write_lists
from internvideo.errors import ConfigError, DataError


def folder_of(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"g{number // 2:02}_c{number:03}.mp4").touch()
    return root


def read(folder: Path) -> dict[str, list[tuple[Path, int | None]]]:
    lists = {split: folder / f"{split}.csv" for split in SPLITS}
    return {
        split: [
            (Path(clips.path(place)).resolve(), clips[place].label) for place in range(len(clips))
        ]
        for split, file in lists.items()
        for clips in [read_list("kinetics", file, labels=folder / "labels.txt")]
    }


def test_every_video_is_in_one_list_and_every_class_in_all(tmp_path):
    videos = folder_of(tmp_path / "my videos", run=20, jump=8, sit=3)
    lists = write_lists(videos, tmp_path / "lists")
    found = read(tmp_path / "lists")
    paths = [path for entries in found.values() for path, _ in entries]
    assert sorted(paths) == sorted(videos.resolve().rglob("*.mp4"))
    assert lists.classes == ("jump", "run", "sit")
    assert {split: {label for _, label in found[split]} for split in SPLITS} == {
        split: {0, 1, 2} for split in SPLITS
    }
    assert all(path.parent.name == lists.classes[label] for path, label in found["train"])
    assert lists.counts == {"train": 21, "val": 5, "test": 5}
    assert lists.scarce == ()
    assert unlisted(videos, tmp_path / "lists") == []


def test_the_same_seed_draws_the_same_lists(tmp_path):
    videos = folder_of(tmp_path / "v", a=10, b=10)
    for name, seed in (("1", 0), ("2", 0), ("3", 1)):
        write_lists(videos, tmp_path / name, seed=seed)
    first, again, other = (read(tmp_path / name) for name in "123")
    assert first == again
    assert first != other


def test_a_recording_is_not_divided(tmp_path):
    videos = folder_of(tmp_path / "v", a=12, b=12)
    write_lists(videos, tmp_path / "lists", group=r"(.*g\d+)_c")
    found = read(tmp_path / "lists")
    groups = {
        split: {path.parent.name + path.name[:3] for path, _ in found[split]} for split in SPLITS
    }
    assert not groups["train"] & (groups["val"] | groups["test"])
    assert not groups["val"] & groups["test"]
    assert all(groups.values())


def test_classes_that_are_too_small_are_named(tmp_path):
    lists = write_lists(folder_of(tmp_path / "v", a=6, b=2, c=1), tmp_path / "lists")
    assert lists.scarce == ("b", "c")
    assert lists.counts["train"] == 4 + 1 + 1


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"val": 0.5, "test": 0.5}, ConfigError, "below 1 together"),
        ({"group": "("}, ConfigError, "no regular expression"),
        ({"group": "a"}, ConfigError, "has no group"),
        ({"group": "(zebra)"}, DataError, "is not in"),
    ],
)
def test_shares_and_expressions_that_cannot_be(tmp_path, options, error, told):
    videos = folder_of(tmp_path / "v", a=2, b=2)
    with pytest.raises(error, match=told):
        write_lists(videos, tmp_path / "lists", **options)


def test_one_class_is_none(tmp_path):
    with pytest.raises(DataError, match="single class 'a'"):
        write_lists(folder_of(tmp_path / "v", a=4), tmp_path / "lists")


def test_videos_that_came_later_are_found(tmp_path):
    videos = folder_of(tmp_path / "v", a=4, b=4)
    write_lists(videos, tmp_path / "lists")
    (videos / "a" / "new.mp4").touch()
    assert [Path(path).name for path in unlisted(videos, tmp_path / "lists")] == ["new.mp4"]
