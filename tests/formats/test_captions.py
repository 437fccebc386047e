"""Tables of captions: every kind of file, presets, parts of long videos, and what is wrong."""

from __future__ import annotations

import json
import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.data.build import open_list, read_list
from internvideo.errors import ConfigError, DataError, MissingExtraError
from internvideo.formats import tables
from internvideo.formats.columns import CaptionColumns
from internvideo.formats.detect import detect_kind
from internvideo.video import Preprocessing

ROWS = [
    {"video": "短片/一 段.mp4", "caption": "一只狗在雪地里跑", "start": 1.5, "end": 4.25},
    {"video": "a b.mp4", "caption": 'two people, one with a "blue" hat', "start": 0, "end": 2},
    {"video": "-x.mp4", "caption": "une vidéo d’un chien – neige", "start": 3600, "end": 3601.5},
]


def write_table(path, rows):
    """Write rows in the kind of file that the ending asks for."""
    if path.suffix in (".csv", ".tsv"):
        import csv

        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(
                file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t"
            )
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        path.write_text("".join(lines), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute(
                "CREATE TABLE annos (id INTEGER PRIMARY KEY, video TEXT, caption TEXT, start, end)"
            )
            for number, row in enumerate(rows):
                connection.execute(
                    "INSERT INTO annos VALUES (?, ?, ?, ?, ?)", (number, *row.values())
                )
    return path


def captions_of(path, **options):
    return read_list("captions", path, **options)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.json", "x.sqlite", "x.parquet"])
def test_every_kind_of_table_gives_the_same_clips(tmp_path, name):
    clips = captions_of(write_table(tmp_path / name, ROWS), root="/数据")
    assert [(c.path, c.captions, c.start, c.end) for c in clips] == [
        (f"/数据/{r['video']}", (r["caption"],), r["start"], r["end"]) for r in ROWS
    ]
    first = 2 if name.endswith("sv") else 1
    assert [c.line for c in clips] == [first, first + 1, first + 2]
    assert clips[2].key == "/数据/-x.mp4[3600-3601.5]"


def test_a_sqlite_file_is_not_written_to(tmp_path):
    path = write_table(tmp_path / "x.sqlite", ROWS)
    before = path.read_bytes()
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        captions_of(path)
    finally:
        tmp_path.chmod(0o700)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.sqlite"]


def test_lists_of_captions_and_images(tmp_path):
    rows = [
        {"image": "b.JPG", "caption": "a cat"},
        {"video": "c.mp4", "caption": ["one", " two words "]},
    ]
    clips = captions_of(write_table(tmp_path / "x.json", rows))
    assert [c.captions for c in clips] == [("a cat",), ("one", "two words")]
    assert clips.still.tolist() == [True, False]
    assert [c.is_image for c in clips] == [True, False]
    assert clips[0].start is None
    columns = CaptionColumns(min_words=2)
    assert [c.captions for c in captions_of(tmp_path / "x.json", columns=columns)] == [
        ("a cat",),
        ("two words",),
    ]


def test_webvid_and_internvid_are_recognised(tmp_path):
    rows = [
        {
            "videoid": "1023456789",
            "contentUrl": "https://x/1.mp4",
            "duration": "PT00H00M23S",
            "page_dir": "000001_000050",
            "name": "Woman opens a door",
        }
    ]
    (clip,) = captions_of(write_table(tmp_path / "w.csv", rows))
    assert clip.path == str(tmp_path / "000001_000050/1023456789.mp4")
    assert (clip.captions, clip.duration, clip.start) == (("Woman opens a door",), 23.0, None)
    flat = CaptionColumns(preset="webvid", file="{videoid}.webm")
    assert captions_of(tmp_path / "w.csv", columns=flat)[0].path.endswith("/1023456789.webm")
    rows = [
        {
            "YoutubeID": "-startdash0",
            "Start_timestamp": "01:00:03.500",
            "End_timestamp": "01:00:04.750",
            "Caption": "a dog",
            "Aesthetic_Score": 3.25,
            "UMT_Score": 0.2,
        }
    ]
    (clip,) = captions_of(write_table(tmp_path / "i.jsonl", rows))
    assert clip.path == str(tmp_path / "-startdash0.mp4")
    assert (clip.start, clip.end) == (3603.5, 3604.75)
    words = CaptionColumns(caption="YoutubeID", path="Caption")  # then nothing is recognised
    assert captions_of(tmp_path / "i.jsonl", columns=words)[0].path == str(tmp_path / "a dog")


def test_columns_of_other_names(tmp_path):
    path = write_table(tmp_path / "x.csv", [{"who": "a", "says": "hello", "from": "0:03"}])
    with pytest.raises(DataError, match=r"x.csv:2: no column with the path of the video; the colu"):
        captions_of(path)
    with pytest.raises(DataError, match=r"no column 'say' for caption.* Did you mean 'says'"):
        captions_of(path, columns=CaptionColumns(file="{who}.mp4", caption="say"))
    columns = CaptionColumns(file="v/{who}.mp4", caption="says", start="from")
    (clip,) = captions_of(path, columns=columns)
    assert clip.path == str(tmp_path / "v/a.mp4")
    assert (clip.start, clip.end, clip.key) == (3.0, None, f"{clip.path}[3-]")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "webvit"}, "preset.*webvit.*webvid"),
        ({"path": "a", "file": "{b}"}, "give one"),
        ({"file": "a.mp4"}, "names no column"),
        ({"min_words": -1}, "min_words.*-1"),
    ],
)
def test_impossible_columns_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        CaptionColumns(**settings)


