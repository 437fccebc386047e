"""What a process does for a step: paint, train, measure. It returns the numbers of the step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from internvideo.data.clip_file import ClipFile, DecodedClip, write_clips
from internvideo.pipeline import VideoModel, load
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task
from internvideo.recipe.run import run_recipe
from internvideo.reproduce.downstream import TASKS, encode, scenes
from internvideo.reproduce.measures import (
    LinearProbe,
    action_scores,
    labels_of,
    outputs,
    percent,
    settle_batch_norm,
    summary,
)
from internvideo.reproduce.people import cut_people
from internvideo.tasks.zero_shot.classifier import ZeroShotClassifier
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.world import COLORS, CaptionMix, Encoding, World, action_prompts, color_prompts

__all__ = ["WORKS"]

_PROTOCOL = PRESETS["nano"]
_SETTLING = 300  # clips by which an untrained network gets the statistics of its norms
_COLORS = tuple(COLORS)
_TOWERS = ("masked", "multimodal")


def paint(directory: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Paint the clips of worlds at the size of the encoders, a file for each part."""
    mix = CaptionMix(**options["captions"])
    for part, about in options["parts"].items():
        path = directory / f"{part}.safetensors"
        if path.exists():
            continue
        actions = about.get("actions")
        world = World(
            seed=about["world"],
            actions=None if actions is None else tuple(actions),
            num_events=about.get("num_events", 1),
        )
        clips = (
            DecodedClip(
                frames=_PROTOCOL.resize(torch.from_numpy(clip.frames)),
                key=f"world-{world.seed}-{number}",
                label=world.label_of(clip.truth),
                captions=world.captions(clip.truth, options["captions_per_clip"], mix),
            )
            for number in range(about["num_clips"])
            for clip in [world[number]]
        )
        write_clips(path, clips, class_names=world.class_names, fps=float(Encoding().fps))
    return {}


