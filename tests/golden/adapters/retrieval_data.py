"""Retrieval data: what the official loaders make of annotation files and of sentences."""

from __future__ import annotations

import base64
import math
import tempfile
from itertools import accumulate
from pathlib import Path

import torch

from golden.case import Case
from internvideo.annotations import Annotations, VideoAnnotation
from internvideo.formats import activitynet_captions, didemo, lsmdc, msrvtt, msvd, vatex
from internvideo.models.tokenizer import CLIPTokenizer, padding_mask


def annotations(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in case.meta["files"].items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if "base64" in content:
                path.write_bytes(base64.b64decode(content["base64"]))
            else:
                path.write_text(content["text"], encoding="utf-8")
        for name, expected in case.meta["expected"].items():
            data_set, split, *rest = name.split("_")
            LOADERS[data_set](root, split, "fold" in rest, expected)


def _videos(found: Annotations) -> list[VideoAnnotation]:
    return [each for each in found.records if isinstance(each, VideoAnnotation)]


def _find(root: Path, pattern: str) -> Path:
    return next(root.rglob(pattern))


def _assert_same(videos: list[VideoAnnotation], expected: dict) -> None:
    """Compare with the pairs of the loader; videos come in its order, each with its captions."""
    pairs = [[video.id, caption] for video in videos for caption in video.captions]
    assert len(pairs) == expected["len"]
    # Where one caption is trained on at a time, theirs are in the order of the json.
    assert sorted(pairs) == sorted(expected["items"])
    if "cut_off_points" in expected:
        assert pairs == expected["items"]
        assert (
            list(accumulate(len(video.captions) for video in videos))
            == (expected["cut_off_points"])
        )
        assert (len(pairs), len(videos)) == (expected["sentence_num"], expected["video_num"])
    if "video_path_rule" in expected:
        for video in videos:
            rule = (
                expected["video_path_rule"]
                .replace("<video_id>", video.id)
                .replace("<id>", video.id)
            )
            assert rule == f"<features>/{video.path}"


def _msrvtt(root: Path, split: str, fold: bool, expected: dict) -> None:
    lists = {"train": "MSRVTT_train.*.csv", "test": "MSRVTT_JSFUSION_test.csv"}
    videos = _videos(msrvtt.read(_find(root, lists[split]), root))
    if not fold:
        return _assert_same(videos, expected)
    assert len(videos) == expected["len"]
    for video in videos:  # a caption is drawn at each visit
        assert list(video.captions) == expected["sentences_by_video"][video.id]


def _msvd(root: Path, split: str, fold: bool, expected: dict) -> None:
    sentences = _find(root, "raw-captions.pkl")
    videos = _videos(msvd.read(sentences, root, split=split))
    assert videos == _videos(msvd.read(sentences.parent / f"{split}_list.txt", root))
    _assert_same(videos, expected)


def _lsmdc(root: Path, split: str, fold: bool, expected: dict) -> None:
    patterns = {"train": "LSMDC*_annos_training.csv", "val": "LSMDC*_annos_val.csv"}
    path = _find(root, patterns.get(split, "LSMDC*_challenge_*.csv"))
    for place in expected["video_paths"].values():  # others are not on disk, and dropped there
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    features = Path(next(iter(expected["video_paths"].values()))).parts[0]
    found = _videos(lsmdc.read(path, root / features))
    videos = [video for video in found if (root / features / video.path).is_file()]
    _assert_same(videos, expected)
    assert {v.id: f"{features}/{v.path}" for v in videos} == expected["video_paths"]


def _activitynet(root: Path, split: str, fold: bool, expected: dict) -> None:
    videos = _videos(activitynet_captions.read(_find(root, f"{split}_ids.json"), root))
    assert len(videos) == expected["len"]
    for video, item in zip(videos, expected["items"], strict=True):
        assert video.id == item["pseudo_video_id"]
        assert video.path == f"v_{item['video_id']}.mp4"
        assert video.captions == (item["text"],)
        assert (item["start"], math.ceil(video.duration or 0)) == (0, item["end"])


def _didemo(root: Path, split: str, fold: bool, expected: dict) -> None:
    path = _find(root, f"{split}_data.json").with_name(f"{split}_list.txt")
    texts = {item["video_key"]: item["text"] for item in expected["items"]}
    found = {video.path: video.captions for video in _videos(didemo.read(path, root))}
    # Videos that are not on disk are dropped there.
    assert {name: (text,) for name, text in texts.items()} == {
        name: captions for name, captions in found.items() if name in texts
    }
    assert len(texts) == expected["len"]


def _vatex(root: Path, split: str, fold: bool, expected: dict) -> None:
    path = _find(root, "vatex_*.json").with_name(
        "train_list.txt" if split == "train" else "test_list.txt"
    )
    videos = _videos(vatex.read(path, root))
    _assert_same(videos, expected)
    if "video_paths" in expected:
        assert {video.id: video.path for video in videos} == expected["video_paths"]


LOADERS = {
    "msrvtt": _msrvtt,
    "msvd": _msvd,
    "lsmdc": _lsmdc,
    "activitynet": _activitynet,
    "didemo": _didemo,
    "vatex": _vatex,
}


def tokenize(case: Case) -> None:
    for name in case.tensors:
        kind, length = name.removeprefix("output.").split("_")
        ids = CLIPTokenizer(int(length))(case.meta["sentences"])
        made = {
            "ids": ids,
            "mask": (~padding_mask(ids)).long(),
            "segment": torch.zeros_like(ids),
        }
        case.assert_close(made[kind], name, rtol=0, atol=0)


ADAPTERS = {
    "retrieval-annotations": annotations,
    "retrieval-tokenize": tokenize,
}