BAD = [
    ('{"video": "a.mp4", "caption": "good"}', None),
    ('{"video": "a.mp4", "caption": " "}', "the caption is empty"),
    ('{"video": "a.mp4", "caption": []}', "the caption is empty"),
    ('{"video": "a.mp4"}', "the caption is empty"),
    ('{"video": "a.mp4", "caption": 7}', "the caption is '7'; expected a sentence"),
    ('{"video": "", "caption": "x"}', "there is no path"),
    ('{"video": ["a", "b"], "caption": "x"}', "the path is .*; expected a video or an image"),
    ('{"video": "a\\u0000b", "caption": "x"}', "has a character 0"),
    ('{"image": "a.exe", "caption": "x"}', "has not the ending of an image"),
    ('{"video": "a.mp4", "caption": "x", "start": 3, "end": 2}', "from 3 to 2 ends before"),
    ('{"video": "a.mp4", "caption": "x", "start": 3, "end": 3}', "from 3 to 3 lasts no time"),
    ('{"video": "a.mp4", "caption": "x", "start": "soon"}', "'soon' is no time in a video"),
    ('{"video": "a.mp4", "caption": "x", "start": -1}', "-1 is no time in a video"),
    ('{"video": "a.mp4", "caption": "\\ud800"}', "the caption is no UTF-8 from its character 1"),
    ('{"video": "a.mp4", "caption"', r"not json \(.*column"),
    ("[1, 2]", "expected a json object, got"),
    ("[" * 100_000, "not json"),
    ('{"video": "b.mp4", "id": "7", "caption": "x"}', None),
    ('{"video": "c.mp4", "id": 7, "caption": "x"}', "the id '7' is that of row 18, too"),
    ('{"video": "d.mp4", "id": 8, "caption": "x"}', None),
]


def test_what_is_wrong_is_told_by_line_and_left_out(tmp_path, caplog):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f"{line}\n" for line, _ in BAD))
    clips = captions_of(path, strict=False)
    assert [c.line for c in clips] == [n for n, (_, why) in enumerate(BAD, 1) if why is None]
    bad = {b.line: b.message for b in clips.bad_lines}
    assert sorted(bad) == [n for n, (_, why) in enumerate(BAD, 1) if why is not None]
    for number, (_, why) in enumerate(BAD, 1):
        if why is not None:
            assert bad[number].startswith(f"{path}:{number}: ")
            assert re.search(why, bad[number]), bad[number]
            assert "\n" not in bad[number]
    with pytest.raises(DataError, match=r"x.jsonl:2: the caption is empty \(16 more lines"):
        captions_of(path)
    protocol = Preprocessing(num_frames=2, sampling="middle", resize_size=8, crop_size=8)
    with pytest.raises(DataError, match=r"x.jsonl:2"):
        open_list("captions", path, protocol=protocol)
    source = open_list("captions", path, protocol=protocol, skip_bad=True)
    assert len(source) == 3
    assert "17 of 20 lines cannot be used and are left out: " in caplog.text
    assert "x.jsonl:2: the caption is empty" in caplog.text
    repeated = captions_of(path, columns=CaptionColumns(id=""), strict=False)
    assert 19 in [c.line for c in repeated]


