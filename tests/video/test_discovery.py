"""`find_videos`: files, folders, folders of frames and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from internvideo.errors import VideoError
from internvideo.video import find_videos


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_folders_are_searched_in_natural_order(tmp_path: Path) -> None:
    _touch(
        tmp_path, "b/10.mp4", "b/9.MKV", "a.webm", "z.avi", "notes.txt", ".hidden.mp4", "._9.mp4"
    )
    _touch(tmp_path, ".git/x.mp4")
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)]
    assert found == ["a.webm", "b/9.MKV", "b/10.mp4", "z.avi"]


def test_files_are_taken_as_they_are_and_only_once(tmp_path: Path) -> None:
    _touch(tmp_path, "odd.bin", "a.mp4")
    given = [tmp_path / "odd.bin", str(tmp_path / "a.mp4"), tmp_path, tmp_path / "a.mp4"]
    assert find_videos(given) == [tmp_path / "odd.bin", tmp_path / "a.mp4"]
    assert find_videos(tmp_path / "a.mp4") == [tmp_path / "a.mp4"]
    assert find_videos((tmp_path / "a.mp4").as_uri()) == [tmp_path / "a.mp4"]


def test_a_folder_of_frames_is_one_video(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"clip1/img_{n}.jpg" for n in range(3)), *(f"clip2/{n}.png" for n in "ab"))
    _touch(tmp_path, "movie/film.mp4", "movie/a.jpg", "movie/b.jpg", "lonely/poster.jpg")
    assert find_videos(tmp_path) == [
        tmp_path / "clip1",
        tmp_path / "clip2",
        tmp_path / "movie" / "film.mp4",
    ]
    assert find_videos(tmp_path / "clip1") == [tmp_path / "clip1"]
    assert find_videos(tmp_path / "lonely") == [tmp_path / "lonely"]


def test_addresses_pass_through(tmp_path: Path) -> None:
    _touch(tmp_path, "a.mp4")
    address = "https://example.org/b.mp4"
    assert find_videos([address, tmp_path, address]) == [address, tmp_path / "a.mp4"]


def test_links(tmp_path: Path) -> None:
    _touch(tmp_path, "real/a.mp4", "store/b.mp4")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "more").symlink_to(tmp_path / "store")
    found = [path.name for path in find_videos(tmp_path / "real")]
    assert found == ["a.mp4", "b.mp4"]


def test_nothing_found(tmp_path: Path) -> None:
    _touch(tmp_path, "notes.txt")
    with pytest.raises(VideoError, match="no videos in this folder or below it"):
        find_videos(tmp_path)
    with pytest.raises(VideoError, match="no such file or folder"):
        find_videos([tmp_path / "gone.mp4"])
    _touch(tmp_path, "good/a.mp4", "bad/readme.md")
    with pytest.raises(VideoError, match="bad: no videos"):
        find_videos([tmp_path / "good", tmp_path / "bad"])
    assert find_videos([]) == []
