"""The world as video instruction data (VideoChat)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from internvideo.world.clip import World
from internvideo.world.writing import DatasetWriter, Layout, TruthLine, in_split, write_text

__all__ = ["write_videochat"]

_SPLITS = ("train", "val", "test")
_MAX_TURNS = 4
_REQUESTS = (
    "Describe the video in detail.",
    "Portray the clip with a rich narrative.",
    "What happens in this video?",
    "Tell what can be seen in the video.",
)


def _annotate(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    del world
    written = []
    for split in _SPLITS:
        talks = [
            {"video": line["video"].removeprefix("videos/"), "QA": _turns(line)}
            for line in in_split(lines, split)
        ]
        text = json.dumps(talks, ensure_ascii=False, indent=1)
        written.append(write_text(directory / f"videochat_{split}.json", text))
    return written


def _turns(line: TruthLine) -> list[dict[str, Any]]:
    """Return a description of every other clip, and a conversation about the rest."""
    index = line["index"]
    if index % 2 == 0:
        answer = " ".join(_sentence(caption, ".") for caption in line["captions"])
        return [{"q": _REQUESTS[index // 2 % len(_REQUESTS)], "a": answer}]
    questions = line["questions"]
    first = index // 2 % len(questions)
    chosen = (questions[first:] + questions[:first])[:_MAX_TURNS]
    return [{"q": _sentence(q["question"], "?"), "a": _sentence(q["answer"], ".")} for q in chosen]


def _sentence(text: str, end: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{end}"


write_videochat = DatasetWriter(
    layout=Layout(splits=_SPLITS, video="videos/000001_000050/{index:07d}.mp4", captions=3),
    shares=(0.8, 0.1, 0.1),
    annotate=_annotate,
)
"""Write video instruction data as VideoChat has them.

`videochat_{train,val,test}.json` are lists of `{"video": "000001_000050/0000007.mp4", "QA": [{"q":
…, "a": …}, …]}` with paths below `videos/`. Clips of even number are described in one turn, the
others are talked about in up to four, whose answers are true.
"""
