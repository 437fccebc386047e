from __future__ import annotations

import pytest
import yaml

from internvideo.errors import ConfigError, UnknownNameError
from internvideo.recipe import load_recipe
from internvideo.recipe.building import build_task
from internvideo.zoo import find_card


def test_overrides_and_the_resolved_recipe_round_trip(tmp_path):
    recipe = load_recipe("world_videomae-nano", ["optim.lr=5e-4", "runtime.batch_size=8"])
    assert recipe.optim.lr == 5e-4
    path = tmp_path / "resolved.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe


def test_base_is_merged_key_by_key(tmp_path):
    base = load_recipe("world_videomae-nano")
    (tmp_path / "base.yaml").write_text(base.to_yaml())
    (tmp_path / "variant.yaml").write_text(
        yaml.safe_dump({"base": "base.yaml", "name": "variant", "optim": {"lr": 0.5}})
    )
    variant = load_recipe(tmp_path / "variant.yaml")
    assert variant.optim.lr == 0.5
    assert variant.optim.betas == base.optim.betas
    assert variant.fingerprint() != base.fingerprint()


def test_another_kind_takes_the_keys_of_the_old_one_away(tmp_path):
    overrides = ["data.annotations=list.csv", "data.kind=kinetics"]
    data = load_recipe("world_videomae-nano", overrides).data
    assert (data.kind, str(data.annotations)) == ("kinetics", "list.csv")
    base = load_recipe("world_videomae-nano")
    (tmp_path / "base.yaml").write_text(base.to_yaml())
    listed = {"kind": "kinetics", "annotations": "list.csv", "root": "s3://bucket/videos"}
    (tmp_path / "variant.yaml").write_text(yaml.safe_dump({"base": "base.yaml", "data": listed}))
    assert load_recipe(tmp_path / "variant.yaml").data.root == "s3://bucket/videos"


def test_bookkeeping_does_not_change_the_fingerprint():
    plain = load_recipe("world_videomae-nano")
    other = load_recipe("world_videomae-nano", ["runtime.log_every=1", "runtime.num_workers=0"])
    assert plain.fingerprint() == other.fingerprint()
    assert plain.fingerprint() != load_recipe("world_videomae-nano", ["optim.lr=1"]).fingerprint()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.learning_rat=1", "'optim.learning_rat'"),
        ("optim.weight_decy=1", "'weight_decay'"),
        ("runtime.batch_size=many", "'runtime.batch_size'"),
        ("nonsense", "'nonsense'.*key.subkey=value"),
        ("name.x=1", "'name'"),
        ("optim.lr=[", "YAML"),
    ],
)
def test_a_bad_override_is_explained(override, message):
    with pytest.raises(ConfigError, match=message.replace("'", ".")):
        load_recipe("world_videomae-nano", [override])


def test_an_unknown_model_key_names_the_nearest():
    recipe = load_recipe("world_videomae-nano", ["model.decoder_widht=3"])
    with pytest.raises(ConfigError, match="decoder_width"):
        build_task(recipe)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UnknownNameError, match="world_videomae-nano"):
        load_recipe("world_videomae-nanno")


def test_a_broken_file_is_a_clear_error(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: [1")
    with pytest.raises(ConfigError, match="YAML"):
        load_recipe(path)
    path.write_text("just text")
    with pytest.raises(ConfigError, match="holds no recipe"):
        load_recipe(path)


def test_the_embedded_model_names_the_recipes_that_made_it():
    steps = find_card("viclip-nano").provenance["steps"]
    assert [step["recipe"] for step in steps] == ["world_videomae-nano", "world_viclip-nano"]
    for step in steps:
        recipe = load_recipe(step["recipe"])
        assert step["recipe_sha256"] == recipe.fingerprint()
        assert step["clips"] == recipe.data.num_clips * recipe.schedule.epochs


def test_a_base_may_be_one_of_ours_but_not_itself(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: world_videomae-nano\nname: mine")
    assert load_recipe(path).data == load_recipe("world_videomae-nano").data
    path.write_text("base: gone.yaml\nname: mine")
    with pytest.raises(UnknownNameError, match=r"gone\.yaml"):
        load_recipe(path)
    path.write_text("base: mine.yaml\nname: mine")
    with pytest.raises(ConfigError, match=r"mine\.yaml.*base"):
        load_recipe(path)
    path.write_text("base: [1]\nname: mine")
    with pytest.raises(ConfigError, match=r"'base'.*\[1\]"):
        load_recipe(path)


def test_a_group_that_was_left_out_can_be_filled_key_by_key(tmp_path):
    path = tmp_path / "resolved.yaml"
    path.write_text(load_recipe("world_videomae-nano").to_yaml())  # with `sampling: null`
    assert load_recipe(path, ["sampling.rule=uniform"]).sampling.rule == "uniform"
