from __future__ import annotations

import html.parser
import re
from pathlib import Path

import av
import numpy as np
import pytest

from internvideo.errors import VideoError
from internvideo.search.clips import cut_hits
from internvideo.search.library import open_library
from internvideo.search.page import hits_page
from internvideo.search.records import Cut
from internvideo.video import Video
from search_films import write_film


@pytest.fixture
def library(tmp_path, model, films):
    write_film(films / "<b>&'quoted'.mp4", 7)
    library = open_library(tmp_path / "films.lance", model, device="cpu")
    library.index(films, cut=Cut(window=1.0))
    return library


class Page(html.parser.HTMLParser):
    """Collects the tags of a page, and checks that all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_whole_and_needs_nothing_else(library):
    hits = library.search("a star grows", limit=15)
    query = "<script>alert('x')</script> a star"
    text = hits_page(query, hits, library.status())
    page = Page(text)
    assert page.of("script") == []
    assert "&lt;script&gt;" in text
    assert len(page.of("li")) == len(hits) == 15
    pictures = page.of("img")
    assert len(pictures) == 4 * 15
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in pictures)
    assert all(each["alt"] for each in pictures)
    assert not re.search(r"(?:src|href)=[\"']https?:", text)
    assert "prefers-color-scheme: dark" in text
    assert [meta for meta in page.of("meta") if meta.get("name") == "viewport"]
    assert "&lt;b&gt;&amp;" in text
    first = page.of("a")[0]["href"]
    assert first.startswith("file:///")
    assert first.endswith(f"#t={hits[0].start:.2f},{hits[0].end:.2f}")


def test_without_the_file_the_page_shows_what_the_library_keeps(library):
    [hit] = library.search("a star grows", limit=1)
    Path(hit.path).unlink()
    page = Page(hits_page("a star", [hit], library.status()))
    assert [each["src"] for each in page.of("img")] == [hit.data_uri()]
    assert "Nothing was found" in hits_page("a star", [], library.status())


def test_clips_have_exactly_the_frames_of_the_hits(library, tmp_path):
    hits = library.search("a star grows", limit=3)
    Path(hits[1].path).unlink()
    folder = tmp_path / "out"
    written = [each for _, each in cut_hits(hits, folder)]
    assert isinstance(written[1], VideoError)
    assert sorted(path.name[:3] for path in folder.iterdir()) == ["01-", "03-"]
    for hit, path in zip(hits, written, strict=True):
        if isinstance(path, VideoError) or not Path(hit.path).exists():
            continue
        part = hit.part
        with Video(path) as clip, Video(hit.path) as video:
            assert (len(clip), clip.fps, clip.height) == (part.num_frames, part.fps, part.height)
            right = video.frames(range(part.first_frame, part.first_frame + part.num_frames))
            errors = (clip[:].float() - right.float()).abs().mean(dim=(1, 2, 3))
        assert errors.max() < 6  # it was encoded anew; a neighbouring frame is further away
        moved = (right[1:].float() - right[:-1].float()).abs().mean(dim=(1, 2, 3))
        assert moved.min() > 6


def test_clips_keep_the_sound_of_their_stretch(tmp_path, model):
    silent = write_film(tmp_path / "silent.mp4", 2, num_shots=4)
    path = tmp_path / "films" / "loud.mp4"
    path.parent.mkdir()
    add_sound(silent, path, seconds=4)
    library = open_library(tmp_path / "films.lance", model, device="cpu")
    library.index(path, cut=Cut(window=1.0))
    [hit] = [each for each in library.search("a star", limit=9) if each.start == 2.0]
    [(_, clip)] = cut_hits([hit], tmp_path / "out")
    with av.open(str(clip)) as container:
        sound = container.streams.audio[0]
        frames = [frame.to_ndarray() for frame in container.decode(sound)]
    samples = np.concatenate(frames, axis=1)[0]
    assert len(samples) == pytest.approx(16_000, abs=2100)
    assert dominant(samples) == pytest.approx(tone(2.5), rel=0.02)
    with Video(clip) as video:
        assert len(video) == 8


def tone(second: float) -> int:
    """Return the pitch at a time: each second has its own."""
    return 400 * (1 + int(second))


def dominant(samples: np.ndarray, rate: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples[2048:-2048]))
    return float(np.fft.rfftfreq(len(samples) - 4096, 1 / rate)[spectrum.argmax()])


def add_sound(silent: Path, path: Path, seconds: int) -> None:
    """Write a film again, with a tone of another pitch in every second."""
    times = np.arange(16_000 * seconds) / 16_000
    pitch = np.array([tone(second) for second in range(seconds)])[times.astype(int)]
    samples = (0.5 * np.sin(2 * np.pi * pitch * times)).astype(np.float32)
    with av.open(str(silent)) as source, av.open(str(path), "w") as target:
        pictures = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("aac", rate=16_000, layout="mono")
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
        for start in range(0, len(samples), 1024):
            block = samples[None, start : start + 1024]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
