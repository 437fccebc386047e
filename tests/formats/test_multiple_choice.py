from __future__ import annotations

import json

import pytest

from internvideo.data.build import read_multiple_choice
from internvideo.errors import DataError

LSMDC = "\t".join(["3001_21_JUMP_STREET_00.03.07.077-00.03.07.559", "a", "b", "c", "d"])
FIVE = "\t".join(["He walks.", "She runs.", "They eat.", "SOMEONE smiles.", "A car stops."])


def write(path, *rows):
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def asked(choices):
    """Return the path of the video and the question, for each question."""
    questions = enumerate(choices.questions)
    return [(choices.videos.written_path(n), each) for n, several in questions for each in several]


def test_msrvtt_finds_the_files_of_its_clips(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all/video7021.webm").touch()
    path = write(
        tmp_path / "msrvtt_mc_test.jsonl",
        {"answer": 3, "options": list("abcde"), "clip_name": "video7020", "qid": 0},
        {"answer": 0, "options": list("fghij"), "clip_name": "video7021", "qid": 1},
    )
    choices = read_multiple_choice(path)
    assert [(path, q.answer, q.line) for path, q in asked(choices)] == [
        ("video7020.mp4", 3, 1),
        ("all/video7021.webm", 0, 2),
    ]
    assert choices.videos[0].path == str(tmp_path / "video7020.mp4")
    assert read_multiple_choice(path, root="s3://bucket").videos[0].path == (
        "s3://bucket/video7020.mp4"
    )


def test_questions_about_one_video_are_together(tmp_path):
    path = write(
        tmp_path / "mine.jsonl",
        {"video": "a.mp4", "options": ["左", "右"], "answer": "右"},
        {"video": "b.mp4", "options": ["x", "y", "z"], "answer": 2, "kind": "hard"},
        {"video": "a.mp4", "options": ["u", "v"], "answer": 0},
    )
    choices = read_multiple_choice(path)
    assert [clip.path for clip in choices.videos] == [f"{tmp_path}/{n}.mp4" for n in "ab"]
    assert [[q.answer for q in group] for group in choices.questions] == [[1, 0], [2]]
    assert sum(map(len, choices.questions)) == 3
    assert choices.questions[1][0].kind == "hard"


def test_lsmdc_leaves_out_what_the_published_evaluation_does(tmp_path):
    path = write(
        tmp_path / "LSMDC16_multiple_choice_test_randomized.csv",
        f"{LSMDC}\t{FIVE}\t4",
        f"3056_PUBLIC_ENEMIES_01.24.29.351-01.24.32.274\ta\tb\tc\td\t{FIVE}\t1",
        f"1004_Juno_00.00.32.511\ta\t\tc\td\t{FIVE}\t1",
        f"1004_Juno_00.00.40.000\ta\tb\tc\td\t{FIVE}",
        f"1004_Juno_00.00.50.000\ta\tb\tc\td\t{FIVE}\t1",
    )
    choices = read_multiple_choice(path)
    assert [(path, q.answer) for path, q in asked(choices)] == [
        ("3001_21_JUMP_STREET/3001_21_JUMP_STREET_00.03.07.077-00.03.07.559.avi", 3),
        ("1004_Juno/1004_Juno_00.00.50.000.avi", 0),
    ]
    assert [line.split(": ")[1] for line in choices.left_out] == [
        "the published evaluation skips 3056_PUBLIC_ENEMIES_01.24.29.351-01.24.32.274",
        "a field is missing",
        "a field is missing",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"video": "a.mp4", "options": ["x", "y"], "answer": 2}, "its number from 0 to 1"),
        ({"video": "a.mp4", "options": ["x", "y"], "answer": True}, "'answer' is True"),
        ({"video": "a.mp4", "options": ["x", "y"], "answer": "z"}, "'answer' is 'z'"),
        ({"video": "a.mp4", "options": ["x", "y"]}, "'answer' is None"),
        ({"video": "a.mp4", "options": ["x"], "answer": 0}, "two or more sentences"),
        ({"video": "a.mp4", "options": ["x", " "], "answer": 0}, "two or more sentences"),
        ({"clip": "a.mp4"}, "expected an object with 'video'"),
        ('["a"]', "expected an object with 'video'"),
        ("{", "not json"),
    ],
)
def test_rows_that_are_no_questions_are_named(tmp_path, row, message):
    good = {"video": "a.mp4", "options": ["x", "y"], "answer": 0}
    with pytest.raises(DataError, match=rf"mine\.jsonl:2: .*{message}"):
        read_multiple_choice(write(tmp_path / "mine.jsonl", good, row))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{LSMDC}\t{FIVE}\t6", "a number from 1 to 5"),
        (f"{LSMDC}\t{FIVE}\tx", "a number from 1 to 5"),
        (f"{LSMDC}\t{FIVE}\t1\t2", "12 fields separated by tabs, expected 11"),
        ("a,b,c", "1 fields separated by tabs, expected 11"),
    ],
)
def test_rows_of_another_csv_are_named(tmp_path, row, message):
    with pytest.raises(DataError, match=rf"mc\.csv:1: .*{message}"):
        read_multiple_choice(write(tmp_path / "mc.csv", row))


def test_files_without_questions(tmp_path):
    with pytest.raises(DataError, match="no annotation file"):
        read_multiple_choice(tmp_path / "gone.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="is empty"):
        read_multiple_choice(tmp_path / "empty.jsonl")
