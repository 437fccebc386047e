"""The world as captioned collections: WebVid, InternVid and MSVD."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import av

from internvideo.world.clip import World
from internvideo.world.language import CaptionMix
from internvideo.world.writing import (
    DatasetWriter,
    Layout,
    TruthLine,
    in_split,
    write_csv,
    write_text,
)

__all__ = ["write_internvid", "write_msvd", "write_webvid"]

_SPLITS = ("train", "val", "test")
_SHARES = (0.8, 0.1, 0.1)
_MIX = CaptionMix(
    action_only=0.0, appearance_only=0.0, generic=0.0, texture=0.5, color=1.0, shape=0.95
)
_CLIPS_A_VIDEO = 5


# ---------------------------------------------------------------- WebVid


def _annotate_webvid(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    del world
    header = ["videoid", "contentUrl", "duration", "page_dir", "name"]
    written = []
    for split in _SPLITS:
        rows = []
        for line in in_split(lines, split):
            page, name = line["video"].split("/")[1:]
            seconds = round(line["num_frames"] / line["fps"])
            length = f"PT{seconds // 3600:02d}H{seconds // 60 % 60:02d}M{seconds % 60:02d}S"
            rows.append([name.removesuffix(".mp4"), "", length, page, line["captions"][0]])
        written.append(write_csv(directory / f"results_world_{split}.csv", header, rows))
    return written


write_webvid = DatasetWriter(
    layout=Layout(
        splits=_SPLITS, video="videos/000001_000050/{index:07d}.mp4", captions=1, mix=_MIX
    ),
    shares=_SHARES,
    annotate=_annotate_webvid,
)
"""Write captioned videos as WebVid has them.

`results_world_{train,val,test}.csv` have the columns videoid, contentUrl (empty), duration
(`PT00H00M02S`), page_dir and name (the caption); a video is `videos/{page_dir}/{videoid}.mp4`.
"""


# ---------------------------------------------------------------- InternVid


def _annotate_internvid(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    written = []
    for split in _SPLITS:
        rows = []
        for clips in _chunks(in_split(lines, split), _CLIPS_A_VIDEO):
            name = _youtube_id(world.seed, clips[0]["index"])
            path = directory / "videos" / f"{name}.mp4"
            path.parent.mkdir(exist_ok=True)
            join_videos([directory / clip["video"] for clip in clips], path)
            start = 0.0
            for clip in clips:
                end = start + clip["num_frames"] / clip["fps"]
                rows.append(_internvid_row(name, start, end, clip))
                start = end
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        written.append(write_text(directory / f"internvid_{split}.jsonl", text))
    return written


def _internvid_row(name: str, start: float, end: float, clip: TruthLine) -> dict[str, str | float]:
    draw = hashlib.sha256(f"{name} {clip['index']}".encode()).digest()
    return {
        "YoutubeID": name,
        "Start_timestamp": _timestamp(start),
        "End_timestamp": _timestamp(end),
        "Caption": clip["captions"][0],
        "Aesthetic_Score": round(3 + 3 * draw[0] / 255, 4),
        "UMT_Score": round(0.2 + 0.3 * draw[1] / 255, 4),
    }


def _timestamp(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{whole:02d}.{milliseconds:03d}"


def _youtube_id(seed: int, index: int) -> str:
    """Return eleven characters as YouTube's ids have them; every eighth begins with a dash."""
    digest = hashlib.sha256(f"{seed} {index}".encode()).digest()
    name = base64.urlsafe_b64encode(digest)[:11].decode()
    return f"-{name[1:]}" if digest[-1] % 8 == 0 else name


def _chunks(lines: list[TruthLine], size: int) -> Iterator[list[TruthLine]]:
    for start in range(0, len(lines), size):
        yield lines[start : start + size]


def join_videos(parts: Sequence[Path], path: Path) -> None:
    """Put videos of the same encoding one behind the other, without encoding them again."""
    unfinished = path.with_name(f"{path.name}.part")
    with av.open(str(unfinished), "w", format="mp4") as joined:
        stream, shift = None, 0
        for part in parts:
            with av.open(str(part)) as container:
                source = container.streams.video[0]
                stream = stream or joined.add_stream_from_template(source)
                first, length = None, source.duration or 0
                for packet in container.demux(source):
                    if packet.dts is None or packet.pts is None:  # the end of the file
                        continue
                    first = packet.pts if first is None else first  # a key frame comes first
                    packet.pts += shift - first
                    packet.dts += shift - first
                    packet.stream = stream
                    joined.mux(packet)
                shift += length
    unfinished.replace(path)


write_internvid = DatasetWriter(
    layout=Layout(splits=_SPLITS, video="clips/clip_{index:06d}.mp4", captions=1, mix=_MIX),
    shares=_SHARES,
    annotate=_annotate_internvid,
)
"""Write captioned parts of longer videos as InternVid has them.

`internvid_{train,val,test}.jsonl` have YoutubeID, Start_timestamp, End_timestamp, Caption,
Aesthetic_Score and UMT_Score (both drawn, they mean nothing here). `videos/{YoutubeID}.mp4` has
five clips one behind the other; `clips/` has each of them alone, too.
"""


# ---------------------------------------------------------------- MSVD


def _annotate_msvd(directory: Path, world: World, lines: list[TruthLine]) -> list[Path]:
    names = {
        line["index"]: f"{_youtube_id(world.seed, line['index'])}_0_"
        f"{max(round(line['num_frames'] / line['fps']), 1)}"
        for line in lines
    }
    said = "".join(
        f"{names[line['index']]} {caption}\n" for line in lines for caption in line["captions"]
    )
    mapping = "".join(f"{names[line['index']]} vid{line['index']}\n" for line in lines)
    words = {
        names[line["index"]]: [caption.split() for caption in line["captions"]] for line in lines
    }
    pickled = directory / "raw-captions.pkl"
    pickled.write_bytes(pickle.dumps(words, protocol=2))
    lists = [
        write_text(
            directory / f"{split}_list.txt",
            "".join(f"{names[line['index']]}\n" for line in in_split(lines, split)),
        )
        for split in _SPLITS
    ]
    return [
        write_text(directory / "AllVideoDescriptions.txt", said),
        write_text(directory / "youtube_mapping.txt", mapping),
        pickled,
        *lists,
    ]


write_msvd = DatasetWriter(
    layout=Layout(splits=_SPLITS, video="videos/vid{index}.avi", captions=40, mix=_MIX),
    shares=_SHARES,
    annotate=_annotate_msvd,
)
"""Write a video-text dataset in the files of MSVD.

`AllVideoDescriptions.txt` has lines `clip sentence` and `raw-captions.pkl` the same as a dict of
lists of words; `{train,val,test}_list.txt` list the clips of a split and `youtube_mapping.txt`
tells that the video of a clip is `videos/vid7.avi`.
"""
