"""Files of VSLNet as its baseline writes them: read without loss, asked, and written again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.models.vslnet import VSLNet
from internvideo.models.vslnet_text import BertTextConfig, GivenTextConfig
from internvideo.pipeline import load
from internvideo.zoo.identify import identify
from internvideo.zoo.kinds.vslnet import OFFICIAL, VSLNET
from internvideo.zoo.load import official_state
from zoo.keylists import HERE, read

WIDE = replace(  # 64 channels a head is what shapes alone are read as
    VSLNET.tiny["bert"],
    width=64,
    num_heads=8,
    text=BertTextConfig(
        bert=replace(VSLNET.tiny["bert"].text.bert, width=64, num_heads=1), context_length=16
    ),
)


def released(config=WIDE):
    """Return a model and its state under the official names."""
    torch.manual_seed(0)
    model = VSLNet(config).eval()
    return model, official_state(model)


@pytest.mark.parametrize("older", [False, True])
def test_a_file_of_the_baseline_is_read_and_written_without_loss(tmp_path, older):
    model, state = released()
    assert "embedding_net.embedder.pooler.dense.weight" in state
    assert not [name for name in state if name.endswith("position_ids") or ".bert." in name]
    if older:
        state["embedding_net.embedder.embeddings.position_ids"] = torch.arange(16)[None]
    torch.save(state, tmp_path / "vslnet_357.t7")
    loaded = load(tmp_path / "vslnet_357.t7", device="cpu")
    assert loaded.loaded.architecture == "vslnet"
    found = loaded.model.config
    assert (found.padding, found.times, found.wording) == ("reference", "whole-rows", "question")
    assert (found.video_width, found.max_length, found.num_heads) == (12, 24, 8)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name
    written = official_state(loaded.model)
    state.pop("embedding_net.embedder.embeddings.position_ids", None)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) for name in state)


def test_what_shapes_do_not_tell_can_be_said(tmp_path):
    _, state = released()
    torch.save(state, tmp_path / "model.t7")
    words = tuple(f"w{number}" for number in range(24))
    told = {"padding": "exact", "text.vocabulary": words}
    config = load(tmp_path / "model.t7", device="cpu", config=told).model.config
    assert (config.padding, config.text.vocabulary) == ("exact", words)


def test_the_shapes_tell_how_queries_are_read():
    words = identify(VSLNET.shapes(VSLNET.tiny["words"])).config
    assert (words.predictor, words.text.num_words, words.text.num_letters) == ("rnn", 6, 5)
    given = identify(VSLNET.shapes(VSLNET.tiny["given"])).config
    assert (given.predictor, given.text) == ("transformer", GivenTextConfig(width=16))


def test_the_published_list_is_lossless():
    shapes = read(HERE / "vslnet-ego4d-nlq-bert-v2304.txt")
    fit = identify(shapes)
    assert fit.ok
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    ours = OFFICIAL.to_ours(state)
    assert {name: tuple(t.shape) for name, t in ours.items()} == VSLNET.shapes(fit.config)
    back = {name: tuple(t.shape) for name, t in OFFICIAL.to_official(ours).items()}
    assert back == shapes
