"""A folder of every kind of file: all that can be read is answered, the others are named."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny
from field.test_reader import CASES, STREAMS, _flipped, shown_at, with_times
from internvideo.cli.application import run
from video.clips import encode, pictures, remux
from video.test_bad_files import _sound
from video.test_video import CODECS

NUM_FRAMES = 20


def _readable(folder: Path) -> set[str]:
    """Write files that hold pictures, whatever their makers did; return their names."""
    for name, arguments in CODECS.items():
        encode(folder / name, **{"codec": "libx264", **arguments, "num_frames": NUM_FRAMES})
    scratch = folder.parent / "scratch"
    scratch.mkdir()
    codec, options = STREAMS["h264"]
    stream = encode(scratch / "h264.mp4", codec, num_frames=NUM_FRAMES, options=options)
    wrong = list(range(NUM_FRAMES))
    for ending in ("mp4", "mov", "mkv", "ts", "flv"):
        assert with_times(stream, folder / f"decoding times.{ending}", wrong)
    equal = [place // 2 for place in shown_at(stream)]
    assert with_times(stream, folder / "equal times.mkv", equal)
    remux(stream, folder / "cut at the start.mkv", keep=slice(5, None))
    data = remux(stream, scratch / "h264.ts").read_bytes()
    (folder / "cut at the end.ts").write_bytes(data[: len(data) * 2 // 3])
    encode(folder / "turned.mp4", num_frames=4, matrix=(0, 1, -1, 0))
    for name in (
        "~ rain.mkv",
        "a::b.mkv",
        "per%20cent%d.mkv",
        "числа.mkv",
        "-dash.mkv",
        "no video.mp4",
    ):
        shutil.copy(stream, folder / name)
    images = [Image.fromarray(picture) for picture in pictures(6)]
    images[0].save(folder / "sticker.webp", save_all=True, append_images=images[1:])
    images[0].save(folder / "one.gif")
    (folder / "photo.mp4").write_bytes(_jpeg(images[0]))
    return {path.name for path in folder.iterdir()}


def _jpeg(image: Image.Image) -> bytes:
    import io

    written = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = 6
    image.save(written, "jpeg", exif=exif)
    return written.getvalue()


def _unreadable(folder: Path) -> set[str]:
    """Write files that hold no picture that can be had; return their names."""
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"a line of text\n" * 40,
        "page.mp4": b"<!DOCTYPE html><html>gone</html>",
        "list.mp4": b"#EXTM3U\nclip.ts\n",
        "pointer.mp4": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "zeros.mkv": bytes(4096),
        "noise.avi": np.random.default_rng(0).integers(0, 256, 4096, np.uint8).tobytes(),
        "archive.mov": b"PK\x03\x04" + bytes(200),
        "box.mp4": struct.pack(">I4s", 16, b"ftyp") + b"isom\0\0\0\0",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "dead link.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(folder / "pipe.mp4")
    whole = (folder / "h264.mp4").read_bytes()
    (folder / "no moov.mp4").write_bytes(whole[: whole.index(b"moov") - 4])
    (folder / "codec.mp4").write_bytes(whole.replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC"))
    _sound(folder / "song.mp4")
    _sound(folder / "album.mp4", cover=True)
    others = {"dead link.mp4", "pipe.mp4", "no moov.mp4", "codec.mp4", "song.mp4", "album.mp4"}
    return contents.keys() | others


def _reported(folder: Path) -> set[str]:
    """Copy the files of the reported cases, where they are at hand; return those that are read."""
    if not CASES.is_dir():
        return set()
    shutil.copy(CASES / "02-spatial-mvhevc/spatial.mp4", folder / "spatial.mp4")
    shutil.copy(CASES / "07-pts-equals-dts-mp4/clip.mp4", folder / "case 07.mp4")
    shutil.copy(CASES / "20-animated-webp/anim.webp", folder / "anim.webp")
    read = {"spatial.mp4", "case 07.mp4", "anim.webp"}
    for name in ("26-damaged-key-frame-flags", "27-damaged-picture-alone"):
        if (CASES.parent / "videos").is_dir():
            _flipped(CASES / name, folder).rename(folder / f"{name}.mp4")
            read.add(f"{name}.mp4")
    return read


@pytest.mark.slow
def test_all_that_can_be_read_is_answered_and_the_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    readable = _readable(folder)
    unreadable = _unreadable(folder)
    readable |= _reported(folder)
    assert len(readable | unreadable) >= 60
    model = tiny.save_viclip(tmp_path / "viclip")
    monkeypatch.chdir(folder)
    capfd.readouterr()
    code = run(["classify", ".", "-l", "a red star", "-l", "a circle", "-m", str(model), "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    answered = {Path(json.loads(line)["video"]).name for line in out.splitlines()}
    assert readable - answered == set()
    assert answered - readable == set()
    lines = err.splitlines()
    assert {name for name in unreadable if not any(name in line for line in lines)} == set()
    assert code == 1
