"""Video instruction data: read, checked, and put into the text that a model is trained on."""

from __future__ import annotations

import json

import pytest

from internvideo.annotations import Question
from internvideo.data.build import read_list
from internvideo.errors import ConfigError, DataError
from internvideo.formats.detect import detect_kind
from internvideo.formats.videochat import (
    conversation_text,
    read,
)


def write(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_descriptions_become_captions_and_conversations_do_not(tmp_path):
    content = [
        {"video": "000001_000050/1.mp4", "QA": [{"q": "描述视频。", "a": "一只狗跳。"}]},
        {"video": "b.mp4", "QA": [{"q": "x", "a": "y"}, {"q": "z", "a": "w", "i": "Be short."}],
         "start": 3.5},
    ]  # fmt: skip
    path = write(tmp_path / "x.json", content)
    assert detect_kind(path) == "videochat"
    first, second = read_list("videochat", path)
    assert (first.path, first.captions) == (str(tmp_path / "000001_000050/1.mp4"), ("一只狗跳。",))
    assert (second.captions, second.start, second.end) == ((), 3.5, None)
    assert second.key == f"{tmp_path}/b.mp4[3.5-]"
    conversation = list(read(path, tmp_path).records)[1]
    assert conversation.questions == (
        Question(question="x", answer="y"),
        Question(question="z", answer="w", instruction="Be short."),
    )


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"QA": [{"q": "x", "a": "y"}]}, "video is 'None'; expected a text"),
        ({"video": "a", "QA": []}, "expected a list of questions and answers"),
        ({"video": "a"}, "expected a list of questions and answers"),
        ({"video": "a", "QA": ["x"]}, "turn 1 is 'x'; expected {'q': …, 'a': …}"),
        ({"video": "a", "QA": [{"q": "x", "a": " "}]}, "'a' of turn 1 is ' '; expected a text"),
        ({"video": "a", "QA": [{"q": 3, "a": "y"}]}, "'q' of turn 1 is '3'"),
        ({"video": "a", "QA": [{"q": "x ###Human: z", "a": "y"}]}, "'q' of turn 1 has '###'"),
        ({"video": "a", "QA": [{"q": "x", "a": "y", "i": 5}]}, "'i' of turn 1 is '5'"),
        ({"video": "a", "QA": [{"q": "x", "a": "y"}], "start": -1}, "-1 is no time"),
        ([1], "expected a json object"),
    ],
)
def test_broken_items_are_named_and_left_out(tmp_path, item, message):
    good = {"video": "a.mp4", "QA": [{"q": "x", "a": "y"}]}
    path = write(tmp_path / "x.json", [good, item, good])
    clips = read_list("videochat", path, strict=False)
    assert [clip.line for clip in clips] == [1, 3]
    assert clips.bad_lines[0].message.startswith(f"{path}: row 2: ")
    assert message in clips.bad_lines[0].message
    with pytest.raises(DataError, match="row 2"):
        read_list("videochat", path)


def test_the_system_prompt_ends_with_a_space():
    turns = [Question(question="q", answer="a")]
    assert conversation_text(turns, [1], system="Be kind. ").startswith(
        "Be kind. ###Human: <Video>"
    )
    with pytest.raises(ConfigError, match="must end with a space"):
        conversation_text(turns, [1], system="Be kind.")
