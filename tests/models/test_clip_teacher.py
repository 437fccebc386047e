from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from internvideo.models.clip_teacher import (
    CLIPTeacher,
    CLIPTeacherConfig,
    last_layers,
    resize_frames,
)
from internvideo.models.viclip_vision import ViCLIPVision, ViCLIPVisionConfig

CONFIG = CLIPTeacherConfig(image_size=12, patch_size=4, width=16, depth=4, num_heads=2, embed_dim=6)
LAYERS = last_layers(4, 3)


@pytest.fixture(scope="module")
def teacher() -> CLIPTeacher:
    torch.manual_seed(0)
    model = CLIPTeacher(CONFIG)
    for parameter in model.parameters():  # biases and norms off their neutral start
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def video() -> torch.Tensor:
    return torch.randn(2, 3, 5, 12, 12, generator=torch.Generator().manual_seed(1))


def naive(teacher: CLIPTeacher, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all projected patches of the last three layers, and the class token's attention."""
    x, outputs = teacher.embed_patches(video), []
    for block in teacher.transformer.resblocks:
        attn = block.attn
        mixed, weights = F.multi_head_attention_forward(
            *(rearrange(block.ln_1(x), "f m d -> m f d"),) * 3,
            CONFIG.width,
            CONFIG.num_heads,
            attn.in_proj_weight,
            attn.in_proj_bias,
            None,
            None,
            False,
            0.0,
            attn.out_proj.weight,
            attn.out_proj.bias,
            need_weights=True,
        )
        x = x + rearrange(mixed, "m f d -> f m d")
        x = x + block.mlp(block.ln_2(x))
        outputs.append(F.normalize(teacher.ln_post(x[:, 1:]) @ teacher.proj, dim=-1))
    features = rearrange(torch.stack(outputs[-3:]), "k (b t) n e -> k b (t n) e", b=len(video))
    return features, rearrange(weights[:, 0, 1:], "(b t) n -> b t n", b=len(video))


def some_places(video: torch.Tensor, count: int) -> torch.Tensor:
    noise = torch.rand(
        *video.shape[:1], video.shape[2], 9, generator=torch.Generator().manual_seed(2)
    )
    return noise.topk(count).indices.sort().values


def test_finishing_the_visible_places_gives_the_numbers_of_finishing_all(teacher, video):
    features, weights = naive(teacher, video)
    seen = teacher.observe(video, LAYERS)
    torch.testing.assert_close(seen.attention, weights)
    assert (seen.attention.sum(dim=-1) < 1).all()
    places = some_places(video, 4)
    index = (places + torch.arange(5)[:, None] * 9).flatten(1)
    expected = torch.stack([layer[torch.arange(2)[:, None], index] for layer in features])
    torch.testing.assert_close(teacher.targets(seen, places), expected)


def test_an_earlier_layer_ends_the_work_there(teacher, video):
    places = some_places(video, 9)
    features, _ = naive(teacher, video)
    seen = teacher.observe(video, (1,))
    assert (seen.hidden, seen.last_layer) == ((), 1)
    torch.testing.assert_close(teacher.targets(seen, places)[0], features[0])
    calls = []
    handles = [
        block.register_forward_hook(lambda *_: calls.append(1))
        for block in teacher.transformer.resblocks
    ]
    teacher.observe(video, (1,))
    for handle in handles:
        handle.remove()
    assert len(calls) == 1


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1), (-1,), (4,)])
def test_layers_must_be_increasing_numbers_of_blocks(teacher, video, layers):
    with pytest.raises(ValueError, match="increasing numbers from 0 to 3"):
        teacher.observe(video, layers)


def test_every_frame_is_an_image_of_its_own(teacher, video):
    together = teacher.observe(video, LAYERS)
    alone = teacher.observe(video[1:, :, 3:4], LAYERS)
    torch.testing.assert_close(alone.attention[0, 0], together.attention[1, 3])


def test_it_is_the_tower_of_an_image_clip(teacher, video):
    names = ("image_size", "patch_size", "width", "depth", "num_heads", "embed_dim")
    tower = ViCLIPVision(
        ViCLIPVisionConfig(num_frames=1, **{name: getattr(CONFIG, name) for name in names})
    ).eval()
    tower.load_state_dict(
        {**teacher.state_dict(), "temporal_positional_embedding": torch.zeros(1, 1, 16)}
    )
    features, expected = teacher(video[:, :, :1]), tower(video[:, :, :1])
    torch.testing.assert_close(features.tokens, expected.tokens)
    torch.testing.assert_close(features.frame_cls[:, 0], expected.cls)
    assert features.grid == (1, 3, 3)


def test_other_sizes_get_the_position_table_resampled(teacher, video):
    large = resize_frames(video, (20, 16))
    assert large.shape == (2, 3, 5, 20, 16)
    assert teacher.observe(large, LAYERS).attention.shape == (2, 5, 20)
    assert resize_frames(video, (12, 12)) is video


def test_nothing_of_it_is_trained_or_in_training_mode(teacher, video):
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    outer = torch.nn.Sequential(teacher).train()
    assert outer.training
    assert not any(module.training for module in teacher.modules())
    seen = teacher.observe(video.clone().requires_grad_(), LAYERS)
    assert not teacher.targets(seen, some_places(video, 2)).requires_grad


def test_the_last_layers_come_in_increasing_depth():
    assert last_layers(12, 6) == (6, 7, 8, 9, 10, 11)
    assert last_layers(6, 2, 2) == (3, 5)
    assert last_layers(24, 4, 1.5) == (19, 20, 22, 23)
    for count, interval in ((7, 1), (4, 2), (3, 0.4), (0, 1)):
        with pytest.raises(ValueError, match="do not fit into 6 blocks"):
            last_layers(6, count, interval)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="width 10 is not a multiple of num_heads 4"):
        CLIPTeacherConfig(width=10, num_heads=4)
    with pytest.raises(ValueError, match="image_size 15 is not a multiple of patch_size 4"):
        CLIPTeacherConfig(image_size=15, patch_size=4)
