"""The published trainings of temporal detectors."""

from __future__ import annotations

import pytest

from internvideo.recipe import list_recipes, load_recipe
from internvideo.recipe.building import build_task

LOCAL, MIXED, SHORT = (19,), (25,) * 5 + (-1,), (7,) * 5 + (-1,)
# classes, channels, epochs with warm-up, batch, rate, start of the loss's mean, rows of training,
# windows, boundary weight, smoothing; as the table of the published configurations has them
PUBLISHED = {
    "thumos14_actionformer-videomae-h": (20, 1280, 50, 2, 1e-4, 100, 2304, LOCAL, 1, 0),
    "thumos14_actionformer-videomaev2-g": (20, 1408, 50, 2, 1e-4, 100, 2304, LOCAL, 1, 0),
    "thumos14_actionformer-i3d": (20, 2048, 35, 2, 1e-4, 100, 2304, LOCAL, 1, 0),
    "anet_actionformer-videomae-h": (1, 1280, 15, 8, 1e-3, 400, 768, MIXED, 1, 0.1),
    "anet_actionformer-tsp": (1, 512, 15, 16, 1e-3, 200, 192, SHORT, 2, 0.1),
    "anet_actionformer-i3d": (1, 2048, 15, 16, 1e-3, 200, 192, SHORT, 2, 0.1),
    "hacs_actionformer-videomae-h": (1, 1280, 25, 16, 1e-3, 400, 2304, MIXED, 1, 0.1),
    "fineaction_actionformer-videomae-h": (1, 1280, 25, 16, 1e-3, 200, 192, SHORT, 2, 0.1),
    "fineaction_actionformer-videomaev2-g": (1, 1408, 25, 16, 1e-3, 200, 192, SHORT, 2, 0.1),
    **{
        f"ego4d-mq_actionformer-{name}": (110, channels, 15, 2, 1e-4, 100, 1024, (9,), 1, 0)
        for name, channels in {
            "egovlp": 256,
            "omnivore": 1536,
            "slowfast": 2304,
            "slowfast-egovlp": 2560,
            "omnivore-egovlp": 1792,
            "slowfast-omnivore-egovlp": 4096,
            "videomae-l": 1024,
        }.items()
    },
}


def test_every_recipe_is_compared():
    found = {n for n in list_recipes() if "_actionformer" in n and not n.startswith("world_")}
    assert found == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_are_the_published_ones(name):
    recipe = load_recipe(name)
    model = build_task(recipe, with_weights=False).model.config
    assert (
        model.num_classes,
        sum(model.input_dims),
        recipe.schedule.epochs,
        recipe.runtime.batch_size,
        recipe.optim.lr,
        recipe.task.start_normalizer,
        model.max_length,
        model.windows,
        recipe.task.boundary_weight,
        recipe.task.label_smoothing,
    ) == PUBLISHED[name]
    assert recipe.optim.lr_batch_size == recipe.runtime.batch_size
    assert recipe.optim.ema_decay == 0.999
    assert recipe.optim.clip_grad_norm == 1.0
    assert recipe.schedule.warmup_epochs == 5
    assert model.padding == "reference"
    assert model.selection.per_class == (model.num_classes > 1)
    if ego4d := name.startswith("ego4d"):
        assert (recipe.task.least_share, model.selection.sigma) == (0.3, 0.9)
    internvideo = "videomae" in name and not ego4d
    if model.num_classes == 1:
        assert model.selection.votes == ("score" if internvideo else "score-iou")
    assert recipe.task.reach == (not internvideo)


@pytest.mark.parametrize("name", PUBLISHED)
def test_training_and_test_look_at_the_same_features(name):
    recipe = load_recipe(name)
    train, test = recipe.data, recipe.evaluation.data
    assert train.features == test.features
    if name.startswith("ego4d"):  # a file a split
        assert train.annotations != test.annotations
    else:
        assert train.split != test.split
        assert train.annotations == test.annotations
