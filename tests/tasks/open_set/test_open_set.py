"""Training, thresholds, evaluation and answers, end to end on clips of the world."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from internvideo.data.world import WorldSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.data import AnnotatedData
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.pipeline import VideoModel, load
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task
from internvideo.recipe.run import run_recipe
from internvideo.tasks.open_set.evaluate import evaluate
from internvideo.tasks.open_set.judging import Judged
from internvideo.tasks.open_set.report import OpenSetReport
from internvideo.video.preprocessing import PRESETS
from internvideo.world import (
    ACTIONS,
    HELD_OUT_ACTIONS,
    HELD_OUT_SHAPES,
    Encoding,
    World,
    reversal_of,
    write_mp4,
)
from internvideo.zoo.hub import LoadedModel, Record

SMALL = (
    "init=null", "task.freeze_encoder=false", "model.width=16", "model.depth=1",
    "model.num_heads=2", "data.num_clips=24", "evaluation.data.num_clips=8",
    "runtime.batch_size=8", "runtime.num_workers=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> VideoModel:
    """A model after three steps: it knows nothing, but has a threshold."""
    directory = tmp_path_factory.mktemp("run")
    run_recipe(load_recipe("world_videomae-nano_edl", SMALL), directory)
    return load(directory / "model")


@pytest.fixture(scope="module")
def world_videos(tmp_path_factory):
    folder, world = tmp_path_factory.mktemp("videos"), World(seed=3, size=32)
    for number in range(2):
        write_mp4(folder / f"clip{number}.mp4", world[number].frames, Encoding())
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def report(trained) -> OpenSetReport:
    data = AnnotatedData(path="world", num_clips=30)
    return trained.evaluate(data, "open-set", unknown="world", training="world")  # type: ignore[return-value]


def test_a_run_ends_with_a_threshold_of_its_training_clips(trained):
    config = trained.model.config
    assert config.score == "evidential"
    assert 0 < config.threshold < 1
    assert trained.labels is not None
    assert len(trained.labels) == 20
    assert not set(trained.labels) & set(HELD_OUT_ACTIONS)


def test_known_and_unknown_clips_of_the_world(report, tmp_path):
    assert (len(report.known), len(report.unknown)) == (30, 30)
    assert {each.video for each in report.known}.isdisjoint(e.video for e in report.unknown)
    numbers = json.loads(report.to_json())
    assert {"auroc", "aupr", "fpr95", "open_macro_f1", "top1", "auroc_interval"} <= numbers.keys()
    low, high = numbers["auroc_interval"]
    assert low <= numbers["auroc"] <= high
    assert len(numbers["f1_curve"]["macro_f1"]) <= 1 + len(HELD_OUT_ACTIONS)
    assert "AUROC" in "\n".join(row[0] for row in report.rows() if row)
    report.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_clear_case_counts_as_such():
    def videos(count, uncertainty, label):
        return tuple(
            Judged(index=n, video=f"{label}{n}", label=label, predicted=0, confidence=0.9,
                   uncertainty=uncertainty, doubt=0.5)
            for n in range(count)
        )  # fmt: skip

    clear = OpenSetReport(
        labels=("a", "b"), known=videos(4, 0.1, 0), unknown=videos(3, 0.8, 7),
        threshold=0.5, score="evidential", shared=("a",),
    )  # fmt: skip
    found = clear.metrics()
    assert (found["auroc"], found["auroc_softmax"], found["open_macro_f1"]) == (100, 50, 100)
    assert clear.rejected is not None
    assert [share.percent for share in clear.rejected] == [0, 100]
    assert any("name of a known one" in note for note in clear.notes())


@pytest.mark.parametrize(
    "method",
    ["softmax", "dropout", "openmax", "bayesian", "reciprocal-points", "prototypes", "evidential"],
)
@pytest.mark.parametrize("debias", ["none", "joint"])
def test_every_method_learns_the_clips_that_it_sees(method, debias):
    if debias != "none" and method != "evidential":
        return
    torch.manual_seed(0)
    recipe = load_recipe(
        "world_videomae-nano_edl",
        [*SMALL, f"task.method={method}", f"task.debias={debias}", "model.head_drop_rate=0.1"],
    )
    task = build_task(recipe).train()
    source = WorldSource(World().part("actions", unknown=False), num_clips=8)
    rng = np.random.default_rng(0)
    samples = [task.prepare(source.read(n, rng), rng)[0] for n in range(8)]
    batch = {name: torch.stack([each[name] for each in samples]) for name in samples[0]}
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        found = task.training_loss(batch)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append(found["loss"].item())
    assert losses[-1] < losses[0]
    if debias == "joint":
        assert {"unbias_fit", "bias1_dependence", "bias2_dependence"} <= found.keys()
    judged = task.model.eval().judge(task.model.pooled(torch.rand(1, 3, 16, 32, 32)))
    assert np.isfinite(judged.uncertainty)


def test_a_label_that_is_not_known_ends_the_training():
    task = build_task(load_recipe("world_videomae-nano_edl", SMALL), with_weights=False)
    sample = WorldSource(World(actions=ACTIONS[::-1]), num_clips=30).read(
        0, np.random.default_rng()
    )
    with pytest.raises(DataError, match="known classes only, numbered from 0 to 19"):
        task.prepare(type(sample)(frames=sample.frames, label=20, key="x.mp4"), None)


def test_fields_that_follow_from_the_task_are_refused():
    with pytest.raises(ConfigError, match=r"model\.score follows from the task"):
        build_task(load_recipe("world_videomae-nano_edl", [*SMALL, "model.score=softmax"]))


def _world(actions, seed=5):
    return WorldSource(World(seed=seed, actions=tuple(actions)), num_clips=12)


def test_lists_that_cannot_be_measured(trained):
    known, loop = trained.labels, EvalLoop(num_workers=0)
    with pytest.raises(DataError, match=r"show 'grow', which is not one of the 20 classes"):
        evaluate(trained.loaded, _world([*known[:-1], "grow"]), loop=loop)
    with pytest.raises(DataError, match="all 12 known videos show class 0"):
        evaluate(trained.loaded, _world(known[:1]), loop=loop)
    with pytest.raises(DataError, match="one order"):
        evaluate(trained.loaded, _world(known[::-1]), loop=loop)
    with pytest.raises(ConfigError, match="--unknown; give that too"):
        evaluate(trained.loaded, _world(known), loop=loop, unknown_root="x")
    with pytest.raises(ConfigError, match="openmax"):
        evaluate(trained.loaded, _world(known), loop=loop, score="openmax")


def test_a_video_in_both_lists_is_named(trained, tmp_path, world_videos):
    known = tmp_path / "known.csv"
    known.write_text(f"{world_videos[0]} 0\n{world_videos[1]} 1\n")
    other = tmp_path / "other.csv"
    other.write_text(f"{world_videos[1]} 0\n")
    with pytest.raises(DataError, match=f"{world_videos[1].name} is in the list of the known"):
        trained.evaluate(known, "open-set", unknown=str(other))


def test_any_classifier_is_measured_by_its_softmax():
    names = tuple(ACTIONS[:5])
    config = VideoClassifierConfig(
        image_size=32, num_frames=16, patch_size=16, width=16, depth=1, num_heads=2, num_classes=5
    )
    record = Record(preprocessing=PRESETS["nano"], labels=names)
    plain = VideoModel(LoadedModel(VideoClassifier(config), record))
    data = AnnotatedData(path="world", num_clips=10)
    found = plain.evaluate(data, "open-set", unknown="world")
    assert isinstance(found, OpenSetReport)
    assert (found.score, found.threshold) == ("softmax", None)
    assert any("no threshold" in note for note in found.notes())
    with pytest.raises(ConfigError, match="no score 'evidential'"):
        plain.evaluate(data, "open-set", unknown="world", score="evidential")


def test_unknown_is_an_answer(trained, world_videos):
    [answer] = trained.predict("recognition", world_videos[:1], open_set=True)
    assert answer.uncertainty is not None
    assert answer.is_unknown == (answer.uncertainty > trained.model.threshold)
    found = json.loads(answer.to_json())
    assert found["answer"] == answer.label
    trained.model.config = type(trained.model.config)(
        **{**_fields(trained.model.config), "threshold": 1e-9}
    )
    [answer] = trained.predict("recognition", world_videos[:1], open_set=True)
    assert (answer.label, answer.is_unknown) == ("unknown", True)
    with pytest.raises(ConfigError, match="leave out --stream"):
        list(trained.predict("recognition", world_videos[:1], open_set=True, stream=True))
    with pytest.raises(ConfigError, match="always names one of its classes"):
        list(load("videomae-nano").predict("recognition", world_videos[:1], open_set=True))


def _fields(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_the_world_holds_out_actions_with_their_reversals_and_shapes():
    known, unknown = (World().part("actions", unknown=each) for each in (False, True))
    assert set(known.class_names) | set(unknown.class_names) == set(ACTIONS)
    assert all(reversal_of(name) in (None, *HELD_OUT_ACTIONS) for name in HELD_OUT_ACTIONS)
    shapes = World(seed=3).part("shapes", unknown=True)
    assert shapes.class_names == HELD_OUT_SHAPES
    scene = shapes.scene(4)
    assert shapes.class_names[shapes.label_of(scene)] == scene.actors[0].name
    assert World().part("none", unknown=True) == World()
