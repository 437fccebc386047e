from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from internvideo.errors import VideoError
from internvideo.search.files import below, digest, look_at, make_plan, with_digest
from internvideo.search.records import IndexedVideo


def indexed(folder: Path) -> dict[str, IndexedVideo]:
    """Return all videos of a folder as a library would have them."""
    files = [with_digest(look_at(str(path))) for path in sorted(folder.rglob("*.mp4"))]
    return {file.path: IndexedVideo(file=file, num_parts=1, duration=3.0) for file in files}


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(4):
        (tmp_path / "films").mkdir(exist_ok=True)
        (tmp_path / "films" / f"{number}.mp4").write_bytes(bytes([number]) * (200_000 + number))
    return tmp_path / "films"


def names(files) -> list[str]:
    return [Path(file.path).name for file in files]


def test_everything_is_new_in_an_empty_library(folder):
    plan = make_plan([str(folder)], {})
    assert names(plan.new) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert (plan.unchanged, list(plan.changed), list(plan.vanished), list(plan.failures)) == (
        0, [], [], [],
    )  # fmt: skip
    assert plan.new[0].size == 200_000
    assert Path(plan.new[0].path).is_absolute()


def test_new_changed_touched_and_vanished_files_are_told_apart(folder):
    known = indexed(folder)
    same, touched, changed, gone = (folder / f"{number}.mp4" for number in range(4))
    os.utime(touched, (1, 1))
    content = bytearray(changed.read_bytes())
    content[100_000] ^= 255  # the size stays
    changed.write_bytes(bytes(content))
    os.utime(changed, (2, 2))
    gone.unlink()
    shutil.copy(same, folder / "new.mp4")
    plan = make_plan([str(folder)], known)
    assert names(plan.new) == ["new.mp4"]
    assert names(plan.changed) == ["2.mp4"]
    assert plan.unchanged == 2
    assert [Path(path).name for path in plan.vanished] == ["3.mp4"]


def test_a_file_of_another_size_has_changed_whatever_its_time(folder):
    known = indexed(folder)
    time = (folder / "0.mp4").stat().st_mtime_ns
    (folder / "0.mp4").write_bytes(b"shorter")
    os.utime(folder / "0.mp4", ns=(time, time))
    plan = make_plan([str(folder)], known)
    assert names(plan.changed) == ["0.mp4"]
    assert plan.unchanged == 3


def test_videos_outside_the_named_folders_have_not_vanished(folder, tmp_path):
    known = indexed(folder)
    shutil.rmtree(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.mp4").write_bytes(b"x")
    (tmp_path / "films2").mkdir()
    (tmp_path / "films2" / "a.mp4").write_bytes(b"x")
    plan = make_plan([str(tmp_path / "other"), str(tmp_path / "films2")], known)
    assert list(plan.vanished) == []
    assert len(make_plan([str(folder)], known).vanished) == 4


def test_what_is_no_video_is_listed(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (folder / "empty.mp4").touch()
    plan = make_plan([str(folder), str(tmp_path / "empty"), str(tmp_path / "gone.mp4")], {})
    assert len(plan.new) == 4
    reasons = {Path(name).name: reason for name, reason in plan.failures}
    assert set(reasons) == {"empty.mp4", "empty", "gone.mp4"}
    assert "no videos" in reasons["empty"]


def test_the_digest_sees_size_start_middle_and_end(tmp_path):
    path = tmp_path / "a.mp4"
    content = bytearray(3_000_000)
    digests = set()
    for first in (0, 100_000, 1_400_000, 2_800_000):
        content[first : first + 200_000] = os.urandom(200_000)
        path.write_bytes(bytes(content))
        digests.add(digest(str(path)))
    path.write_bytes(bytes(content) + b"\0")
    assert len(digests | {digest(str(path))}) == 5
    copy = shutil.copy(path, tmp_path / "b.mp4")
    assert digest(str(copy)) == digest(str(path))


def test_a_folder_of_frames_is_known_by_its_files(tmp_path):
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.jpg")
    before = with_digest(look_at(str(tmp_path)))
    assert before.size == 3
    Image.new("RGB", (8, 8)).save(tmp_path / "3.jpg")
    after = with_digest(look_at(str(tmp_path)))
    assert (after.size, after.digest == before.digest) == (4, False)


def test_an_address_is_asked_for_size_and_time():
    import fsspec

    with fsspec.open("memory://films/a.mp4", "wb") as file:
        file.write(b"0123456789")
    file = look_at("memory://films/a.mp4")
    assert (file.path, file.size) == ("memory://films/a.mp4", 10)
    assert digest(file.path) == digest(file.path) != ""
    with pytest.raises(VideoError, match=r"memory://films/gone\.mp4: cannot be looked at"):
        look_at("memory://films/gone.mp4")


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")
    Path(path).write_bytes(b"x")
    with pytest.raises(VideoError, match="not UTF-8"):
        look_at(path)


def test_what_lies_below_a_name():
    paths = ["/a/b.mp4", "/a/c/d.mp4", "/ab.mp4", "s3://x/a.mp4"]
    assert list(below(["/a"], paths)) == ["/a/b.mp4", "/a/c/d.mp4"]
    assert list(below(["/a/"], paths)) == ["/a/b.mp4", "/a/c/d.mp4"]
    assert list(below(["/a/b.mp4", "s3://x"], paths)) == ["/a/b.mp4", "s3://x/a.mp4"]
    assert list(below(["file:///a/c"], paths)) == ["/a/c/d.mp4"]
