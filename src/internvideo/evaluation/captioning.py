"""Measure a model that writes captions on videos whose captions are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from internvideo.data.build import ListKind, open_list
from internvideo.data.samples import EvaluationSource
from internvideo.data.world import EVALUATION_SEED, WorldSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.engine import Line, answer_videos
from internvideo.evaluation.running import running, write_report
from internvideo.formats.detect import detect_kind
from internvideo.models.tokenizer import clean_caption
from internvideo.pipeline import VideoModel
from internvideo.tasks.captioning.predict import Captioner, CaptionStyle, captioner
from internvideo.tasks.captioning.report import CaptionedVideo, CaptioningReport, Fact
from internvideo.video import Preprocessing
from internvideo.video.windows import window_protocol
from internvideo.world import Scene, World, action_named, plain_caption
from internvideo.zoo.fingerprint import weights_sha256

__all__ = ["CaptionedVideos", "captioned_videos", "captioned_world", "measure_captioning"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedVideos:
    """Videos, and what is true of them.

    Attributes:
        source: the videos.
        references: the true captions of video `i`.
        facts: what else is known of video `i`, see `results.captioning.Fact`.
        name: of the data, for the report.
    """

    source: EvaluationSource
    references: Callable[[int], tuple[str, ...]]
    facts: Callable[[int], tuple[Fact, ...]] = lambda index: ()
    name: str = ""


def captioned_videos(
    data: Path,
    *,
    protocol: Preprocessing,
    kind: ListKind | None = None,
    root: str | Path | None = None,
    split: str | None = None,
) -> CaptionedVideos:
    """Return the videos of a list of captions.

    Args:
        data: the list.
        protocol: the input protocol of the model.
        kind: format of the list; None tells it from the content.
        root: folder of the videos; by default that of the list.
        split: for lists of several.

    Raises:
        DataError: the list cannot be used, or a video has no caption.
    """
    source = open_list(kind or detect_kind(data), data, protocol=protocol, root=root, split=split)
    clips = source.clips
    bare = next((entry for entry in clips if not any(entry.captions)), None)
    if bare is not None:
        raise DataError(
            f"{data}:{bare.line}: {bare.key} has no caption to compare with; give a list of "
            "captions, such as MSR-VTT's json or a csv with the columns video,caption"
        )
    return CaptionedVideos(
        source=source, references=lambda index: clips[index].captions, name=str(data)
    )


def captioned_world(num_clips: int = 600, *, seed: int = EVALUATION_SEED) -> CaptionedVideos:
    """Return clips of the procedural world; what is true of them is their plain caption.

    Raises:
        ConfigError: fewer than one clip.
    """
    if num_clips < 1:
        raise ConfigError(f"num_clips must be at least 1, got {num_clips}")
    world = World(seed=seed)
    return CaptionedVideos(
        source=WorldSource(world, num_clips=num_clips),
        references=lambda index: (plain_caption(world.scene(index)),),
        facts=lambda index: _facts(world.scene(index)),
        name=f"{num_clips} clips of the world, seed {seed}",
    )


def _facts(scene: Scene) -> tuple[Fact, ...]:
    actions = [Fact("action", tuple(action_named(e.action).phrases)) for e in scene.events]
    acting = [actor for event in scene.events for actor in scene.actors_of(event)]
    colors = [Fact("colour", (actor.color,)) for actor in acting]
    return (*actions, *colors, *(Fact("object", (actor.name,)) for actor in acting))


def measure_captioning(
    model: VideoModel,
    videos: CaptionedVideos,
    *,
    style: CaptionStyle | None = None,
    name: str | None = None,
    batch_size: int = 16,
    num_workers: int = 2,
    directory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CaptioningReport:
    """Measure how near the captions of a model are to the true ones, all in lower case.

    Args:
        model: with a caption decoder, and with the protocol to use; of its views one clip and the
            central crop are looked at.
        videos: from `captioned_videos` or `captioned_world`.
        style: how the words are chosen; greedily by default.
        name: of the weights, for the report; by default that of the model.
        batch_size: clips that go through the model together.
        num_workers: videos that are decoded at once.
        directory: takes `predictions.jsonl` while it runs, from which it goes on after a stop, and
            `report.json` in the end.
        progress: called with (videos done, videos in all).

    Raises:
        ConfigError: no caption decoder, or `directory` holds another evaluation.
        DataError: not one video can be read.
    """
    style = style or CaptionStyle()
    protocol = window_protocol(model.preprocessing)
    how = running(
        model, directory, batch_size=batch_size, num_workers=num_workers, progress=progress
    )
    notebook = _Notebook(captioner(model.model, model.name), style, videos.source)
    lines = answer_videos(
        model.model,
        notebook.write,
        notebook.line,
        videos.source,
        protocol,
        evaluation=_identity(model, videos, protocol, style) if directory is not None else {},
        running=how,
    )
    report = _report(lines, videos)
    named = CaptioningReport(
        videos=report.videos,
        failures=report.failures,
        protocol=f"{protocol.describe()}, {style.describe()}",
        model=name or model.name,
        data=videos.name,
    )
    write_report(named, directory, how.fabric)
    return named


class _Notebook:
    """Keeps the captions of a batch, and hands out their numbers as the rows of the answers."""

    def __init__(self, writer: Captioner, style: CaptionStyle, source: EvaluationSource) -> None:
        self.writer = writer
        self.style = style
        self.source = source
        self.captions: list[str] = []

    def write(self, clips: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b 1"]:
        first = len(self.captions)
        self.captions += self.writer.write(clips, self.style)
        return torch.arange(first, len(self.captions), dtype=torch.float64)[:, None]

    def line(self, index: int, rows: Float[Tensor, "1 1"]) -> Line:
        caption = self.captions[int(rows[0, 0])]
        return {"index": index, "video": self.source.key(index), "caption": caption}


def _identity(
    model: VideoModel, videos: CaptionedVideos, protocol: Preprocessing, style: CaptionStyle
) -> dict[str, Any]:
    return {
        "protocol": protocol.to_dict(),
        "style": asdict(style),
        "weights": weights_sha256(model.model),
        "num_videos": len(videos.source),
        "first_video": videos.source.key(0),
    }


def _report(lines: list[Line], videos: CaptionedVideos) -> CaptioningReport:
    failures = tuple((line["video"], line["error"]) for line in lines if "error" in line)
    written = [line for line in lines if "error" not in line]
    if not written:
        reason = f": {failures[0][1]}" if failures else ""
        raise DataError(f"no video of {videos.name} could be read{reason}")
    return CaptioningReport(
        videos=tuple(
            CaptionedVideo(
                video=line["video"],
                caption=clean_caption(line["caption"]),
                references=tuple(map(clean_caption, videos.references(line["index"]))),
                facts=videos.facts(line["index"]),
            )
            for line in written
        ),
        failures=failures,
    )
