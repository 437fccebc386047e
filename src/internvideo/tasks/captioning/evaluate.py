"""Measure a model that writes captions on videos whose captions are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from internvideo.data.clips import VideoListSource
from internvideo.data.samples import EvaluationSource
from internvideo.errors import DataError
from internvideo.evaluation.data import AnnotatedData, open_videos
from internvideo.evaluation.engine import EvalLoop
from internvideo.evaluation.report import failures_of
from internvideo.models.tokenizer import clean_caption
from internvideo.tasks.captioning.predict import CaptionStyle, CaptionWriter
from internvideo.tasks.captioning.report import CaptionedVideo, CaptioningReport, Fact
from internvideo.tasks.task import Option
from internvideo.video.preprocessing import Preprocessing
from internvideo.world import Scene, action_named, plain_caption
from internvideo.zoo.hub import LoadedModel

__all__ = ["CaptionedVideos", "evaluate", "open_captioned"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedVideos:
    """Videos, and the truth about them.

    Attributes:
        source: the videos.
        references: the true captions of video `i`.
        facts: what else is known of video `i`, see `Fact`.
    """

    source: EvaluationSource
    references: Callable[[int], tuple[str, ...]]
    facts: Callable[[int], tuple[Fact, ...]] = lambda index: ()


def open_captioned(data: AnnotatedData, protocol: Preprocessing) -> CaptionedVideos:
    """Return the videos of a list of captions, or of the world with their plain captions.

    Raises:
        DataError: the list cannot be used, or a video has no caption.
    """
    if data.is_world:
        source = data.world_source()
        scene = source.world.scene
        return CaptionedVideos(
            source=source,
            references=lambda index: (plain_caption(scene(index)),),
            facts=lambda index: _facts(scene(index)),
        )
    opened = open_videos(data, protocol)
    assert isinstance(opened, VideoListSource)
    clips = opened.clips
    bare = next((entry for entry in clips if not any(entry.captions)), None)
    if bare is not None:
        raise DataError(
            f"{data.path}:{bare.line}: {bare.key} has no caption to compare with; give a list of "
            "captions, such as MSR-VTT's json or a csv with the columns video,caption"
        )
    return CaptionedVideos(source=opened, references=lambda index: clips[index].captions)


def _facts(scene: Scene) -> tuple[Fact, ...]:
    actions = [Fact("action", tuple(action_named(e.action).phrases)) for e in scene.events]
    acting = [actor for event in scene.events for actor in scene.actors_of(event)]
    colors = [Fact("colour", (actor.color,)) for actor in acting]
    return (*actions, *colors, *(Fact("object", (actor.name,)) for actor in acting))


class _Captions(CaptionWriter):
    """A caption writer whose captions are kept in the file of an evaluation."""

    def to_json(self, answer: str) -> dict[str, Any]:
        return {"caption": answer}

    def from_json(self, line: dict[str, Any]) -> str:
        return line["caption"]

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "style": asdict(self.style)}


def evaluate(
    model: LoadedModel,
    videos: CaptionedVideos,
    *,
    loop: EvalLoop,
    num_beams: Annotated[
        int, Option("Sentences that are followed at once; 1 is greedy.", minimum=1)
    ] = 1,
    style: CaptionStyle | None = None,  # in place of num_beams
) -> CaptioningReport:
    """Measure how near the captions that a model writes are to the true ones.

    Exact match and CIDEr-D, after lower-casing and without punctuation.

    Raises:
        ConfigError: no caption decoder, or the folder belongs to another evaluation.
        DataError: no video can be read.
    """
    strategy = "beam" if num_beams > 1 else "greedy"
    writer = _Captions(model, style or CaptionStyle(strategy=strategy, num_beams=num_beams))
    answered = loop.run(writer, videos.source)
    failures = failures_of(answered)
    if len(failures) == len(answered):
        raise DataError(f"no video could be read: {failures[0][1]}")
    return CaptioningReport(
        videos=tuple(
            CaptionedVideo(
                video=each.video,
                caption=clean_caption(each.answer),
                references=tuple(map(clean_caption, videos.references(each.index))),
                facts=videos.facts(each.index),
            )
            for each in answered
            if each.answer is not None
        ),
        failures=failures,
        protocol=writer.describe(),
        model=model.name,
    )