def cut(directory: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Cut real videos into clips at the size of the encoders."""
    cut_people(directory, options, _PROTOCOL)
    return {}


def train(directory: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Carry out a recipe with other numbers, as `internvideo train` does."""
    overrides = [f"{key}={json.dumps(value)}" for key, value in options["overrides"].items()]
    run_recipe(load_recipe(options["recipe"], overrides), directory)
    return {}


def recognise(directory: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Train a classifier, and measure it on other clips."""
    train(directory, options)
    test = ClipFile(Path(options["test"]))
    model = _load(directory / "model")
    logits = outputs(model.model, test, model.preprocessing)
    return action_scores(logits, labels_of(test), test.class_names or ())


def zero_shot(_: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Ask a two-tower model, and its untrained twin, with sentences held out of its captions."""
    test, train = (ClipFile(Path(options[part])) for part in ("test", "train"))
    trained = _load(Path(options["model"]))
    recipe = load_recipe(Path(options["model"]) / "recipe.yaml")
    torch.manual_seed(options["seed"])
    untrained: Any = build_task(recipe, with_weights=False).model
    batch = _PROTOCOL.normalize(train.all_frames()[:_SETTLING])
    texts = [train.captions(number)[0] for number in range(len(batch))]
    ids = untrained.tokenizer(texts)
    settle_batch_norm(untrained, lambda: untrained(batch, ids))
    numbers: dict[str, float] = {}
    for prefix, model in (("", trained.model), ("untrained ", untrained)):
        for what, found in _asked(model, trained.preprocessing, test).items():
            numbers[prefix + what] = found
    return numbers


def _asked(model: Any, protocol: Preprocessing, test: ClipFile) -> dict[str, float]:
    """Return how well a model knows actions and colours by sentences."""
    actions = ZeroShotClassifier(
        model, protocol, {name: action_prompts(name) for name in test.class_names or ()}
    )
    colors = ZeroShotClassifier(model, protocol, {name: color_prompts(name) for name in _COLORS})
    found = action_scores(outputs(actions.scores, test, protocol), labels_of(test))
    named, truth = outputs(colors.scores, test, protocol), _colors(test)
    found["colour"] = percent(named[truth >= 0].argmax(dim=1) == truth[truth >= 0])
    return found


def probes(_: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Fit linear classifiers of actions and of colours on the features of frozen encoders."""
    train = ClipFile(Path(options["train"]), num_clips=options["num_train"])
    test = ClipFile(Path(options["test"]))
    encoders = {name: _load(Path(path)).model for name, path in options["models"].items()}
    torch.manual_seed(options["seed"])
    recipe = load_recipe(Path(options["models"]["masked"]) / "recipe.yaml")
    blank: Any = build_task(recipe, with_weights=False).model
    batch = _PROTOCOL.normalize(train.all_frames()[:_SETTLING])
    settle_batch_norm(blank, lambda: blank.forward_features(batch))
    numbers: dict[str, float] = {}
    colors, truth = _colors(train), _colors(test)
    for name, encoder in {**encoders, "random": blank}.items():
        known, unseen = (_features(encoder, clips) for clips in (train, test))
        scores = LinearProbe(known, labels_of(train))(unseen)
        for what, found in action_scores(scores, labels_of(test)).items():
            numbers[f"{name} {what}"] = found
        lone, asked = colors >= 0, truth >= 0
        said = LinearProbe(known[lone], colors[lone])(unseen[asked])
        numbers[f"{name} colour"] = percent(said.argmax(dim=1) == truth[asked])
    return numbers


def _features(encoder: nn.Module, clips: ClipFile) -> torch.Tensor:
    forward: Any = encoder.eval().forward_features
    return outputs(lambda video: summary(forward(video)), clips, _PROTOCOL)


def _colors(clips: ClipFile) -> torch.Tensor:
    """Return the colour of the object of each clip, -1 where it is not alone."""
    return torch.tensor(
        [
            _COLORS.index(scene.actors[0].color) if len(scene.actors) == 1 else -1
            for scene in scenes(clips)
        ]
    )


def interact(directory: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Train the interaction of two classifiers; measure it, each alone, and their averages."""
    train(directory, options)
    test = ClipFile(Path(options["test"]))
    labels, names = labels_of(test), test.class_names or ()
    alone = [_load(Path(options["overrides"][f"task.{tower}"])) for tower in _TOWERS]
    first, second = (outputs(each.model, test, each.preprocessing) for each in alone)
    together = _load(directory)
    scores = {
        "masked": first,
        "multimodal": second,
        "average of logits": (first + second) / 2,
        "average of probabilities": first.softmax(dim=1) + second.softmax(dim=1),
        "interaction": outputs(together.model, test, together.preprocessing),
    }
    return {
        f"{name} {what}": found
        for name, each in scores.items()
        for what, found in action_scores(each, labels, names).items()
    }


def downstream(_: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Solve other tasks by small heads on frozen features of each encoder."""
    models = {name: _load(Path(path)) for name, path in options["models"].items()}
    seen = {name: [(each.model.eval(), each.preprocessing)] for name, each in models.items()}
    seen["both"] = [pair for name in _TOWERS for pair in seen[name]]
    numbers: dict[str, float] = {}
    for name, encoders in seen.items():
        parts = {
            part: encode(
                ClipFile(Path(about["file"]), start=about["start"], num_clips=about["num_clips"]),
                encoders,
                num_events=about["num_events"],
            )
            for part, about in options["parts"].items()
        }
        for task, measure in TASKS.items():
            torch.manual_seed(options["seed"])
            prefix = "two-" if task == "localisation" else ""
            found = measure(parts[f"{prefix}train"], parts[f"{prefix}test"])
            numbers[f"{name} {task}"] = found
    return numbers


def _load(directory: Path) -> VideoModel:
    place = directory if directory.name == "model" else directory / "model"
    return load(place, device="cpu")


WORKS: dict[str, Callable[[Path, Mapping[str, Any]], dict[str, float]]] = {
    "paint": paint,
    "cut": cut,
    "train": train,
    "recognise": recognise,
    "zero-shot": zero_shot,
    "probes": probes,
    "interact": interact,
    "downstream": downstream,
}
"""What a step can do: its directory and options → its numbers."""
