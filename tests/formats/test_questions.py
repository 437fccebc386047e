"""Questions in the formats of public data sets, and your own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvideo.annotations import BadLine, Question
from internvideo.data import read_list, write_world
from internvideo.data.build import read_multiple_choice
from internvideo.data.questions import read_questions
from internvideo.errors import DataError
from internvideo.formats import ASKING, msvd_qa, questions
from internvideo.formats.detect import detect_kind
from internvideo.formats.msrvtt_qa import question_word
from internvideo.formats.questions import frequent_answers, numbered_answers, read_answers
from internvideo.video import Video
from internvideo.video.preprocessing import PRESETS
from internvideo.world import World

PROTOCOL = PRESETS["internvideo-mm-qa"]
REAL = Path(__file__).parents[3] / "shared" / "real" / "qa"
SMALL = World(seed=5, size=16, num_frames=8)


def write(path: Path, rows, *, as_list: bool = False) -> Path:
    text = json.dumps(rows) if as_list else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def asked(path: Path, kind: str | None = None, **options):
    """Return (video, question, answer, kind, line) of each question, by video."""
    found = read_questions(kind or detect_kind(path), path, protocol=PROTOCOL, **options)
    return [
        (found.videos.clips.written_path(n), q.question, q.answer, q.kind, q.line)
        for n, about in enumerate(found.questions)
        for q in about
    ]


def test_your_own_lines_of_one_video_may_stand_anywhere(tmp_path):
    path = write(
        tmp_path / "mine.jsonl",
        [
            {"video": "a.mp4", "question": "what color?", "answer": "red", "kind": "color"},
            {"video": "b c.mp4", "question": "这是什么？", "answer": "猫"},
            {"video": "a.mp4", "question": "how many?", "answer": 2},
        ],
    )
    assert detect_kind(path) == "questions"
    assert asked(path) == [
        ("a.mp4", "what color?", "red", "color", 1),
        ("a.mp4", "how many?", "2", "", 3),
        ("b c.mp4", "这是什么？", "猫", "", 2),
    ]
    assert [clip.path for clip in read_list("questions", path)] == [
        str(tmp_path / "a.mp4"),
        str(tmp_path / "b c.mp4"),
    ]
    table = tmp_path / "mine.csv"
    table.write_text('video,question,answer\na.mp4,"who, then?",nobody\n', encoding="utf-8")
    assert asked(table) == [("a.mp4", "who, then?", "nobody", "", 2)]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"video": "a.mp4", "question": " ?! ", "answer": "x"}, "the question is ' ?! '"),
        ({"video": "a.mp4", "question": "who?", "answer": ""}, "the answer is ''"),
        ({"video": "a.mp4", "question": "who?", "answer": True}, "the answer is 'True'"),
        ({"video": "a.mp4", "answer": "x"}, "the question is 'None'"),
        ({"video": 3, "question": "who?", "answer": "x"}, "'video' is '3'"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, row, what):
    good = {"video": "a.mp4", "question": "who?", "answer": "me"}
    path = write(tmp_path / "q.jsonl", [good, row])
    with pytest.raises(DataError) as caught:
        asked(path)
    assert str(caught.value).startswith(f"{path}:2: {what}")
    assert len(asked(path, skip_bad=True)) == 1


def test_msrvtt_in_both_of_its_forms(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all/video7.webm").touch()
    rows = [
        {"answer": "couch", "question": "what is it?", "video_id": "video6513"},
        {"answer": "two", "question": "how many?", "video_id": "video7", "answer_type": "number"},
    ]
    expected = [
        ("video6513.mp4", "what is it?", "couch", "what", 1),
        ("all/video7.webm", "how many?", "two", "number", 2),
    ]
    lines = write(tmp_path / "msrvtt_qa_train.jsonl", rows)
    assert detect_kind(lines) == "msrvtt-qa"
    assert asked(lines) == expected
    numbers = [{**row, "video_id": int(row["video_id"][5:]), "category_id": 1} for row in rows]
    original = write(tmp_path / "train_qa.json", numbers, as_list=True)
    assert detect_kind(original) == "msrvtt-qa"
    assert asked(original) == expected


def test_msvd_finds_its_videos_by_the_mapping(tmp_path):
    rows = [
        {"answer": "man", "question": "who runs?", "video_id": number, "id": number}
        for number in (1, 2, 30)
    ]
    path = write(tmp_path / "msvd_test_qa_encode.json", rows, as_list=True)
    assert detect_kind(path) == "msvd-qa"
    assert [row[0] for row in asked(path)] == ["vid1.avi", "vid2.avi", "vid30.avi"]
    (tmp_path / "msvd_youtube_mapping.txt").write_text("-4ws_5_15 vid1\nabc_0_9 vid2\n")
    (tmp_path / "abc_0_9.mkv").touch()
    assert [row[0] for row in asked(path)] == ["-4ws_5_15.avi", "abc_0_9.mkv", "vid30.avi"]
    (tmp_path / "msvd_youtube_mapping.txt").write_text("-4ws_5_15\n")
    with pytest.raises(DataError, match=r"mapping\.txt:1: expected 'clip vid12'"):
        asked(path)


def test_tgif_in_its_tables_of_tabs_and_as_lines(tmp_path):
    frames = tmp_path / "Test_frameqa_question.csv"
    frames.write_text(
        "gif_name\tquestion\tanswer\ttype\tvid_id\tkey\tdescription\n"
        "tumblr_a\twhat is it ?\tcat\t0\tFRAMEQA1\t1\ta cat\n"
        'tumblr_b\twhat color is "it" ?\tred\t2\tFRAMEQA2\t2\tred\n'
    )
    assert detect_kind(frames) == "tgif-qa"
    assert asked(frames) == [
        ("tumblr_a.gif", "what is it ?", "cat", "object", 2),
        ("tumblr_b.gif", 'what color is "it" ?', "red", "color", 3),
    ]
    counts = tmp_path / "count.csv"
    counts.write_text("gif_name\tquestion\tanswer\tvid_id\nx\tHow many times ?\t3\tCOUNT1\n")
    assert asked(counts) == [("x.gif", "How many times ?", "3", "count", 2)]
    rows = [
        {"gif_name": "g", "question": "What does it do 2 times ?", "options": list("abcde"),
         "answer": 4},
        {"gif_name": "g", "question": "What does it do after a ?", "options": list("abcde"),
         "answer": 0},
    ]  # fmt: skip
    [about] = read_multiple_choice(write(tmp_path / "some.jsonl", rows)).questions
    assert [(each.kind, each.answer) for each in about] == [("action", 4), ("transition", 0)]
    assert about[0].sentences[4] == "What does it do 2 times ?Options: a b c d eAnswer: e"
    with pytest.raises(DataError, match="only questions with options"):
        asked(tmp_path / "some.jsonl")
    with pytest.raises(DataError, match="no questions with options"):
        read_multiple_choice(frames)
    bad = write(tmp_path / "bad.jsonl", [{**rows[0], "answer": 5}])
    with pytest.raises(DataError, match=r"bad\.jsonl:1: 'answer' is 5"):
        read_multiple_choice(bad)


NEXT = """video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4
40,369,640,480,how do they play,0,6,CH,a,b,c,d,e
41,369,640,480,"why, though",2,1,CW,a,b,c,d,e
40,369,640,480,where is it,1,7,DL,a,b,c,d,e
"""


def test_nextqa_has_kinds_of_two_levels(tmp_path):
    path = tmp_path / "val.csv"
    path.write_text(NEXT)
    assert detect_kind(path) == "next-qa"
    choices = read_multiple_choice(path)
    found = [(q.id, q.kind, q.answer, q.question) for about in choices.questions for q in about]
    assert found == [
        ("40_6", "causal/how", 0, "how do they play"),
        ("40_7", "descriptive/location", 1, "where is it"),
        ("41_1", "causal/why", 2, "why, though"),
    ]
    assert choices.videos.written_path(0) == "40.mp4"
    (tmp_path / "map_vid_vidorID.json").write_text('{"40": "1164/40"}')
    assert read_multiple_choice(path).videos.written_path(0) == "1164/40.mp4"
    path.write_text(NEXT.replace("where is it,1", "where is it,x"))
    with pytest.raises(DataError, match=r"val\.csv:4: the answer is 'x'"):
        read_multiple_choice(path)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), unique=True))
def test_numbered_answers_are_read_back(tmp_path_factory, answers):
    path = tmp_path_factory.getbasetemp() / "answers.json"
    path.write_text(numbered_answers(answers), encoding="utf-8")
    if answers:
        assert read_answers(path) == tuple(answers)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 0, "b": 2}', "0 to 1"),
        ('{"a": "x"}', "number"),
        ('["a", 3]', "answer 2 is '3'"),
        ("a\nb\na\n", "'a' occurs twice"),
        ("", "empty"),
    ],
)
def test_a_broken_list_of_answers_is_refused(tmp_path, text, what):
    path = tmp_path / "answers"
    path.write_text(text)
    with pytest.raises(DataError, match=what):
        read_answers(path)


def test_the_most_frequent_answers_come_first():
    given_answers = [Question("?", answer) for answer in "banana"]
    assert frequent_answers(given_answers) == ("a", "n", "b")
    assert frequent_answers(given_answers, 2) == ("a", "n")
    assert frequent_answers([Question("?", "b"), Question("?", "a")]) == ("a", "b")


def test_question_words():
    words = {"What is it?": "what", "in which room is who?": "who", "whatever works": "other"}
    assert {text: question_word(text) for text in words} == words


def test_a_row_of_another_kind_is_a_bad_line(tmp_path):
    path = write(
        tmp_path / "q.json", [{"question": "a", "answer": "b", "video_id": "x"}], as_list=True
    )
    [bad] = msvd_qa.read(path, tmp_path).records
    assert isinstance(bad, BadLine)
    assert "row 1: 'video_id' is 'x'" in bad.message
    path = write(tmp_path / "l.jsonl", ["no object"])
    [bad] = questions.read(path, tmp_path).records
    assert bad.message.startswith(f"{path}:1: ")


@pytest.mark.parametrize("kind", [k for k in ASKING if k != "videochat"])
def test_the_world_is_read_back(tmp_path, kind):
    written = write_world(tmp_path, 10, kind=kind, world=SMALL)
    truth = [json.loads(line) for line in written.truth.read_text().splitlines()]
    seen = {}
    for path in written.annotations:
        if (
            "train" in path.name
            and path.suffix in (".jsonl", ".json")
            and "ans2label" not in path.name
        ):
            if "action" in path.name:
                continue
            assert detect_kind(path) == kind
            for video, question, answer, _, _ in asked(path, root=tmp_path):
                seen.setdefault(video, []).append((question, answer))
    numbers = {"one": "1", "two": "2"} if kind == "tgif-qa" else {}
    for line in truth:
        about = [(q["question"], numbers.get(q["answer"], q["answer"])) for q in line["questions"]]
        if line["split"] == "train":
            assert sorted(seen.pop(line["video"])) == sorted(about)
    assert not seen
    with Video(tmp_path / truth[0]["video"]) as video:
        assert video.num_frames == 8


def test_the_world_writes_answers_and_choices(tmp_path):
    written = write_world(tmp_path, 10, kind="tgif-qa", world=SMALL)
    names = {path.name for path in written.annotations}
    tasks = {
        f"{task}_{split}.jsonl"
        for task in ("frameqa", "count", "action")
        for split in ("train", "test")
    }
    assert names == {*tasks, "frameqa_trainval_ans2label.json"}
    known = read_answers(tmp_path / "frameqa_trainval_ans2label.json")
    given_answers = {answer for _, _, answer, _, _ in asked(tmp_path / "frameqa_train.jsonl")}
    assert set(known) == given_answers
    choices = read_multiple_choice(tmp_path / "action_train.jsonl")
    truth = [json.loads(line) for line in written.truth.read_text().splitlines()]
    for place, about in enumerate(choices.questions):
        [line] = [t for t in truth if t["video"] == choices.videos.written_path(place)]
        true = {q["question"]: q["answer"] for q in line["questions"]}
        for choice in about:
            assert len(set(choice.options)) == 5
            assert choice.options[choice.answer] == true[choice.question.rstrip("?")]


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real/qa")
def test_the_real_tables():
    assert len(asked(REAL / "tgif-qa/Test_frameqa_question.csv")) == 13_691
    counts = asked(REAL / "tgif-qa/Test_count_question.csv")
    assert {row[2] for row in counts} == {str(n) for n in (0, *range(2, 11))}
    for task, number in (("action", 2_274), ("transition", 6_232)):
        choices = read_multiple_choice(REAL / f"tgif-qa/Test_{task}_question.csv")
        kinds = [each.kind for about in choices.questions for each in about]
        assert kinds == [task] * number
    assert sum(map(len, read_multiple_choice(REAL / "next-qa/val.csv").questions)) == 4_996
