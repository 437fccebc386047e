"""Running the demonstration from the clips to the page."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

import internvideo
from internvideo.data import write_world
from internvideo.data.world import EVALUATION_SEED
from internvideo.demo.asking import ClassScores, SentenceScores, ask_clips
from internvideo.demo.page import PageContent, ShownVideo, render_page
from internvideo.demo.pictures import filmstrip, moving, strip_indices
from internvideo.demo.recognition import Recognition, draw_reconstruction, label_efficiency
from internvideo.demo.report import WorldReport, world_report
from internvideo.errors import VideoError
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.engine import Answerer, Seen, Unreadable, answers
from internvideo.files import write_whole
from internvideo.models.tokenizer import WordTokenizer
from internvideo.pipeline import VideoModel, load
from internvideo.pipeline.auto import what_it_never_saw
from internvideo.tasks.captioning.captions import VideoCaptions
from internvideo.video import Video
from internvideo.video.opening import expand_videos
from internvideo.world import ACTIONS, Encoding, World, action_named

__all__ = ["default_labels", "run_demo"]

_SHOWN_CLIPS = 12
_ASKING = "decoding and classifying them, with the controls"
_TWO_TOWERS, _CLASSIFIER, _AUTOENCODER = "viclip-nano", "videomae-nano", "videomae-nano-pretrain"
_CAPTIONER = "mm-nano"
_MISTAKES = 4
_MOVING_FRAMES, _MOVING_SECONDS = 24, 3.0
_SUBJECTS = (
    "an animal",
    "a person talking to the camera",
    "people playing sports",
    "food and cooking",
    "cars and traffic",
    "buildings and streets",
    "nature and landscape",
    "machines and technology",
    "a room with furniture",
    "a screen with text",
)


def run_demo(
    out: str | Path,
    source: str | Path | None = None,
    *,
    videos: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    num_clips: int = 600,
    device: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> PageContent:
    """Measure a text model on unseen world clips, look at videos, and write a page about it.

    Args:
        out: folder for `index.html`, `report.json` and the clips.
        source: the model, see `load`; by default viclip-nano is measured, and the user's videos are
            shown to the best model that this machine has (`load("auto")`).
        videos: the user's own files, folders and URLs.
        labels: sentences for these; by default everyday subjects, or the actions of the world for
            a model that knows no other words.
        num_clips: world clips to measure on.
        device: see `load`.
        progress: called with (what is being done, clips done, clips in all).

    Returns:
        What the page shows.

    Raises:
        ConfigError: the model has no text tower, or none on this machine knows the words of the
            labels.
    """
    out, world = Path(out), World(seed=EVALUATION_SEED)
    seconds: dict[str, float] = {}
    with _timed("loading the models", seconds):
        model = load(_TWO_TOWERS if source is None else source, device=device)
        classifier = load(_CLASSIFIER, device=device)
        asked = SentenceScores(model), ClassScores(classifier)
        seer = load("auto", device=device) if videos and source is None else model
        namer = seer.labelling(labels or default_labels(seer)) if videos else None
    with _timed("painting and encoding the clips", seconds):
        written = write_world(
            out / "world",
            num_clips,
            world=world,
            splits=(0.0, 0.0, 1.0),
            workers=_cores(),
            progress=progress and partial(progress, "painting clips"),
        )
    clips = _Clips(world, written.videos)
    with _timed(_ASKING, seconds):
        scores = ask_clips(
            asked,
            world,
            num_clips,
            clips.read,
            progress=progress and partial(progress, "classifying them"),
        )
    report, recognized = (
        dataclasses.replace(
            world_report(each, world),
            model=model_asked.name,
            protocol=model_asked.protocol.describe(),
            source="decoded from mp4",
            seconds=seconds[_ASKING],
        )
        for model_asked, each in zip(asked, scores, strict=True)
    )
    with _timed("looking closer at some clips and at your videos", seconds):
        captioner = load(_CAPTIONER, device=device)
        wrong = _surest_mistakes(report, asked[0], scores[0][:, 0])
        shown_clips, mistakes = (
            [
                clips.show(number, asked[0].classification(clips.paths[number].name, row), words)
                for number, row, words in zip(
                    numbers, scores[0][numbers, 0], clips.captions(captioner, numbers), strict=True
                )
            ]
            for numbers in (clips.shown, wrong)
        )
        autoencoder = load(_AUTOENCODER, device=device)
        picture = draw_reconstruction(autoencoder, clips.moving, out / "reconstruction.png")
        shown, failures = _show_videos(namer, videos) if namer else ([], [])
    content = PageContent(
        about=_about(model),
        report=report,
        clips=shown_clips,
        mistakes=mistakes,
        captioner=captioner.name,
        videos=shown,
        caution=what_it_never_saw(seer.loaded, (each.answer.video for each in shown)),
        failures=failures,
        machine=_machine(model),
        seconds=seconds,
        command=_command(out, source, videos, labels, num_clips),
        recognition=Recognition(
            report=recognized,
            about=classifier.card.description if classifier.card else "",
            efficiency=label_efficiency(classifier),
            reconstruction=picture,
        ),
    )
    write_whole(out / "index.html", render_page(content))
    write_whole(
        out / "report.json", json.dumps(_numbers(content), indent=2, ensure_ascii=False) + "\n"
    )
    return content


def default_labels(model: VideoModel) -> list[str]:
    """Return everyday subjects; for a model of few words, the actions of the world."""
    if not isinstance(model.tokenizer, WordTokenizer):
        return list(_SUBJECTS)
    subjects = {1: "something", 2: "two objects"}
    entries = [action_named(action) for action in ACTIONS]
    return [f"{subjects[entry.num_actors]} {entry.phrases[0]}" for entry in entries]


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began


def _cores() -> int:
    return os.cpu_count() or 1


class _Clips:
    """The clips as files; keeps the frames of those that the page shows.

    Args:
        world: knows the truth.
        paths: of clip 0, 1, ….
    """

    def __init__(self, world: World, paths: Sequence[Path]) -> None:
        self.world = world
        self.paths = paths
        first: dict[str, int] = {}
        for number in range(len(paths)):
            first.setdefault(world.scene(number).action, number)
        present = [first[action] for action in ACTIONS if action in first]
        self.shown = [present[place] for place in strip_indices(len(present), _SHOWN_CLIPS)]
        moves = (number for action, number in first.items() if action.startswith("move"))
        self._moving = min(moves, default=0)
        self._frames: dict[int, UInt8[Tensor, "t h w c"]] = {}

    def captions(self, captioner: VideoModel, numbers: Sequence[int]) -> list[str]:
        """Return what a captioner writes about clips."""
        found = captioner.caption_many([self.paths[number] for number in numbers])
        return [each.text if isinstance(each, VideoCaptions) else "" for each in found]

    def read(self, number: int) -> UInt8[Tensor, "t h w c"]:
        with Video(self.paths[number]) as video:
            frames = video.frames(range(video.num_frames))
        if number in self.shown or number == self._moving:
            self._frames[number] = frames
        return frames

    @property
    def moving(self) -> UInt8[Tensor, "t h w c"]:
        """The first clip in which something moves."""
        return self._frames[self._moving]

    def show(self, number: int, answer: Classification, caption: str) -> ShownVideo:
        scene = self.world.scene(number)
        frames = self._frames[number] if number in self._frames else self.read(number)
        return ShownVideo(
            title=" and ".join(f"{a.texture} {a.color} {a.name}" for a in scene.actors),
            strip=filmstrip(frames[strip_indices(len(frames))]),
            moving=moving(frames, seconds=len(frames) / Encoding().fps),
            caption=caption,
            answer=answer,
            truth=scene.action,
            facts=f"clip {scene.index} on a {scene.background.kind} background",
        )


def _show_videos(
    namer: Answerer[Classification], sources: Sequence[str]
) -> tuple[list[ShownVideo], list[tuple[str, str]]]:
    """Classify the user's videos; return them, and (video, reason) of those that cannot be read."""
    paths, failures = expand_videos(sources)
    looks: dict[str, dict[str, str]] = {}

    def read(path: str) -> Seen | Unreadable:
        try:
            with Video(path) as video:
                views = namer.protocol.load(video)
                strip = filmstrip(video.frames(strip_indices(video.num_frames, 6)))
                preview = moving(
                    video.frames(strip_indices(video.num_frames, _MOVING_FRAMES)),
                    seconds=min(video.duration, _MOVING_SECONDS),
                )
                facts = (
                    f"{video.duration:.1f} s, {video.width}x{video.height}, {video.fps:.3g} fps, "
                    f"{video.codec}"
                )
        except VideoError as error:
            return Unreadable(path, error)
        looks[path] = {"strip": strip, "moving": preview, "facts": facts}
        return Seen(path, views)

    shown = []
    for video, answer in answers(namer, paths, read):
        if isinstance(answer, VideoError):
            failures.append((video.name, str(answer)))
            continue
        title = Path(video.name).name or video.name
        shown.append(ShownVideo(title=title, answer=answer, **looks[video.name]))
    return shown, failures


