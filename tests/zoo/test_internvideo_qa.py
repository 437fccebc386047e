"""Files of question answering: what Lightning saves, and what such a model starts from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.errors import CheckpointError
from internvideo.models.internvideo_qa import InternVideoQA, InternVideoQAConfig
from internvideo.zoo import save_pretrained
from internvideo.zoo.load import load_model, official_state
from internvideo.zoo.starts import average_models, load_answering_start
from zoo import tiny
from zoo.test_internvideo_mm import lightning

TOWERS = tiny.internvideo_mm().config


def answering(num_classes: int = 7, *, seed: int = 0, depth: int = 2) -> InternVideoQA:
    towers = replace(TOWERS, decoder_depth=depth)
    return tiny.randomised(
        InternVideoQA(InternVideoQAConfig(towers=towers, num_classes=num_classes)), seed
    )


@pytest.mark.parametrize("depth", [2, 0])
def test_a_lightning_file_loads_under_its_own_names(tmp_path, depth):
    model = answering(depth=depth)
    official = official_state(model)
    roots = {name.partition(".")[0] for name in official}
    assert roots == {"clip", "vqa_classifier", *(["caption_decoder"] if depth else [])}
    torch.save(lightning(official), tmp_path / "msrvtt.ckpt")
    loaded = load_model(tmp_path / "msrvtt.ckpt")
    assert (loaded.architecture, loaded.labels) == ("internvideo-mm/question-answering", None)
    assert loaded.model.config.num_classes == 7
    assert loaded.model.config.towers.decoder_depth == depth
    state = loaded.model.state_dict()
    assert all(torch.equal(state[name], each) for name, each in model.state_dict().items())
    assert loaded.protocol.sampling == "middle"


def test_heads_of_a_decoder_are_read_off_its_shapes(tmp_path):
    towers = replace(TOWERS, decoder_heads=4)
    model = tiny.randomised(InternVideoQA(InternVideoQAConfig(towers=towers, num_classes=3)))
    torch.save(lightning(official_state(model)), tmp_path / "a.ckpt")
    assert load_model(tmp_path / "a.ckpt").model.config.towers.decoder_heads == 4


def test_a_file_that_runs_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return print, ("owned",)

    torch.save({"state_dict": official_state(answering()), "hook": Hostile()}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="print"):
        load_model(tmp_path / "x.ckpt")


def test_it_starts_from_the_pretrained_towers_and_decoder(tmp_path):
    start = tiny.internvideo_mm()
    save_pretrained(start, tmp_path / "mm")
    model = answering(seed=1)
    head = model.vqa_classifier.state_dict()
    done = load_answering_start(model, tmp_path / "mm")
    given = start.state_dict()
    for name, tensor in model.towers.state_dict().items():
        assert torch.equal(tensor, given[name]), name
    assert all(torch.equal(head[n], t) for n, t in model.vqa_classifier.state_dict().items())
    assert {n.split(".")[1] for n in done.left if "predictor" in n} == {"predictor"}
    assert {"visual_proj", "text_encoder.text_projection"} <= {*done.left}


@pytest.mark.parametrize("classes", [7, 5])
def test_it_starts_from_one_that_answers_and_keeps_a_classifier_of_as_many_answers(
    tmp_path, classes
):
    start, model = answering(7), answering(classes, seed=1)
    save_pretrained(start, tmp_path / "qa")
    own = model.vqa_classifier[5].weight.clone()
    load_answering_start(model, tmp_path / "qa")
    assert torch.equal(model.vqa_classifier[1].weight, start.vqa_classifier[1].weight)
    kept = start.vqa_classifier[5].weight if classes == 7 else own
    assert torch.equal(model.vqa_classifier[5].weight, kept)


def test_a_start_of_another_shape_is_refused(tmp_path):
    save_pretrained(answering(depth=1), tmp_path / "qa")
    with pytest.raises(CheckpointError, match="multimodal_layers"):
        load_answering_start(answering(), tmp_path / "qa")


def test_the_mean_of_several_files():
    models = [answering(seed=seed) for seed in range(3)]
    mean = average_models(models)
    for name, tensor in mean.items():
        parts = [model.state_dict()[name] for model in models]
        assert tensor.dtype == parts[0].dtype
        torch.testing.assert_close(tensor, torch.stack(parts).mean(dim=0))
    with pytest.raises(CheckpointError, match="shape"):
        average_models([answering(7), answering(5)])
