from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser

import torch
from PIL import Image

from internvideo.demo.page import PageContent, ShownVideo, render_page
from internvideo.demo.pictures import confusion_svg, filmstrip, moving, strip_indices
from internvideo.demo.report import world_report
from internvideo.evaluation.classification import Classification
from internvideo.world import ACTIONS, World

EVIL = "<script>alert('x')</script>\"&'.mp4"
WORLD = World(seed=5)
SCORES = torch.zeros(40, 2, len(ACTIONS))  # right in 30 of 40 clips
for _number in range(30):
    SCORES[_number, 0, ACTIONS.index(WORLD.scene(_number).action)] = 1
for _number in range(30, 40):
    SCORES[_number, 0, (ACTIONS.index(WORLD.scene(_number).action) + 2) % len(ACTIONS)] = 1
VOID = {"meta", "img", "br", "input", "link", "hr"}


class Reader(HTMLParser):
    """Collects tags and text, and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @classmethod
    def read(cls, html: str) -> Reader:
        reader = cls()
        reader.feed(html)
        reader.close()
        assert reader.open == []
        return reader

    def named(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


def answer(*labels: str) -> Classification:
    shares = [0.5**n for n in range(1, len(labels) + 1)]
    return Classification.from_scores(EVIL, labels, shares, shares)


def content(**changes) -> PageContent:
    report = replace(
        world_report(SCORES, WORLD), model=EVIL, protocol=EVIL, source="decoded from mp4", seconds=2
    )
    strip = filmstrip(torch.zeros(3, 8, 8, 3, dtype=torch.uint8))
    wrong = {"answer": answer("grow", "shrink"), "truth": "shrink"}
    preview = moving(torch.zeros(3, 8, 8, 3, dtype=torch.uint8), seconds=1)
    values = {
        "about": f"about {EVIL}",
        "report": report,
        "clips": [
            ShownVideo(title="a star", strip=strip, answer=answer("grow", "shrink"), truth="grow"),
            ShownVideo(title="a dot", strip=strip, moving=preview, **wrong),
        ],
        "mistakes": [ShownVideo(title="b", strip=strip, caption="a red digit grows", **wrong)],
        "caution": "is a guess <&",
        "captioner": "mm-nano",
        "videos": [ShownVideo(title=EVIL, strip=strip, answer=answer(EVIL), facts=EVIL)],
        "failures": [(EVIL, f"{EVIL}: no such file")],
        "machine": EVIL,
        "seconds": {EVIL: 1.0},
        "command": f"internvideo demo --video {EVIL}",
    }
    return PageContent(**{**values, **changes})


def test_names_of_videos_cannot_break_out_of_the_page():
    page = render_page(content())
    reader = Reader.read(page)
    assert not reader.named("script")
    assert "<script" not in page
    assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)
    assert "".join(reader.text).count(EVIL) >= 8
    assert any(EVIL in picture["alt"] for picture in reader.named("img"))


def test_the_page_needs_nothing_from_elsewhere():
    reader = Reader.read(render_page(content()))
    assert not reader.named("link")
    *within, last = [attrs["href"] for attrs in reader.named("a")]
    assert last == "report.json"
    assert all(href.startswith("#") for href in within)
    for picture in reader.named("img"):
        assert picture["src"].startswith(("data:image/jpeg;base64,", "data:image/webp;base64,"))
    page = render_page(content(about="a"))
    assert "url(" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_page_can_be_read_aloud():
    reader = Reader.read(render_page(content()))
    assert reader.named("html") == [{"lang": "en"}]
    assert len(reader.named("h1")) == 1
    assert len(reader.named("main")) == 1
    assert all(picture.get("alt") for picture in reader.named("img"))
    assert len(reader.named("caption")) == len(reader.named("table")) == 2
    labelled = {attrs["aria-labelledby"] for attrs in reader.named("section")}
    assert labelled <= {attrs.get("id") for attrs in reader.named("h2")}
    [picture] = reader.named("svg")
    assert picture["role"] == "img"


def test_a_command_is_broken_between_its_words():
    page = render_page(content(command="internvideo demo --num-clips 30"))
    words = [f'<span class="word">{w}</span>' for w in ("internvideo", "demo", "--num-clips", "30")]
    assert f"<pre><code>{' '.join(words)}</code></pre>" in page


def test_the_contents_lead_to_every_section():
    reader = Reader.read(render_page(content()))
    listed = [attrs["href"][1:] for attrs in reader.named("a")[:-1]]
    assert listed == [attrs["id"] for attrs in reader.named("h2")]
    assert {"yours", "mistakes", "confusion"} <= {*listed}
    assert "mistakes" not in render_page(content(mistakes=[]))


def test_clips_move_and_carry_their_caption():
    page = render_page(content())
    [preview] = [each for each in Reader.read(page).named("img") if each.get("class") == "moving"]
    assert preview["alt"] == "a dot, moving"
    assert "“a red digit grows”" in page
    assert "what mm-nano writes" in page
    assert "is a guess &lt;&amp;" in page


def test_right_and_wrong_are_told_in_words():
    page = render_page(content())
    text = "".join(Reader.read(page).text)
    assert page.count("verdict right") == 1
    assert page.count("verdict wrong") == 2
    assert "truth: shrink" in text


def test_numbers_stand_beside_chance():
    text = " ".join("".join(Reader.read(render_page(content())).text).split())
    assert "75.0%" in text
    assert "59.8% – 85.8%" in text
    assert "3.6%" in text


def test_without_videos_of_the_user_their_section_is_left_out():
    assert "Your videos" not in render_page(content(videos=[], failures=[]))
    assert "Not usable" in render_page(content(videos=[]))


def test_strip_indices_cover_the_clip():
    assert strip_indices(16, 8) == [0, 2, 4, 6, 9, 11, 13, 15]
    assert strip_indices(3, 8) == [0, 1, 2]
    assert strip_indices(1, 8) == [0]


def test_a_filmstrip_shows_the_frames_side_by_side():
    frames = torch.zeros(3, 20, 40, 3, dtype=torch.uint8)
    for number in range(3):
        frames[number, :, :, number] = 200
    head, _, data = filmstrip(frames, height=60).partition(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (3 * 120 + 2 * 3, 60)
    for number in range(3):
        pixel = picture.getpixel((number * 123 + 60, 30))
        assert pixel[number] > 180
        assert max(pixel[:number] + pixel[number + 1 :]) < 40


def test_a_preview_shows_the_frames_one_after_the_other():
    frames = torch.zeros(4, 20, 40, 3, dtype=torch.uint8)
    for number in range(4):
        frames[number] = 60 * number
    head, _, data = moving(frames, seconds=2, height=60).partition(",")
    assert head == "data:image/webp;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (picture.size, picture.n_frames) == ((120, 60), 4)
    for number in range(4):
        picture.seek(number)
        assert abs(picture.convert("L").getpixel((60, 30)) - 60 * number) < 12


def test_the_matrix_draws_each_count_once():
    svg = confusion_svg(["a<b", "c"], [[3, 1], [0, 4]])
    reader = Reader.read(svg)
    drawn = [attrs for attrs in reader.named("rect") if "fill-opacity" in attrs]
    cells = [attrs for attrs in drawn if "key" not in attrs["class"]]
    assert len(drawn) - len(cells) == 8  # the legend
    assert [cell["class"] for cell in cells] == ["hit", "miss", "hit"]
    assert [float(cell["fill-opacity"]) for cell in cells] == [0.75, 0.25, 1.0]
    assert "a<b: answered c 1 of 4 times" in reader.text