def _surest_mistakes(
    report: WorldReport, asked: SentenceScores, actions: Float[Tensor, "n k"]
) -> list[int]:
    """Return clips that are named wrong with the highest probability, each of another action."""
    wrong = [each for each in report.predictions if each.rank]
    sure = {
        each.index: float(asked.classification("", actions[each.index]).probabilities[0])
        for each in wrong
    }
    surest: dict[int, int] = {}
    for each in sorted(wrong, key=lambda each: -sure[each.index]):
        surest.setdefault(each.label, each.index)
    return list(surest.values())[:_MISTAKES]


def _about(model: VideoModel) -> str:
    """Return what the model is, in words of one who has never heard of it."""
    millions = sum(parameter.numel() for parameter in model.model.parameters()) / 1e6
    text = (
        f"Two networks, one for videos and one for text, with {millions:.1f} million weights "
        "together. They tell which of several sentences fits a video best, and never saw a class "
        "label."
    )
    if isinstance(model.tokenizer, WordTokenizer):
        text += (
            f" This model knows {len(model.tokenizer.vocabulary)} words, those of a procedural "
            "world of moving shapes, and has never seen a real video: what it says about yours is "
            "a guess."
        )
    return text


def _machine(model: VideoModel) -> str:
    return (
        f"{_cores()} {platform.machine()} cores, device {model.device}, "
        f"torch {torch.__version__}, internvideo {internvideo.__version__}"
    )


def _command(
    out: Path,
    source: str | Path | None,
    videos: Sequence[str],
    labels: Sequence[str] | None,
    num_clips: int,
) -> str:
    words = ["internvideo", "demo", "--out", str(out)]
    words += [] if source is None else ["--model", str(source)]
    words += ["--num-clips", str(num_clips)]
    for flag, values in (("--video", videos), ("--labels", labels or ())):
        for value in values:
            words += [flag, value]
    return shlex.join(words)


def _numbers(content: PageContent) -> dict[str, Any]:
    return {
        "model": content.report.model,
        "protocol": content.report.protocol,
        "machine": content.machine,
        "command": content.command,
        "seconds": {name: round(value, 3) for name, value in content.seconds.items()},
        "world": content.report.numbers(),
        "recognition": content.recognition and content.recognition.to_dict(),
        "clips": [{"truth": clip.truth, **clip.answer.to_dict()} for clip in content.clips],
        "mistakes": [clip.answer.video for clip in content.mistakes],
        "videos": [video.answer.to_dict() for video in content.videos],
        "failures": [{"video": name, "error": reason} for name, reason in content.failures],
    }
