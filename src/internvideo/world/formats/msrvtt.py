"""The world in the files of MSR-VTT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from internvideo.world.clip import World
from internvideo.world.language import CaptionMix
from internvideo.world.sprites import BACKGROUNDS
from internvideo.world.writing import DatasetWriter, Layout, TruthLine, write_csv, write_text

__all__ = ["write_msrvtt"]

_MIX = CaptionMix(
    action_only=0.0, appearance_only=0.0, generic=0.0, texture=0.5, color=1.0, shape=0.95
)


def _annotate(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    del world
    train = [[f"video{line['index']}"] for line in lines if line["split"] != "test"]
    test = [
        [f"ret{place}", f"msr{line['index']}", f"video{line['index']}", line["captions"][0]]
        for place, line in enumerate(line for line in lines if line["split"] == "test")
    ]
    header = ["key", "vid_key", "video_id", "sentence"]
    return [
        write_text(directory / "MSRVTT_data.json", json.dumps(_msrvtt_data(lines), indent=1)),
        write_csv(directory / "MSRVTT_train.9k.csv", ["video_id"], train),
        write_csv(directory / "MSRVTT_JSFUSION_test.csv", header, test),
    ]


def _msrvtt_data(lines: list[dict[str, Any]]) -> dict[str, Any]:
    videos, sentences = [], []
    for line in lines:
        video_id = f"video{line['index']}"
        videos.append(
            {
                "category": BACKGROUNDS.index(line["background"]["kind"]),
                "url": "",
                "video_id": video_id,
                "start time": 0.0,
                "end time": line["num_frames"] / line["fps"],
                "split": line["split"],
                "id": line["index"],
            }
        )
        for sentence in line["captions"]:
            sentences.append({"caption": sentence, "video_id": video_id, "sen_id": len(sentences)})
    info = {
        "contributor": "internvideo",
        "data_created": "",
        "version": "1.0",
        "description": "Procedural clips in the format of MSR-VTT",
        "url": "",
        "year": "",
    }
    return {"info": info, "videos": videos, "sentences": sentences}


write_msrvtt = DatasetWriter(
    layout=Layout(
        splits=("train", "validate", "test"),
        video="videos/video{index}.mp4",
        captions=20,
        mix=_MIX,
    ),
    shares=(0.8, 0.1, 0.1),
    annotate=_annotate,
)
"""Write a video-text retrieval dataset in the files of MSR-VTT.

`MSRVTT_data.json` has `info`, `videos` (video_id, split "train", "validate" or "test", start and
end time, category = number of the background's kind) and `sentences` (sen_id, video_id, caption).
`MSRVTT_train.9k.csv` lists the videos of train and validate, as the 1k-A protocol trains on both;
`MSRVTT_JSFUSION_test.csv` has one sentence for every test video. Sentences of the test split are
held out of training (`internvideo.world.is_held_out`).
"""
