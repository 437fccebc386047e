from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from internvideo.errors import ConfigError
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.uniformerv2_classifier import UniFormerV2Classifier
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task, with_feature_origin
from internvideo.recipe.run import run_recipe
from internvideo.train.config import OptimConfig
from internvideo.train.optim import build_optimizer
from internvideo.zoo import load_model, save_pretrained
from internvideo.zoo.labels import k710_rows, label_names

SHAPE = {
    "image_size": 32, "num_frames": 4, "patch_size": 16, "width": 16, "depth": 1, "num_heads": 2,
}  # fmt: skip


def classifier_recipe(num_classes: int, *overrides: str):
    return load_recipe(
        "world_videomae-nano",
        [
            'task={"kind": "supervised"}',
            "model=" + json.dumps({**SHAPE, "num_classes": num_classes}),
            *overrides,
        ],
    )


@pytest.fixture(scope="module")
def k710(tmp_path_factory):
    torch.manual_seed(0)
    config = VideoClassifierConfig(**SHAPE, num_classes=710, init_scale=1.0)
    model = VideoClassifier(config)
    return model, save_pretrained(model, tmp_path_factory.mktemp("k710"))


def test_a_k710_head_is_put_into_the_order_of_the_labels(k710):
    model, folder = k710
    labels = "kinetics-400/alphabetical"
    recipe = classifier_recipe(400, f"init={folder}", f"init_labels={labels}")
    task = build_task(recipe)
    assert torch.equal(task.model.head.weight, model.head.weight[list(k710_rows(labels))])


def test_a_run_that_keeps_a_head_keeps_the_names_of_its_classes(k710, tmp_path):
    labels = "kinetics-400/alphabetical"
    recipe = classifier_recipe(
        400, f"init={k710[1]}", f"init_labels={labels}", "data.num_clips=2", "runtime.batch_size=2",
        "runtime.num_workers=0", 'preprocessing={"preset": "nano", "num_frames": 4}',
    )  # fmt: skip
    assert load_model(run_recipe(recipe, tmp_path)).class_names == label_names(labels)


def test_without_labels_a_head_of_other_classes_is_fresh_and_its_encoder_is_not(k710):
    model, folder = k710
    task = build_task(classifier_recipe(400, f"init={folder}"))
    assert task.model.head.weight.shape == (400, 16)
    assert torch.equal(task.model.patch_embed.proj.weight, model.patch_embed.proj.weight)


def test_labels_that_cannot_be_kept_are_refused(k710, tmp_path):
    labels = "init_labels=kinetics-400/authors"
    with pytest.raises(ConfigError, match="init"):
        build_task(classifier_recipe(400, labels))
    with pytest.raises(ConfigError, match=r"400 .*model\.num_classes.* 5"):
        build_task(classifier_recipe(5, labels, f"init={k710[1]}"))
    model, _ = k710
    small = VideoClassifier(replace(model.config, num_classes=400))
    folder = save_pretrained(small, tmp_path / "small")
    with pytest.raises(ConfigError, match=r"Kinetics-710.*small.* 400"):
        build_task(classifier_recipe(400, labels, f"init={folder}"))


UNIFORMER = {
    "architecture": "uniformerv2/classifier", "image_size": 32, "num_frames": 4, "patch_size": 16,
    "width": 64, "depth": 2, "num_heads": 1, "global_layers": [0, 1],
}  # fmt: skip


def uniformer_recipe(num_classes: int, *overrides: str):
    model = json.dumps({**UNIFORMER, "num_classes": num_classes})
    return load_recipe(
        "world_videomae-nano",
        ['task={"kind": "supervised", "mixup": 0, "cutmix": 0}', f"model={model}", *overrides],
    )


def test_the_architecture_of_a_supervised_recipe_is_built_and_started(tmp_path):
    source = build_task(uniformer_recipe(710)).model
    assert type(source) is UniFormerV2Classifier
    torch.nn.init.normal_(source.head.weight)
    folder = save_pretrained(source, tmp_path / "k710")
    labels = "kinetics-400/authors"
    task = build_task(uniformer_recipe(400, f"init={folder}", f"init_labels={labels}"))
    assert torch.equal(task.model.head.weight, source.head.weight[list(k710_rows(labels))])
    with pytest.raises(ConfigError, match="'uniformerv2/classifier'"):
        build_task(uniformer_recipe(5, "model.architecture=uniformer2/classifier"))


def test_a_frozen_model_trains_and_its_optimiser_leaves_the_frozen_part_out():
    task = build_task(uniformer_recipe(3, "model.frozen=true"))
    optimizer = build_optimizer(task, OptimConfig(lr=1e-3), lr=1e-3)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = {n.split(".")[2] for n, p in task.named_parameters() if id(p) in trained}
    assert names == {"temporal_cls_token", "dpe", "dec", "proj"}
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    protocol = task.preprocessing
    frames = torch.zeros(2, protocol.num_frames, 32, 32, 3, dtype=torch.uint8)
    frames[1] = 255
    batch = {"video": frames, "label": torch.tensor([0, 1])}
    task.train().training_loss(batch)["loss"].backward()
    optimizer.step()
    moved = {n for n, v in task.model.state_dict().items() if not torch.equal(v, before[n])}
    assert moved
    assert not any(name.startswith(("conv1", "transformer.resblocks")) for name in moved)


def test_positions_and_video_token_decay():
    task = build_task(uniformer_recipe(3))
    decayed, rest = build_optimizer(task, OptimConfig(lr=1e-3), lr=1e-3).param_groups
    names = {id(p): n.removeprefix("model.") for n, p in task.named_parameters()}
    assert {"positional_embedding", "transformer.temporal_cls_token"} <= {
        names[id(p)] for p in decayed["params"]
    }
    assert all(p.ndim == 1 for p in rest["params"])


def test_a_detector_knows_what_made_its_features(tmp_path):
    values = [
        f"data.features.folders={tmp_path}", f"data.annotations={tmp_path}", "evaluation=null",
    ]  # fmt: skip
    recipe = load_recipe("world_moments-nano", values)
    assert "origin" not in with_feature_origin(recipe).model
    manifest = {"model": "videomae-nano", "window": 16, "stride": 4, "pool": "mean"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    detector = build_task(with_feature_origin(recipe)).model
    assert detector.config.origin.model == "videomae-nano"
    assert detector.config.origin.stride == 4
    own = load_recipe(
        "world_moments-nano", [*values, "model.origin={model: mine, window: 8, stride: 8}"]
    )
    assert with_feature_origin(own) is own
