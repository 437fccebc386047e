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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import internvideo
from internvideo.data import write_world
from internvideo.data.world import EVALUATION_SEED
from internvideo.demo.page import PageContent, ShownVideo, render_page
from internvideo.demo.pictures import filmstrip, strip_indices
from internvideo.demo.recognition import Recognition, draw_reconstruction, recognize_clips
from internvideo.demo.report import WorldReport
from internvideo.demo.world_report import world_report, written_clips
from internvideo.errors import ConfigError, VideoError
from internvideo.evaluation.videos import ask_videos
from internvideo.models.tokenizer import WordTokenizer
from internvideo.models.viclip import ViCLIP
from internvideo.pipeline import VideoModel, load
from internvideo.tasks.zero_shot.classifier import ZeroShotClassifier
from internvideo.video import Video
from internvideo.video.opening import expand_videos
from internvideo.world import ACTIONS, World, action_named, action_prompts

__all__ = ["DemoResult", "default_labels", "run_demo"]

_SHOWN_CLIPS = 12
_CLASSIFIER, _AUTOENCODER = "videomae-nano", "videomae-nano-pretrain"


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """What a demonstration left behind.

    Attributes:
        page: the HTML file.
        numbers: the JSON file.
        report: the numbers.
        num_videos: how many videos the user's files and folders stand for.
        failures: (video, reason) of those that could not be used.
    """

    page: Path
    numbers: Path
    report: WorldReport
    num_videos: int
    failures: tuple[tuple[str, str], ...]


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def run_demo(
    out: str | Path,
    source: str | Path = "viclip-nano",
    *,
    videos: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    num_clips: int = 600,
    device: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> DemoResult:
    """Measure a text model on unseen world clips, look at videos, and write a page about it.

    Args:
        out: folder for `index.html`, `report.json` and the clips.
        source: the model, see `load`.
        videos: the user's own files, folders and URLs.
        labels: sentences for these; by default one for each action of the world.
        num_clips: world clips to measure on.
        device: see `load`.
        progress: called with (what is being done, clips done, clips in all).

    Raises:
        ConfigError: the model has no text tower.
    """
    out, clock = Path(out), _Clock()
    with clock.stage("loading the model"):
        model = load(source, device=device)
    if not isinstance(model.model, ViCLIP):
        raise ConfigError(f"the demo needs a model with a text tower; {model.name} has none")
    world = World(seed=EVALUATION_SEED)
    with clock.stage("painting and encoding the clips"):
        written = write_world(
            out / "world",
            num_clips,
            world=world,
            splits=(0.0, 0.0, 1.0),
            workers=_cores(),
            progress=progress and partial(progress, "painting clips"),
        )
    with clock.stage("decoding and classifying them, with the control"):
        report = world_report(
            model,
            num_clips,
            seed=world.seed,
            clips=written_clips(world, written.videos, threads=_cores()),
            source="decoded from mp4",
            progress=progress and partial(progress, "classifying them"),
        )
    with clock.stage("asking the classifier, with its control"):
        recognition = _recognition(out, world, written.videos, device=device)
    with clock.stage("looking closer at some clips and at your videos"):
        clips = _show_clips(model, world, written.videos)
        shown, failures = _show_videos(model, videos, labels or default_labels())
    content = PageContent(
        model=model.name,
        about=_about(model),
        protocol=model.preprocessing.describe(),
        report=report,
        clips=clips,
        videos=shown,
        failures=failures,
        machine=_machine(model),
        seconds=clock.seconds,
        command=_command(out, source, videos, labels, num_clips),
        recognition=recognition,
    )
    page, numbers = out / "index.html", out / "report.json"
    _write(page, render_page(content))
    _write(numbers, json.dumps(_numbers(content), indent=2, ensure_ascii=False) + "\n")
    return DemoResult(
        page=page,
        numbers=numbers,
        report=report,
        num_videos=len(shown) + len(failures),
        failures=tuple(failures),
    )


def default_labels() -> list[str]:
    """Return one sentence for each action of the world."""
    subjects = {1: "something", 2: "two objects"}
    entries = [action_named(action) for action in ACTIONS]
    return [f"{subjects[entry.num_actors]} {entry.phrases[0]}" for entry in entries]


def _cores() -> int:
    return os.cpu_count() or 1


def _show_clips(model: VideoModel, world: World, paths: Sequence[Path]) -> list[ShownVideo]:
    """Classify the first clip of each of several actions, spread over the list of actions."""
    first: dict[str, int] = {}
    for number in range(len(paths)):
        first.setdefault(world.scene(number).action, number)
    present = [action for action in ACTIONS if action in first]
    chosen = [present[place] for place in strip_indices(len(present), _SHOWN_CLIPS)]
    prompts = {action: tuple(action_prompts(action)) for action in ACTIONS}
    assert isinstance(model.model, ViCLIP)
    zero_shot = ZeroShotClassifier(model.model, model.preprocessing, prompts, name=model.name)
    shown = []
    answers = ask_videos(zero_shot, [paths[first[action]] for action in chosen])
    for action, (_, answer) in zip(chosen, answers, strict=True):
        if isinstance(answer, VideoError):
            raise answer
        scene = world.scene(first[action])
        described = " and ".join(f"{a.texture} {a.color} {a.name}" for a in scene.actors)
        with Video(paths[first[action]]) as video:
            shown.append(
                ShownVideo(
                    title=described,
                    strip=filmstrip(video.frames(strip_indices(video.num_frames))),
                    answer=answer,
                    truth=action,
                    facts=f"clip {scene.index} on a {scene.background.kind} background",
                )
            )
    return shown


def _show_videos(
    model: VideoModel, sources: Sequence[str], labels: Sequence[str]
) -> tuple[list[ShownVideo], list[tuple[str, str]]]:
    """Classify the user's videos; return them, and (video, reason) of those that cannot be read."""
    paths, failures = expand_videos(sources)
    shown = []
    for path, answer in zip(paths, model.classify_many(paths, labels), strict=True):
        try:
            if isinstance(answer, VideoError):
                raise answer
            with Video(path) as video:
                frames = video.frames(strip_indices(video.num_frames, 6))
                facts = (
                    f"{video.duration:.1f} s, {video.width}x{video.height}, {video.fps:.3g} fps, "
                    f"{video.codec}"
                )
        except VideoError as error:
            failures.append((path, str(error)))
            continue
        shown.append(
            ShownVideo(
                title=Path(path).name or path, strip=filmstrip(frames), answer=answer, facts=facts
            )
        )
    return shown, failures


def _recognition(out: Path, world: World, paths: Sequence[Path], *, device: str) -> Recognition:
    """Ask the embedded classifier about the same clips, and its pretrained half about one."""
    clips = written_clips(world, paths, threads=_cores())
    recognition = recognize_clips(load(_CLASSIFIER, device=device), clips)
    moves = (path for n, path in enumerate(paths) if world.scene(n).action.startswith("move"))
    picture = draw_reconstruction(
        load(_AUTOENCODER, device=device), next(moves, paths[0]), out / "reconstruction.png"
    )
    return dataclasses.replace(recognition, reconstruction=picture)


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
    source: str | Path,
    videos: Sequence[str],
    labels: Sequence[str] | None,
    num_clips: int,
) -> str:
    words = ["internvideo", "demo", "--out", str(out), "--model", str(source)]
    words += ["--num-clips", str(num_clips)]
    for flag, values in (("--video", videos), ("--labels", labels or ())):
        for value in values:
            words += [flag, value]
    return shlex.join(words)


def _numbers(content: PageContent) -> dict[str, Any]:
    return {
        "model": content.model,
        "protocol": content.protocol,
        "machine": content.machine,
        "command": content.command,
        "seconds": {name: round(value, 3) for name, value in content.seconds.items()},
        "world": content.report.to_dict(),
        "recognition": content.recognition and content.recognition.to_dict(),
        "clips": [{"truth": clip.truth, **clip.answer.to_dict()} for clip in content.clips],
        "videos": [video.answer.to_dict() for video in content.videos],
        "failures": [{"video": name, "error": reason} for name, reason in content.failures],
    }


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
