"""The detector beyond what every model does: boxes of other clips, sizes that do not divide."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from internvideo.models.action_detector import ActionDetector, ActionDetectorConfig, time_mean

CONFIG = ActionDetectorConfig(
    image_size=32, num_frames=2, patch_size=8, width=16, depth=1, num_heads=2, num_classes=4,
    roi_size=3, roi_stride=8,
)  # fmt: skip


@pytest.mark.parametrize("head", ["linear", "acar"])
@torch.no_grad()
def test_boxes_see_their_own_clip_and_relations_only_its_boxes(head):
    torch.manual_seed(0)
    model = ActionDetector(replace(CONFIG, head=head)).eval()
    video = torch.randn(2, 3, 2, 32, 32)
    rois = torch.tensor([[0, 1, 1, 20, 20], [0, 9, 3, 30, 30], [1, 4.0, 4, 25, 31]])
    together = model(video, rois)
    torch.testing.assert_close(
        model(video[1:], rois[2:] * torch.tensor([0, 1, 1, 1, 1])), together[2:]
    )
    alone = model(video, rois[:1])
    same = torch.allclose(alone, together[:1], atol=1e-6)
    assert same == (head == "linear")


@torch.no_grad()
def test_what_no_patch_covers_is_cut_off():
    model = ActionDetector(CONFIG).eval()
    video = torch.randn(1, 3, 2, 37, 46)
    maps = time_mean(model, video)
    assert maps.shape == (1, 16, 4, 5)
    torch.testing.assert_close(maps, time_mean(model, video[..., :32, :40]))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"head": "x"}, "head 'x'"),
        ({"final_norm": False}, "final_norm"),
        ({"roi_size": 0}, "roi_size"),
    ],
)
def test_impossible_shapes_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        replace(CONFIG, **wrong)
