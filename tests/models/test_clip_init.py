from __future__ import annotations

import pytest
import torch

from internvideo.errors import CheckpointError
from internvideo.models import clip_init
from internvideo.models.clip_text import CLIPTextConfig, CLIPTextEncoder
from internvideo.models.viclip_vision import ViCLIPVision, ViCLIPVisionConfig

VISION = ViCLIPVisionConfig(
    image_size=16, num_frames=4, patch_size=8, width=16, depth=1, num_heads=2, embed_dim=6
)
TEXT = CLIPTextConfig(vocab_size=9, context_length=6, width=8, depth=1, num_heads=2, embed_dim=6)


def image_clip() -> dict[str, torch.Tensor]:
    """Return a state as OpenAI's files have it, on a 3 x 3 grid and with 8 text positions."""
    torch.manual_seed(0)
    vision = ViCLIPVision(VISION).state_dict()
    vision.pop("temporal_positional_embedding")
    vision["conv1.weight"] = vision["conv1.weight"][:, :, 0]
    vision["positional_embedding"] = torch.randn(10, 16)
    text = CLIPTextEncoder(TEXT).state_dict() | {"positional_embedding": torch.randn(8, 8)}
    extra = {"logit_scale": torch.tensor(4.6), "input_resolution": torch.tensor(24)}
    return {f"visual.{name}": value for name, value in vision.items()} | text | extra


@pytest.mark.parametrize("strip", [False, True])
def test_an_image_tower_becomes_a_video_tower(strip):
    clip = image_clip()
    if strip:
        clip = {n.removeprefix("visual."): v for n, v in clip.items() if n.startswith("visual.")}
    state = clip_init.vision_state_from_clip(clip, grid=2, num_steps=4)
    ViCLIPVision(VISION).load_state_dict(state, strict=True)
    assert state["temporal_positional_embedding"].abs().sum() == 0


def test_the_text_tower_loads_without_leftovers():
    clip = image_clip()
    state = clip_init.text_state_from_clip(clip, context_length=6)
    CLIPTextEncoder(TEXT).load_state_dict(state, strict=True)
    torch.testing.assert_close(state["positional_embedding"], clip["positional_embedding"][:6])


@pytest.mark.parametrize("mode", ["centre", "average"])
def test_an_inflated_kernel_sees_a_still_video_as_the_image(mode):
    kernel = torch.randn(4, 3, 8, 8)
    inflated = clip_init.inflate_patch_kernel(kernel, 3, mode=mode)
    frame = torch.randn(2, 3, 16, 16)
    still = frame[:, :, None].expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(
        torch.nn.functional.conv3d(still, inflated, stride=(3, 8, 8))[:, :, 0],
        torch.nn.functional.conv2d(frame, kernel, stride=8),
        rtol=1e-4,
        atol=1e-4,
    )


def test_temporal_positions_grow_by_interpolation_and_shrink_to_the_first():
    table = torch.arange(4.0)[None, :, None].expand(1, 4, 2)
    assert clip_init.resize_temporal_positions(table, 2)[0, :, 0].tolist() == [0, 1]
    grown = clip_init.resize_temporal_positions(table, 8)[0, :, 0]
    assert grown.tolist() == pytest.approx([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


def test_clip_text_positions_are_padded_with_zeros():
    table = torch.ones(3, 2)
    assert clip_init.fit_clip_text_positions(table, 5).sum(1).tolist() == [2, 2, 2, 0, 0]
    assert len(clip_init.fit_clip_text_positions(table, 2)) == 2


def test_spatial_positions_keep_the_class_token():
    table = torch.randn(10, 4)
    assert clip_init.resize_spatial_positions(table, (3, 3)) is table
    resized = clip_init.resize_spatial_positions(table, (2, 5))
    assert resized.shape == (11, 4)
    assert torch.equal(resized[0], table[0])
    with pytest.raises(CheckpointError, match="table of 9 rows"):
        clip_init.resize_spatial_positions(table[:9], (2, 2))


def test_merging_weights():
    temporal = "vision_encoder.temporal_positional_embedding"
    tuned = {"w": torch.tensor([1.0, 3.0]), temporal: torch.ones(2), "n": torch.tensor(5)}
    base = {"w": torch.tensor([0.0, 1.0]), "n": torch.tensor(2)}
    merged = clip_init.merge_weights(tuned, base, weight=0.25)
    assert merged["w"].tolist() == [0.25, 1.5]
    assert merged[temporal].tolist() == [1, 1]
    assert merged["n"] == 5
    with pytest.raises(CheckpointError, match="cannot average w: shapes"):
        clip_init.merge_weights(tuned, base | {"w": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"1 tensors in one only, e\.g\. extra"):
        clip_init.merge_weights(tuned, base | {"extra": torch.zeros(3)})


def test_other_files_are_refused():
    with pytest.raises(CheckpointError, match="not the weights of a CLIP image tower"):
        clip_init.vision_state_from_clip({"a.weight": torch.zeros(1)}, grid=2, num_steps=4)
    with pytest.raises(CheckpointError, match="no text tower"):
        clip_init.text_state_from_clip({"a.weight": torch.zeros(1)}, context_length=6)


def test_the_published_average_of_internvideo_mm_ends_with_block_11():
    names = {
        *(f"visual.transformer.resblocks.{i}.ln_1.weight" for i in range(24)),
        *(f"text_encoder.transformer.resblocks.{i}.ln_1.weight" for i in range(12)),
        *("visual_proj", "visual_ln_post.bias", "visual.ln_pre.bias", "visual.conv1.weight"),
        *("text_encoder.token_embedding.weight", "text_encoder.ln_final.bias", "logit_scale"),
        *("visual.transformer.dec.0.ln_1.weight", "visual.transformer.balance"),
        *("caption_decoder.text_norm.weight", "text_mask_embedding"),
    }
    left = names - clip_init.wise_ft_names(names)
    assert left == {
        *(f"visual.transformer.resblocks.{i}.ln_1.weight" for i in range(12, 24)),
        *("visual.transformer.dec.0.ln_1.weight", "visual.transformer.balance"),
        *("caption_decoder.text_norm.weight", "text_mask_embedding", "logit_scale"),
    }
