"""Networks of hand prediction and short-term anticipation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from internvideo.models.contact_anticipator import (
    ContactAnticipator,
    ContactAnticipatorConfig,
    box_embedding,
)
from internvideo.models.positions import sinusoid_table
from internvideo.models.uniformer_video import UniFormerVideo, UniFormerVideoConfig
from internvideo.models.vit import SIZES
from internvideo.zoo.verification import read_key_list

KEYS = Path(__file__).parents[3] / "shared" / "reference" / "keys"

TINY = ContactAnticipatorConfig(
    image_size=32, num_frames=4, patch_size=16, width=16, depth=1, num_heads=2, num_verbs=3
)


def names(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.skipif(not KEYS.exists(), reason="the key lists of the reference are not here")
@pytest.mark.parametrize(
    ("file", "num_classes"),
    [("ego4d_fhp_uniformer_base", 20), ("ego4d_verb_uniformer_base_16x320_k600_ep9", 118)],
)
def test_uniformer_has_the_names_of_the_reference(file, num_classes):
    with torch.device("meta"):
        model = UniFormerVideo(UniFormerVideoConfig(num_classes=num_classes))
    assert names(model) == read_key_list(KEYS / f"{file}.txt")


@pytest.mark.skipif(not KEYS.exists(), reason="the key lists of the reference are not here")
def test_the_anticipator_has_the_names_of_the_reference():
    large = SIZES["L"]
    config = ContactAnticipatorConfig(
        width=large.width, depth=large.depth, num_heads=large.num_heads
    )
    with torch.device("meta"):
        model = ContactAnticipator(config)
    assert names(model) == read_key_list(KEYS / "ego4d_sta_vit_large.txt")


def test_an_anticipator_without_boxes_answers_nothing():
    verbs, ttcs = ContactAnticipator(TINY)(torch.randn(1, 3, 4, 32, 48), torch.zeros(0, 5))
    assert verbs.shape == (0, 4)
    assert ttcs.shape == (0, 1)


def test_a_box_without_area_has_finite_answers():
    rois = torch.tensor([[0.0, 5, 5, 5, 5]])
    verbs, ttcs = ContactAnticipator(TINY)(torch.randn(1, 3, 4, 32, 32), rois)
    assert verbs.isfinite().all()
    assert (ttcs > 0).all()


def test_the_place_of_a_box_tells_only_the_time():
    torch.manual_seed(0)
    with_place = ContactAnticipator(TINY).eval()
    without = ContactAnticipator(replace(TINY, ttc_box_embedding=False)).eval()
    without.load_state_dict(with_place.state_dict())
    video, rois = torch.randn(1, 3, 4, 32, 32), torch.tensor([[0.0, 2, 3, 20, 30]])
    (verbs, ttcs), (plain_verbs, plain_ttcs) = with_place(video, rois), without(video, rois)
    assert torch.equal(verbs, plain_verbs)
    assert not torch.allclose(ttcs, plain_ttcs)


def test_the_embedding_of_a_box_is_the_sum_of_its_sides():
    table = sinusoid_table(50, 8)[0]
    found = box_embedding(torch.tensor([[1.9, 2, 30, 49]]), 8)
    torch.testing.assert_close(found[0], table[[1, 2, 30, 49]].sum(dim=0))


def test_uniformer_reads_clips_of_any_size():
    config = UniFormerVideoConfig(widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), head_dim=4)
    assert UniFormerVideo(config)(torch.randn(2, 3, 4, 32, 64)).shape == (2, 20)


def test_widths_are_whole_heads():
    with pytest.raises(ValueError, match="no multiple of head_dim"):
        UniFormerVideoConfig(head_dim=48)
