"""The room of the interaction: from the names of two models to a classifier; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from internvideo.data import WorldSource
from internvideo.errors import CheckpointError, ConfigError
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.interaction import SIZES
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task
from internvideo.recipe.run import run_recipe
from internvideo.tasks.interaction.towers import describe_tower
from internvideo.tasks.recognition.evaluate import evaluate
from internvideo.world import World
from internvideo.zoo import load_model
from zoo.external_models import save

RECIPE = "world_internvideo-nano"
BASE = ("task.multimodal=viclip-nano", "data.num_clips=12", "evaluation=null", "schedule.epochs=1")
SMALL = (*BASE, "model.stages=2", "runtime.batch_size=6", "runtime.num_workers=0")


def recipe(*changes: str):
    return load_recipe(RECIPE, [*SMALL, *changes])


def losses(directory: Path) -> list[float]:
    lines = (directory / "log.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that keeps what the encoders give."""
    directory = tmp_path_factory.mktemp("runs") / "kept"
    run_recipe(recipe("runtime.log_every=1"), directory)
    return directory


def test_a_run_leaves_a_classifier_whose_encoders_are_as_they_were(trained):
    loaded = load_model(trained / "model")
    assert loaded.architecture == "internvideo"
    assert loaded.labels == load_model("videomae-nano").labels
    state = loaded.model.state_dict()
    for name in ("masked", "multimodal"):
        source = load_model({"masked": "videomae-nano", "multimodal": "viclip-nano"}[name])
        for key, tensor in source.model.state_dict().items():
            same = torch.equal(state[f"{name}.{key}"], tensor)
            assert same == (not key.startswith("head.")), key
    assert (trained / "features").is_dir()
    assert "viclip-nano" in (trained / "recipe.yaml").read_text()
    report = evaluate(loaded, WorldSource(World(seed=2, size=64), num_clips=6), loop=EvalLoop())
    assert report.top1 > 50  # as videomae-nano alone


def test_kept_features_train_as_the_encoders_themselves(trained, tmp_path):
    run_recipe(recipe("task.keep_features=false", "runtime.log_every=1"), tmp_path)
    assert losses(tmp_path) == pytest.approx(losses(trained), rel=1e-3)


def test_fused_features_serve_as_any_encoders(trained):
    model = load_model(trained / "model")
    clip = torch.rand(2, 3, 16, 32, 32)
    features = model.model.forward_features(clip, layers=(0, -1))
    assert features.tokens.shape == (2, 16, 128)
    assert features.cls.shape == model.model.embed(clip).shape == (2, 16 * 128 + 128)
    assert [hidden.shape for hidden in features.hidden] == [(2, 16, 128)] * 2
    assert features.volume().shape == (2, 16, 1, 1, 128)


def test_the_order_of_the_classes_can_be_changed(trained):
    model = load_model(trained / "model")
    clip = torch.rand(1, 3, 16, 32, 32)
    with torch.no_grad():
        before = model.model(clip)
        for head in model.model.heads:
            head.weight.copy_(head.weight.flip(0))
            head.bias.copy_(head.bias.flip(0))
        torch.testing.assert_close(model.model(clip), before.flip(1))


def test_a_head_of_other_classes_starts_anew():
    task = build_task(recipe("model.num_classes=3"))
    assert task.model.masked.head.out_features == 3
    encoder = load_model("videomae-nano").model
    assert torch.equal(task.model.masked.fc_norm.weight, encoder.fc_norm.weight)


def test_published_sizes_are_told_by_their_name():
    with torch.device("meta"):
        task = build_task(load_recipe("k600_internvideo-d"), with_weights=False)
    assert task.model.config == SIZES["d"].with_classes(600)
    with torch.device("meta"):
        task = build_task(load_recipe("k400_internvideo-t"), with_weights=False)
    assert task.model.config == SIZES["t"]
    optim = load_recipe("k400_internvideo-t").optim
    assert (optim.lr, optim.weight_decay, optim.ema_decay) == (5e-5, 0.001, 0.9999)


def test_an_encoder_on_a_card_need_not_be_here():
    tower = describe_tower("uniformerv2-l14-k710-8f", 400)
    assert tower["encoder"]["kind"] == "UniFormerV2Classifier"
    assert tower["encoder"]["num_classes"] == 400
    assert tower["mean"] == [0.45, 0.45, 0.45]
    assert describe_tower("uniformerv2-l14-ssv2-16f", 174)["channel_order"] == "bgr"


def test_an_encoder_of_another_library_takes_part(tmp_path):
    save("clip-vision", tmp_path / "clip")
    task = build_task(recipe(f"task.multimodal=hf:{tmp_path / 'clip'}", "task.keep_features=false"))
    model = task.model.eval()
    assert model.config.multimodal.encoder.library == "transformers"
    assert model(*model.example_inputs(2)).shape == (2, 28)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("init=videomae-nano",), "task.masked and task.multimodal name its models"),
        (("preprocessing=nano",), "mean \\[0, 0, 0\\]"),
        (("preprocessing.num_frames=8",), "16 frames of 32 pixels, the preprocessing gives 8"),
        (("model.wiring=insert",), "needs model.wiring=side"),
        (("augmentation=videomae-finetune",), "remove augmentation"),
        (
            ("task.masked=moments-nano",),
            "of kind ActionFormer; an encoder must be one",
        ),
        (("model={}",), "model.num_classes is missing"),
        (("model.stages=5", "task.keep_features=false"), None),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    if message is None:
        task = build_task(recipe(*changes))
        with pytest.raises(ValueError, match="5 stages do not fit"):
            task.model(*task.model.example_inputs())
        return
    with pytest.raises(ConfigError, match=message):
        build_task(recipe(*changes))


def test_a_third_encoder_must_know_the_classes():
    with pytest.raises(CheckpointError, match="its head is not trained"):
        build_task(recipe("task.third=videomae-nano", "model.num_classes=3"))
    task = build_task(recipe("task.third=videomae-nano"))
    assert not any(p.requires_grad for p in task.model.third.parameters())


def test_the_embedded_one_is_small_and_better_than_its_encoders():
    loaded = load_model("internvideo-nano")
    assert loaded.card is not None
    assert loaded.card.directory is not None
    assert sum(path.stat().st_size for path in loaded.card.directory.iterdir()) < 8e6
    steps = loaded.card.provenance["steps"]
    assert [step["recipe_sha256"] for step in steps] == [
        load_recipe(step["recipe"]).fingerprint() for step in steps
    ]
    clips = WorldSource(World(seed=2, size=64), num_clips=400)
    views = torch.stack([clips.read_views(n, loaded.protocol).views[0] for n in range(len(clips))])
    labels = torch.tensor([clips.label(number) for number in range(len(clips))])
    with torch.no_grad():
        network = loaded.model
        alone = network.masked(network.views(views)[0])
        hits = [int((logits.argmax(1) == labels).sum()) for logits in (network(views), alone)]
    assert hits[0] > hits[1] + 4 > 380
