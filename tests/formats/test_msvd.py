"""MSVD in its three files, and what a pickle must not do."""

from __future__ import annotations

import os
import pickle

import pytest

from internvideo.data.build import read_list
from internvideo.errors import ConfigError, DataError
from internvideo.formats.detect import detect_kind

IDS = ("-4wsuPCjDBc_5_15", "04Gt01vatkk_248_265", "v1iH5rhdOG0_1_2")
SAID = {
    IDS[0]: ("a squirrel is eating a peanut", "une écureuil mange"),
    IDS[1]: ("a man plays, and sings",),
    IDS[2]: ("一只狗",),
}


@pytest.fixture
def folder(tmp_path):
    lines = "".join(f"{clip} {text}\n" for clip, texts in SAID.items() for text in texts)
    (tmp_path / "AllVideoDescriptions.txt").write_text(f"# MSVD\n\n{lines}", encoding="utf-8")
    words = {clip: [text.split(" ") for text in texts] for clip, texts in SAID.items()}
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(words, protocol=2))
    rows = [f'{c[:11]},{c.split("_")[-2]},{c.split("_")[-1]},English,"{t}"\n'
            for c, texts in SAID.items() for t in texts]  # fmt: skip
    (tmp_path / "video_corpus.csv").write_text(
        "VideoID,Start,End,Language,Description\n" + "".join(rows) + "x,1,2,German,Hund\n",
        encoding="utf-8",
    )
    (tmp_path / "test_list.txt").write_text(f"{IDS[2]}\n{IDS[0]}\n{IDS[2]}\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["AllVideoDescriptions.txt", "raw-captions.pkl", "video_corpus.csv"]
)
def test_all_files_say_the_same(folder, name):
    assert detect_kind(folder / name) == "msvd"
    clips = read_list("msvd", folder / name)
    assert [(c.path, c.captions) for c in clips] == [
        (str(folder / f"{clip}.avi"), texts) for clip, texts in SAID.items()
    ]
    test = read_list("msvd", folder / name, split="test", root="/v")
    assert [c.path for c in test] == [f"/v/{IDS[2]}.avi", f"/v/{IDS[0]}.avi"]
    assert [bad.tolerated for bad in test.bad_lines] == [True]
    assert "test_list.txt:3" in test.bad_lines[0].message
    assert detect_kind(folder / "test_list.txt") == "msvd"
    listed = read_list("msvd", folder / "test_list.txt", root="/v")
    assert [(c.path, c.captions) for c in listed] == [(c.path, c.captions) for c in test]


def test_videos_may_have_other_names(folder):
    (folder / "youtube_mapping.txt").write_text("".join(f"{c} vid{n}\n" for n, c in enumerate(IDS)))
    (folder / "videos").mkdir()
    for name in ("vid0.avi", f"{IDS[1]}.mp4"):
        (folder / "videos" / name).touch()
    clips = read_list("msvd", folder / "raw-captions.pkl", root=folder / "videos")
    names = [c.path.rpartition("/")[2] for c in clips]
    assert names == ["vid0.avi", f"{IDS[1]}.mp4", "vid2.avi"]
    (folder / "youtube_mapping.txt").write_text("one two three\n")
    with pytest.raises(DataError, match=r"youtube_mapping.txt:1: expected 'clip file'"):
        read_list("msvd", folder / "raw-captions.pkl")


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": Evil()}), "asks for posix.system, which sentences do not need"),
        (b"no pickle", "not MSVD's captions"),
        (b"", "not MSVD's captions"),
        (pickle.dumps([1]), "expected a dict from clip to sentences"),
        (pickle.dumps({"a": [[1]]}), "clip 'a' has no list of words"),
        (pickle.dumps({"a": []}), "lists no clips"),
    ],
)
def test_a_bad_pickle_runs_nothing(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_list("msvd", "x.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pkl"]


def test_what_is_wrong_is_told(folder):
    path = folder / "AllVideoDescriptions.txt"
    with pytest.raises(
        DataError, match=r"needs the list of the split train beside it: train_list.txt"
    ):
        read_list("msvd", path, split="train")
    with pytest.raises(DataError, match=r"has no split 'tset'; .*Did you mean 'test'"):
        read_list("msvd", path, split="tset")
    (folder / "val_list.txt").write_text(f"{IDS[0]}\nnobody\n")
    with pytest.raises(DataError, match=r"val_list.txt:2: 'nobody' has no sentence in AllV"):
        read_list("msvd", path, split="val")
    with pytest.raises(DataError, match=r"holds one split; leave out split='val'"):
        read_list("msvd", folder / "test_list.txt", split="val")
    path.write_text(path.read_text(encoding="utf-8") + f"{IDS[0]} …\n", encoding="utf-8")
    clips = read_list("msvd", path)  # a video with other sentences
    assert "AllVideoDescriptions.txt:7: the caption '…' of" in clips.bad_lines[0].message
    path.write_text(path.read_text(encoding="utf-8") + "lonely\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"AllVideoDescriptions.txt:8: expected 'clip sentence'"):
        read_list("msvd", path)
    with pytest.raises(ConfigError, match=r"leave out labels\.txt"):
        read_list("msvd", path, labels="labels.txt")