def test_broken_rows_of_a_csv(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        '\nvideo,caption\na.mp4,"two\nlines"\nb.mp4,one, two\n\nc.mp4\nd.mp4,"x" y\ne.mp4,fine\n'
        'f.mp4,"never ends\ng.mp4,x\n'
    )
    clips = captions_of(path, strict=False)
    assert [(c.line, c.captions) for c in clips] == [(3, ("two\nlines",)), (9, ("fine",))]
    told = {bad.line: bad.message for bad in clips.bad_lines}
    assert sorted(told) == [5, 7, 8, 10]
    assert "3 fields, but the header has 2; quote what holds a delimiter" in told[5]
    assert "1 fields, but the header has 2" in told[7]
    assert "check its quotes" in told[8]
    assert "check its quotes" in told[10]
    path.write_bytes(b"video,caption\na.mp4,caf\xe9\nb.mp4,ok\n")
    clips = captions_of(path, strict=False)
    assert [c.line for c in clips] == [3]
    assert "x.csv:2: the caption is no UTF-8 from its character 4" in clips.bad_lines[0].message
    path.write_text("video,caption,video\na,b,c\n")
    with pytest.raises(DataError, match="two columns 'video' in the header"):
        captions_of(path)
    path.write_text("video,caption\na.mp4,\n")
    with pytest.raises(DataError, match=r"x.csv:2: the caption is empty"):
        captions_of(path, strict=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", '[{"video": "a", "caption": "x"},', "row 2: not json"),
        ("x.json", '[{"video": "a", "caption": "x"} {"video"', "row 2: not json .expected ','"),
        ("x.json", '[{"video": "a", "caption": "x"}', "row 1: not json .the list does not end"),
        ("x.json", '[{"video": "a", "caption', "row 1: not json"),
        ("x.json", "[]", "lists no clips"),
        ("x.json", '"text"', "expected a json list of objects"),
        ("x.json", '{"videos": 1,\n "caption": 2}', "expected a json list of objects"),
        ("x.json", "[3]", "row 1: expected a json object, got '3'"),
        ("x.csv", "", "is empty"),
        ("x.csv", "video,caption\n", "lists no clips"),
        ("x.mp4", "abc", "unknown kind of table"),
        ("x.sqlite", "SQLite format 3\0 and no more", "no SQLite annotations"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        captions_of(tmp_path / name)


def test_json_lines_in_a_json_file(tmp_path):
    (tmp_path / "x.json").write_text('\ufeff{"video": "a", "caption": "x"}\n\n{"video": 3}\n')
    clips = captions_of(tmp_path / "x.json", strict=False)
    assert [c.line for c in clips] == [1]
    assert [b.line for b in clips.bad_lines] == [3]


@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=5), st.text(max_size=40) | st.integers(), max_size=4),
        max_size=30,
    ),
    block=st.integers(1, 80),
    indent=st.sampled_from([None, 1]),
)
def test_a_json_list_is_read_in_blocks_of_any_size(tmp_path_factory, rows, block, indent):
    path = tmp_path_factory.mktemp("blocks") / "x.json"
    text = json.dumps(rows, indent=indent)
    path.write_text(f"  {text}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_BLOCK", block)
        read = list(tables.Table(path, "json").rows())
    assert read == list(enumerate(rows, 1))


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MAX_LINE", 1000)
    path = tmp_path / "x.jsonl"
    path.write_text('{"video": "a", "caption": "x"}\n' + "x" * 2000)
    with pytest.raises(DataError, match=r"x.jsonl:2: a line of more than 1,000 characters"):
        captions_of(path, strict=False)


def test_parquet_needs_its_extra(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and no more")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'internvideo\[parquet\]'"):
        captions_of(path)


def test_a_broken_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="not a parquet file that can be read"):
        captions_of(tmp_path / "x.parquet")


DETECTED = {
    "x.csv": "video,caption\na.mp4,b\n",
    "x.tsv": "image\ttext\na.jpg\tb c 1\n",
    "w.csv": "videoid,contentUrl,duration,page_dir,name\n",
    "x.jsonl": '{"a": 1}\n',
    "x.json": '[{"video": "a", "id": 3, "caption": "x"}]',
    "lines.json": '{"video": "a", "caption": "x"}\n{"video": "b", "caption": "x"}\n',
    "x.sqlite": "SQLite format 3",
}


@pytest.mark.parametrize("name", DETECTED)
def test_tables_of_captions_are_recognised(tmp_path, name):
    (tmp_path / name).write_text(DETECTED[name])
    assert detect_kind(tmp_path / name) == "captions"


def test_options_of_other_formats_are_refused(tmp_path):
    path = write_table(tmp_path / "x.csv", ROWS)
    with pytest.raises(ConfigError, match=r"leave out labels.txt"):
        captions_of(path, labels="labels.txt")
    with pytest.raises(ConfigError, match="takes no split; leave out train"):
        captions_of(path, split="train")
    with pytest.raises(ConfigError, match="kinetics takes no columns"):
        read_list("kinetics", path, columns=CaptionColumns())


def test_rows_take_little_memory(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("w") as file:
        file.write("video,caption,id\n")
        for number in range(20_000):
            file.write(
                f"videos/{number:08d}.mp4,a caption of some words number {number},{number}\n"
            )
    clips = captions_of(path)
    assert len(clips) == 20_000
    assert clips.nbytes < 120 * len(clips)


def test_frame_files_one_by_one_are_a_folder(tmp_path):
    rows = [
        {"video": [f"a b/{number:06d}.png" for number in range(10)], "caption": "a dog runs"},
        {"video": ["a/1.jpg", "b/2.jpg"], "caption": "a cat"},
        {"video": [], "caption": "a cat"},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    clips = read_list("captions", path, root="videos", strict=False)
    (clip,) = clips
    assert (clip.path, clip.template) == ("videos/a b", "{:06d}.png")
    assert (clip.first_frame, clip.num_frames, clip.is_image) == (0, 10, False)
    assert not clips.still.any()
    second, third = (bad.message for bad in clips.bad_lines)
    assert "x.jsonl:2: frame 2 of the list is 'b/2.jpg', expected 'a/2.jpg'" in second
    assert "x.jsonl:3: the path is the list []; expected" in third
