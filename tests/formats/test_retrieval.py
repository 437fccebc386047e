"""The retrieval data sets: small twins of the official files, recognised and read as they are."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internvideo.annotations import BadLine, Segment, VideoAnnotation
from internvideo.data.build import read_annotations, read_list
from internvideo.errors import DataError
from internvideo.formats import activitynet_captions, didemo, find_format, lsmdc
from internvideo.formats.detect import detect_kind
from internvideo.formats.files import Collection

REAL = Path(__file__).parents[3] / "shared" / "real" / "retrieval"

SETS = {
    "msrvtt": "MSRVTT_train.9k.csv",
    "msvd": "train_list.txt",
    "lsmdc": "LSMDC16_annos_training.csv",
    "didemo": "train_list.txt",
    "activitynet-captions": "train_ids.json",
    "vatex": "train_list.txt",
}
MSRVTT = {
    "videos": [{"video_id": f"video{n}", "split": s} for n, s in enumerate(["train", "test"] * 2)],
    "sentences": [
        {"video_id": "video0", "caption": "a man drives"},
        {"video_id": "video1", "caption": "people dance"},
        {"video_id": "video2", "caption": "a cat plays"},
        {"video_id": "video3", "caption": "a dog runs"},
        {"video_id": "video0", "caption": "someone is driving"},
    ],
}
PAIRS = (
    'key,vid_key,video_id,sentence\nret0,msr3,video3,a dog\nret1,msr1,video1,"they dance, slowly"\n'
)
JUNO = "1004_Juno_00.00.32.511-00.00.36.411"
TIMES = "00:00:32,511\t00:00:36,411\t00:00:32,511\t00:00:36,411"
DIDEMO = [
    {"video": "1@N00_1_a.mov", "description": "first text.", "times": [[0, 0], [1, 1], [1, 1]]},
    {"video": "2@N00_2_b.avi", "description": "other video", "times": [[2, 3]]},
    {"video": "1@N00_1_a.mov", "description": "second text", "times": [[5, 5]]},
]
ANET = {
    "v_uqiMw7tQ1Cc": {
        "duration": 55.15,
        "timestamps": [[0.28, 55.15], [13.79, 54.32]],
        "sentences": ["A lifting tutorial is given. ", " The coach helps the guy."],
    },
    "v_bXdq2zI1Ms0": {"duration": 73.1, "timestamps": [[0, 10]], "sentences": ["Three men stand."]},
}
VATEX = [
    {"videoID": "Ptf_2VRj-V0_000122_000132", "enCap": ["a person climbs", "a man is climbing"]},
    {"videoID": "-bc_1_2", "enCap": ["a girl smiles", "she laughs"], "chCap": ["x"]},
]


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, **options):
    """Return the clips of a file whose format is detected."""
    return read_list(detect_kind(path), path, **{"root": "/v", **options})


def said(clips) -> dict[str, tuple[str, ...]]:
    return {Path(clip.path).name: clip.captions for clip in clips}


@pytest.fixture
def msrvtt(tmp_path):
    write(tmp_path / "MSRVTT_train.9k.csv", "video_id\nvideo2\nvideo0\n")
    write(tmp_path / "MSRVTT_JSFUSION_test.csv", PAIRS)
    return write(tmp_path / "MSRVTT_data.json", MSRVTT)


def test_msrvtt_has_full_splits_and_the_1ka_protocol(msrvtt):
    assert detect_kind(msrvtt) == "msrvtt"
    assert said(read(msrvtt, split="test")) == {
        "video1.mp4": ("people dance",),
        "video3.mp4": ("a dog runs",),
    }
    train = read(msrvtt.with_name("MSRVTT_train.9k.csv"))
    assert said(train) == {
        "video2.mp4": ("a cat plays",),
        "video0.mp4": ("a man drives", "someone is driving"),
    }
    assert [*map(str, train)] == [*map(str, read(msrvtt, split="1ka-train"))]
    test = read(msrvtt.with_name("MSRVTT_JSFUSION_test.csv"))
    assert said(test) == {"video3.mp4": ("a dog",), "video1.mp4": ("they dance, slowly",)}
    assert said(read(msrvtt, split="1ka-test")) == said(test)
    assert [clip.line for clip in test] == [2, 3]


def test_every_caption_may_be_a_clip_of_its_own(msrvtt):
    clips = read(msrvtt.with_name("MSRVTT_train.9k.csv"), every_caption=True)
    assert [(Path(clip.path).stem, clip.captions) for clip in clips] == [
        ("video2", ("a cat plays",)),
        ("video0", ("a man drives",)),
        ("video0", ("someone is driving",)),
    ]


def test_lsmdc_has_a_row_a_sentence_and_a_folder_a_film(tmp_path):
    rows = [f"{JUNO}\t{TIMES}\tSOMEONE crosses.\n", "other_x\ta\tb\tc\td\tHe smiles\n"]
    path = write(
        tmp_path / "mine.csv", "".join([*rows, f"{JUNO}\t{TIMES}\tA second one, there.\n"])
    )
    assert detect_kind(path) == "lsmdc"
    clips = read(path)
    assert [(clip.path, clip.captions[0], clip.line) for clip in clips] == [
        (f"/v/1004_Juno/{JUNO}.avi", "SOMEONE crosses.", 1),
        ("/v/other/other_x.avi", "He smiles", 2),
        (f"/v/1004_Juno/{JUNO}.avi", "A second one, there.", 3),
    ]
    write(tmp_path / "videos/1004_Juno" / f"{JUNO}.mp4", "")
    assert read(path, root=tmp_path / "videos")[0].path.endswith(f"videos/1004_Juno/{JUNO}.mp4")


def test_lsmdc_leaves_out_what_the_published_training_does(tmp_path, monkeypatch):
    assert (lsmdc.EXCLUDED.start, len(lsmdc.EXCLUDED)) == (58_200, 100)
    monkeypatch.setattr(lsmdc, "EXCLUDED", range(2, 4))
    rows = [f"1_A_{n}\ta\tb\tc\td\t{text}\n" for n in range(6) for text in ("one", "two")]
    train = read(write(tmp_path / "LSMDC16_annos_training.csv", "".join(rows)))
    assert [Path(clip.path).stem[-1] for clip in train] == [*"00114455"]
    assert train.description == "LSMDC list; 2 clips are left out, as in the published training"
    everything = read(write(tmp_path / "LSMDC16_annos_val.csv", "".join(rows)))
    assert (len(everything), everything.description) == (12, "LSMDC list")


def test_didemo_joins_sentences_and_keeps_their_moments(tmp_path):
    path = write(tmp_path / "test_data.json", DIDEMO)
    names = write(tmp_path / "test_list.txt", "1@N00_1_a.mov\nno-sentence.mov\n")
    assert [detect_kind(each) for each in (path, names)] == ["didemo", "didemo"]
    clips = read(path)
    assert said(clips) == {
        "1@N00_1_a.mov.mp4": ("first text. second text",),
        "2@N00_2_b.avi.mp4": ("other video",),
    }
    assert all(clip.start is None for clip in clips)  # the whole video
    listed = read(names)
    assert said(listed) == {"1@N00_1_a.mov.mp4": ("first text. second text",)}
    (bad,) = listed.bad_lines
    assert bad.tolerated
    assert bad.message == f"{names}:2: 'no-sentence.mov' has no sentence in test_data.json"
    first, second = didemo.read(path, tmp_path).records
    assert [(s.start, s.end, s.captions) for s in first.segments] == [
        (5, 10, ("first text.",)), (25, 30, ("second text",)),
    ]  # fmt: skip
    assert [(s.start, s.end) for s in second.segments] == [(10, 20)]


@pytest.mark.parametrize(
    "name", ["1@N00_1_a.mov", "1@N00_1_a.mp4", "1@N00_1_a.mov.mp4", "1@N00_1_a.mov.webm"]
)
def test_didemo_finds_videos_as_downloaded_or_made_anew(tmp_path, name):
    path = write(tmp_path / "val_data.json", DIDEMO)
    write(tmp_path / "videos" / name, "")
    assert read(path, root=tmp_path / "videos")[0].path == str(tmp_path / "videos" / name)


def test_activitynet_captions_are_a_paragraph_and_events(tmp_path):
    path = write(tmp_path / "val_1.json", ANET)
    ids = ["v_bXdq2zI1Ms0", "v_uqiMw7tQ1Cc", "v_bXdq2zI1Ms0", "v_nothing"]
    listed = write(tmp_path / "val_ids.json", ids)
    kinds = [detect_kind(each) for each in (path, listed)]
    assert kinds == ["activitynet-captions", "activitynet-captions"]
    clips = read(path)
    assert said(clips)["v_uqiMw7tQ1Cc.mp4"] == (
        "A lifting tutorial is given.   The coach helps the guy.",
    )
    assert [clip.duration for clip in clips] == [55.15, 73.1]
    assert [clip.path for clip in read(listed)] == [clip.path for clip in reversed(clips)]
    messages = [bad.message for bad in read(listed).bad_lines]
    assert messages == [
        f"{listed}: id 3: 'v_bXdq2zI1Ms0' is that of id 1, too; it is taken once",
        f"{listed}: id 4: 'v_nothing' has no sentence in val_1.json",
    ]
    first, _ = activitynet_captions.read(path, tmp_path).records
    assert [(s.start, s.end, s.captions[0]) for s in first.segments] == [
        (0.28, 55.15, "A lifting tutorial is given."), (13.79, 54.32, "The coach helps the guy."),
    ]  # fmt: skip
    write(tmp_path / "videos/val/v_uqiMw7tQ1Cc.mkv", "")
    assert read(path, root=tmp_path / "videos")[0].path.endswith("videos/val/v_uqiMw7tQ1Cc.mkv")


def test_vatex_has_english_sentences_and_lists(tmp_path):
    path = write(tmp_path / "vatex_validation_v1.0.json", VATEX)
    write(tmp_path / "vatex_training_v1.0.json", [{"videoID": "t_1_2", "enCap": ["training"]}])
    write(tmp_path / "train_list.txt", "t_1_2\n")
    test = write(tmp_path / "test_list.txt", "-bc_1_2\n")
    assert [detect_kind(each) for each in (path, test)] == ["vatex", "vatex"]
    assert [clip.captions for clip in read(path)] == [tuple(row["enCap"]) for row in VATEX]
    expected = {"-bc_1_2.mp4": ("a girl smiles", "she laughs")}
    assert said(read(test)) == said(read(path, split="test")) == said(read(path, split="val"))
    assert said(read(test)) == expected
    assert said(read(test.with_name("train_list.txt"))) == {"t_1_2.mp4": ("training",)}


def test_vatex_may_say_where_videos_are(tmp_path):
    there = {**VATEX[0], "path": "s3://b/x.mp4"}
    path = write(tmp_path / "vatex_validation_v1.0_ceph.json", [there, VATEX[1]])
    clips = read(path)
    assert [clip.path for clip in clips] == ["s3://b/x.mp4"]
    assert [bad.message for bad in clips.bad_lines] == [f"{path}: row 2: '-bc_1_2' has no path"]
    write(tmp_path / "videos" / f"{VATEX[0]['videoID']}.mp4", "")
    assert read(path, root=tmp_path / "videos")[0].path.startswith(str(tmp_path))


# --- what is wrong with a file ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        # a csv with semicolons, wrong columns, an empty list, duplicated ids
        ("MSRVTT_JSFUSION_test.csv", PAIRS.replace(",", ";"), "separated by commas"),
        (
            "MSRVTT_JSFUSION_test.csv",
            "key,id,sentence\nret0,video1,a\n",
            "no video_id in key, id, sentence; expected col",
        ),
        ("MSRVTT_JSFUSION_test.csv", PAIRS + "ret2,msr1\n", r":4: 2 fields, but the header has 4"),
        ("MSRVTT_JSFUSION_test.csv", PAIRS + "r,m,v,a, b\n", r":4: 5 fields.*quote what holds a"),
        (
            "MSRVTT_JSFUSION_test.csv",
            PAIRS + "r,m,v9,…\n",
            r":4: the caption '…' of 'v9' has no wo",
        ),
        ("MSRVTT_JSFUSION_test.csv", "", "is empty"),
        ("MSRVTT_train.9k.csv", "video_id\nvideo0\nvideo77\n", ":3: 'video77' has no sentence in"),
        ("test_list.txt", "", "is empty"),
        ("test_list.txt", "nobody\n", ":1: 'nobody' has no sentence in test_data.json"),
        ("val_ids.json", "[]", "val_ids.json is an empty list"),
        ("val_ids.json", '["v_nobody"]', "id 1: 'v_nobody' has no sentence in val_1.json"),
        ("val_1.json", {"v_a": {"sentences": ["a"], "timestamps": []}}, "not one timestamp for ea"),
        (
            "val_1.json",
            {"v_a": {"sentences": ["!"], "timestamps": [[0, 1]]}},
            r"video 1 \(v_a\): th",
        ),
        (
            "val_data.json",
            [{**DIDEMO[0], "description": " "}],
            "row 1: the caption ' ' of '1@N00_1_",
        ),
        (
            "val_data.json",
            [DIDEMO[0], {"video": "b"}],
            "row 2: no description, times in video;",
        ),
        (
            "vatex_x.json",
            [VATEX[0], {"enCap": ["a"]}],
            "row 2: no videoID in enCap; expected V",
        ),
        (
            "vatex_x.json",
            [{"videoID": "", "enCap": ["a"]}],
            "row 1: the id '' is no name of a video",
        ),
        ("vatex_x.json", [{**VATEX[0], "enCap": ["?"]}], r"row 1: the caption '\?' of 'Ptf_2VRj"),
        (
            "LSMDC16_annos_val.csv",
            f"{JUNO}\t{TIMES}\n",
            r":1: 5 fields in '1004_.*expected clip, 4 t",
        ),
        ("LSMDC16_annos_val.csv", f"{JUNO}\t{TIMES}\t \n", r":1: the sentence ' ' has no words"),
        (
            "LSMDC16_annos_val.csv",
            f"{JUNO};{TIMES};a\n",
            "expected clip, 4 times, sentence, separa",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(msrvtt, name, content, message):
    folder = msrvtt.parent
    write(folder / "test_data.json", DIDEMO)
    write(folder / "val_1.json", ANET)
    path = write(folder / name, content)
    with pytest.raises(DataError, match=message) as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        (
            "MSRVTT_data.json",
            "tset",
            r"no split 'tset'; it holds 1ka-test, 1ka-train, .*mean 'test'",
        ),
        ("MSRVTT_data.json", "1ka_test", "Did you mean '1ka-test'"),
        ("MSRVTT_data.json", None, "holds the splits 1ka-test, 1ka-train, test, train; choose one"),
        ("MSRVTT_train.9k.csv", "train", "holds one split; leave out split='train'"),
        ("vatex_validation_v1.0.json", "tset", "no split 'tset'; one of: train, val, test.*'test'"),
        ("vatex_validation_v1.0.json", "train", "needs the list of the split train beside it"),
    ],
)
def test_an_unknown_split_is_told_with_the_nearest(msrvtt, name, split, message):
    write(msrvtt.with_name("vatex_validation_v1.0.json"), VATEX)
    with pytest.raises(DataError, match=message):
        read(msrvtt.with_name(name), split=split)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("MSRVTT_train.9k.csv", "MSRVTT_data.json"),
        ("test_ids.json", "test_1.json or test.json"),
    ],
)
def test_a_list_without_its_sentences_says_which_file_it_needs(tmp_path, name, needed):
    content = ["v_a"] if name.endswith("json") else "video_id\nvideo1\n"
    with pytest.raises(DataError, match=f"beside it: {needed} in"):
        read(write(tmp_path / name, content))


def test_sentences_without_words_are_left_out_where_there_are_others(msrvtt):
    sentences = [*MSRVTT["sentences"], {"video_id": "video1", "caption": " … "}]
    write(msrvtt, {**MSRVTT, "sentences": sentences})
    clips = read(msrvtt, split="test")
    assert said(clips)["video1.mp4"] == ("people dance",)
    (bad,) = clips.bad_lines
    assert bad.tolerated
    assert bad.message.startswith(f"{msrvtt}: sentence 6: the caption ' … ' of 'video1' has no w")


def test_repeated_ids_are_taken_once_and_told(msrvtt):
    path = msrvtt.with_name("MSRVTT_JSFUSION_test.csv")
    clips = read(write(path, PAIRS + "ret2,msr3,video3,again\n"))
    assert len(clips) == 2
    assert [bad.message for bad in clips.bad_lines] == [
        f"{path}:4: 'video3' is that of line 2, too; it is taken once"
    ]
    rows = [*VATEX, {**VATEX[0], "enCap": ["another"]}]
    clips = read(write(msrvtt.with_name("vatex_x.json"), rows))
    assert len(clips) == 2
    assert "row 3: the video 'Ptf_2VRj-V0_000122_000132' is that of row 1, too" in (
        clips.bad_lines[0].message
    )


def test_events_with_bad_times_keep_their_sentence(tmp_path):
    content = {
        "v_a": {"duration": 9, "sentences": ["one", "two"], "timestamps": [[5, 2], [0, 1]]},
        "v_b": {"duration": 9, "sentences": ["three"], "timestamps": [7]},
    }
    path = write(tmp_path / "train.json", content)
    records = list(activitynet_captions.read(path, tmp_path).records)
    videos = [each for each in records if isinstance(each, VideoAnnotation)]
    assert [video.captions for video in videos] == [("one two",), ("three",)]
    assert [len(video.segments) for video in videos] == [1, 0]
    bad = [each for each in records if isinstance(each, BadLine)]
    assert [each.line for each in bad] == [1, 2]
    assert all(each.tolerated for each in bad)
    path = write(tmp_path / "val_data.json", [{**DIDEMO[0], "times": [[2, 1]]}, DIDEMO[2]])
    (bad, video) = didemo.read(path, tmp_path).records
    assert "row 1: the times [[2, 1]] are no pairs" in bad.message
    assert video.captions == ("first text. second text",)


# --- writing and reading ------------------------------------------------------------------------


WORD = st.text("ab,;'\"é犬", min_size=1, max_size=4)
SENTENCE = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
SENTENCES = st.lists(SENTENCE.filter(lambda s: any(map(str.isalnum, s))), min_size=1, max_size=3)


@given(texts=st.lists(SENTENCES, min_size=1, max_size=5), kind=st.sampled_from(sorted(SETS)))
@settings(deadline=None, max_examples=60)
def test_whatever_is_written_is_read_back(texts, kind):
    """Any sentences, of any number of videos: captions, moments and the names of the videos."""
    form, videos = find_format(kind), []
    assert form.layout is not None
    single = kind == "lsmdc"
    for index, said in enumerate(texts):
        moments = [
            Segment(start=5.0 * n, end=5.0 * n + 5, captions=(text,)) for n, text in enumerate(said)
        ]
        joined = form.layout.moments > 1
        videos.append(
            VideoAnnotation(
                path=form.layout.place(form.layout.video, index, "grow", seconds=5.0),
                id=str(index),
                split="train",
                duration=5.0 * len(said),
                captions=(" ".join(said),) if joined or single else tuple(said),
                segments=tuple(moments) if joined else (),
            )
        )
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        for video in videos:
            write(directory / video.path, "")
        form.load().write(
            Collection(directory=directory, videos=videos, classes=(), layout=form.layout)
        )
        path = directory / SETS[kind]
        assert detect_kind(path) == kind
        found = list(read_annotations(kind, path, root=directory / "videos").records)
    assert [f"videos/{each.path}" for each in found] == [each.path for each in videos]
    assert [each.captions for each in found] == [each.captions for each in videos]
    assert [each.segments for each in found] == [each.segments for each in videos]


# --- the real files ------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real/retrieval")
def test_the_real_lists_of_msrvtt():
    for name in ("MSRVTT_JSFUSION_test.csv", "milnce_msrvtt_test.csv"):
        clips = read(REAL / name)
        assert len(clips) == clips.num_captions == 1000
        assert clips[0].captions == ("a person is connecting something to system",)
        assert not clips.bad_lines
    assert detect_kind(REAL / "MSRVTT_train.9k.csv") == "msrvtt"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real/retrieval")
def test_the_real_sentences_of_didemo():
    path = REAL / "didemo_val.json"
    rows = json.loads(path.read_text())
    assert detect_kind(path) == "didemo"
    videos = list(didemo.read(path, "/v").records)
    assert len(videos) == 1094
    assert sum(len(video.segments) for video in videos) == len(rows) == 4180
    for video in videos[::97]:
        texts = [row["description"] for row in rows if row["video"] == video.id]
        assert video.captions == (" ".join(texts),)
        assert [segment.captions for segment in video.segments] == [(text,) for text in texts]
    clips = read_list("didemo", path)
    assert len(clips) == clips.num_captions == 1094
