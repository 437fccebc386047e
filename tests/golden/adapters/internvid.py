"""InternVid metadata, its diversity draw, and VideoChat's instruction data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from golden.case import Case
from internvideo.data.build import read_list
from internvideo.data.curation.rows import MetadataColumns
from internvideo.data.curation.selection import diverse_choice
from internvideo.data.curation.stats import measure_metadata
from internvideo.formats import videochat


def internvid_data(case: Case) -> None:
    for suffix in ("rows.jsonl", "rows.parquet"):
        path = case.path.with_suffix(f".{suffix}")
        if suffix.endswith("parquet") and not has_pyarrow():
            continue
        assert_rows(case, path)
    draw = case.meta["div_sampling"]
    columns = MetadataColumns.of(draw["pool"][0])
    videos = [columns.video_of(row) for row in draw["pool"]]
    _, numbers = np.unique(videos, return_inverse=True)
    chosen = diverse_choice(numbers, draw["k"], seed=draw["numpy_seed"])
    assert chosen.tolist() == draw["chosen_index"]

    path = case.path.with_suffix(".videochat.json")
    assert json.loads(path.read_text(encoding="utf-8")) == case.meta["videochat_v1"]
    seconds = [float(second) for second in case.meta["frame_seconds"]]
    conversations = list(videochat.read(path, path.parent).records)
    for talk, expected in zip(conversations, case.meta["videochat_expected_text"], strict=True):
        assert talk.path == expected["video"]
        assert len(talk.questions) == expected["turns"]
        assert videochat.conversation_text(talk.questions, seconds) == expected["text"]


def has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def assert_rows(case: Case, path) -> None:
    rows = case.meta["internvid_expected"]
    expected = [row for row in rows if row["duration_s"] > 0]
    empty = [line for line, row in enumerate(rows, start=1) if row["duration_s"] <= 0]
    clips = read_list("captions", path, root="videos", strict=False)
    assert len(clips) == len(expected)
    assert [bad.line for bad in clips.bad_lines] == empty  # reported and left out
    for clip, row in zip(clips, expected, strict=True):
        assert clip.path == f"videos/{row['youtube_id']}.mp4"
        assert (clip.start, clip.end) == (row["start_s"], row["end_s"])
        assert clip.captions == (row["caption"],)
    stats = measure_metadata(path)
    assert (stats.num_clips, stats.num_bad) == (len(expected), len(empty))
    assert stats.num_videos == len({row["youtube_id"] for row in expected})
    assert stats.hours * 3600 == pytest.approx(sum(row["duration_s"] for row in expected))


ADAPTERS = {"internvid-data": internvid_data}
