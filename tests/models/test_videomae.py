from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from internvideo.config import config_from_dict, config_to_dict
from internvideo.models.positions import sinusoid_table
from internvideo.models.tubelets import TokenSplit, split_mask
from internvideo.models.videomae import SIZES, VideoMAE, VideoMAEConfig
from internvideo.models.vit import ConvStemConfig, VideoViTConfig

ENCODER = VideoViTConfig(image_size=16, patch_size=8, num_frames=4, width=16, depth=2, num_heads=2)
TINY = VideoMAEConfig(encoder=ENCODER, decoder_width=8, decoder_depth=1, decoder_num_heads=2)
NANO = VideoMAEConfig(
    encoder=replace(ENCODER, patch_size=16, tubelet_size=1, num_frames=8, stem=ConvStemConfig()),
    decoder_width=8,
    decoder_depth=1,
    decoder_num_heads=2,
    target="motion",
    target_size=8,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _mask(*rows: str) -> Tensor:
    """Return a mask drawn with # for hidden and . for visible."""
    return torch.tensor([[place == "#" for place in row] for row in rows])


@pytest.mark.parametrize("config", [TINY, NANO], ids=["tubelets", "frames"])
def test_the_prediction_does_not_see_what_is_hidden(config):
    model = VideoMAE(config)
    video = torch.randn(2, 3, config.encoder.num_frames, 16, 16)
    mask = _mask("....####", "....####")  # the later half of the clip
    before = model(video, mask)
    video[:, :, config.encoder.num_frames // 2 :] = 0.3 * torch.randn_like(
        video[:, :, config.encoder.num_frames // 2 :]
    )
    after = model(video, mask)
    assert torch.equal(after.prediction, before.prediction)
    assert not torch.equal(after.target, before.target)


def test_the_loss_is_the_mean_squared_error_of_the_hidden_tokens():
    model = VideoMAE(TINY)
    output = model(torch.randn(2, 3, 4, 16, 16), _mask("#.#.##.#", "###..#.#"))
    assert output.index.tolist() == [[0, 2, 4, 5, 7], [0, 1, 2, 5, 7]]
    assert (output.weight == 1).all()
    torch.testing.assert_close(output.loss, (output.prediction - output.target).square().mean())


def test_a_decoder_mask_that_is_the_complement_changes_nothing():
    model, video = VideoMAE(TINY), torch.randn(2, 3, 4, 16, 16)
    mask = _mask("#.#.##.#", "###..#.#")
    once, twice = model(video, mask), model(video, mask, ~mask)
    assert torch.equal(once.prediction, twice.prediction)
    assert torch.equal(once.loss, twice.loss)


def test_tokens_that_the_encoder_saw_do_not_count_in_the_loss():
    model, video = VideoMAE(TINY), torch.randn(1, 3, 4, 16, 16)
    output = model(video, _mask("####...."), _mask("##....##"))
    assert output.index.tolist() == [[2, 3, 4, 5]]
    assert output.weight.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    error = (output.prediction - output.target).square().mean(dim=2)
    torch.testing.assert_close(output.loss, error[0, :2].mean())


@pytest.mark.parametrize("depth", [1, 3])
def test_leaving_queries_out_of_the_last_block_changes_no_number(depth):
    model = VideoMAE(replace(TINY, decoder_depth=depth)).decoder
    x = torch.randn(2, 8, 8)
    grads = []
    for whole in (False, True):
        model.zero_grad()
        if whole:
            y = x
            for block in model.blocks:
                y = block(y)
            values = model.head(model.norm(y[:, -5:]))
        else:
            values = model(x, num_last=5)
        values.square().sum().backward()
        grads.append({name: p.grad.clone() for name, p in model.named_parameters()})
        grads[-1]["values"] = values.detach()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-5, atol=1e-6)


def test_stochastic_depth_grows_anew_in_the_decoder():
    encoder = replace(ENCODER, drop_path_rate=0.4, drop_rate=0.1, attention_drop_rate=0.2)
    blocks = VideoMAE(replace(TINY, encoder=encoder, decoder_depth=3)).decoder.blocks
    assert [block.drop_path.rate for block in blocks] == pytest.approx([0.0, 0.2, 0.4])
    assert {(b.mlp.drop.p, b.attn.drop.p, b.attn.attention_drop_rate) for b in blocks} == {
        (0.1, 0.1, 0.2)
    }


def test_frames_that_are_not_square_have_tables_of_their_own_size():
    config = replace(TINY, encoder=replace(ENCODER, image_size=(16, 24)))
    model = VideoMAE(config)
    assert config.encoder.grid == config.mask_grid == (2, 2, 3)
    assert torch.equal(model.encoder.pos_embed, sinusoid_table(12, 16))
    assert torch.equal(model.decoder_positions, sinusoid_table(12, 8))
    video, mask = torch.randn(2, 3, 4, 16, 24), _mask("######......", "#.#.#.#.#.#.")
    tokens = model.encoder(video, visible=~mask).tokens
    by_hand = model.encoder.patch_embed.proj(video).flatten(2).transpose(1, 2)
    by_hand = (by_hand + sinusoid_table(12, 16))[~mask].unflatten(0, (2, 6))
    for block in model.encoder.blocks:
        by_hand = block(by_hand)
    torch.testing.assert_close(tokens, model.encoder.norm(by_hand))
    assert model(video, mask).loss.isfinite()
    assert config_from_dict(VideoMAEConfig, config_to_dict(config)) == config
    with pytest.raises(ValueError, match="target_size needs square frames"):
        replace(config, target="motion", target_size=8)
    with pytest.raises(ValueError, match="multiples of patch_size"):
        replace(ENCODER, image_size=(16, 20))


def test_a_dual_masking_step_is_one_graph():
    model, video = VideoMAE(TINY), torch.randn(2, 3, 4, 16, 16)
    split, other = split_mask(_mask("#.#.##.#", "###..#.#")), split_mask(_mask(*2 * ["#.#.#.#."]))
    losses, grads = [], []
    for compiled in (False, True):
        torch._dynamo.reset()
        # a break of the graph would be an error
        step = torch.compile(model, fullgraph=True, backend="eager") if compiled else model
        model.zero_grad()
        losses.append(step(video, split, other).loss)
        losses[-1].backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*losses)
    for plain, graph in zip(*grads, strict=True):
        torch.testing.assert_close(plain, graph, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("config", [TINY, NANO], ids=["tubelets", "frames"])
def test_bfloat16_autocast_has_the_loss_and_gradients_of_float32(config):
    model = VideoMAE(config).eval()
    video, mask = torch.randn(4, 3, config.encoder.num_frames, 16, 16), _mask(*4 * ["#.#.##.#"])
    grads, losses = [], []
    for low in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            output = model(video, mask)
        assert output.target.dtype == output.loss.dtype == torch.float32
        assert output.prediction.dtype == (torch.bfloat16 if low else torch.float32)
        output.loss.backward()
        losses.append(output.loss.detach())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*losses, rtol=0.01, atol=0)
    assert (grads[0] - grads[1]).norm() < 0.05 * grads[0].norm()


def test_a_perfect_prediction_has_no_loss_and_a_finite_gradient():
    model, video = VideoMAE(replace(TINY, target="pixels")), torch.zeros(1, 3, 4, 16, 16)
    model.requires_grad_(False)
    bias = model.decoder.head.bias.requires_grad_()
    model.decoder.head.weight.zero_()
    bias.data.copy_(model.target(video, torch.tensor([[0]]))[0, 0])
    loss = model(video, _mask("#.#.##.#")).loss
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(bias.grad, torch.zeros_like(bias))


def test_the_order_of_the_samples_does_not_matter():
    model, video = VideoMAE(TINY), torch.randn(2, 3, 4, 16, 16)
    mask = _mask("#.#.##.#", "###..#.#")
    forth, back = model(video, mask), model(video.flip(0), mask.flip(0))
    torch.testing.assert_close(forth.prediction, back.prediction.flip(0))
    torch.testing.assert_close(forth.loss, back.loss)


def test_another_clip_size_is_reconstructed_too():
    model = VideoMAE(TINY)
    mask = torch.zeros(1, 3 * 4 * 4, dtype=torch.bool)
    mask[:, ::2] = True
    output = model(torch.randn(1, 3, 6, 32, 32), split_mask(mask))
    assert output.prediction.shape == (1, 24, TINY.target_width)
    assert torch.isfinite(output.loss)


@pytest.mark.parametrize("config", [TINY, NANO], ids=["tubelets", "frames"])
def test_it_learns_to_fill_in_what_it_has_seen_often(config):
    model = VideoMAE(config)
    video = torch.randn(4, 3, config.encoder.num_frames, 16, 16).cumsum(dim=2) / 4
    split = split_mask(_mask(*4 * ["#.#.##.#"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(video, split).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_nothing_to_reconstruct_is_refused():
    model, video = VideoMAE(TINY), torch.randn(1, 3, 4, 16, 16)
    with pytest.raises(ValueError, match="nothing to reconstruct"):
        model(video, _mask("........"))
    everything = split_mask(_mask("........"))
    with pytest.raises(ValueError, match="nothing to reconstruct"):
        model(video, TokenSplit(*everything))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_depth": 0}, "decoder_depth 0 must be at least 1"),
        ({"decoder_num_heads": 3}, "decoder_width 8 is not a multiple of decoder_num_heads 3"),
        ({"target": "depth"}, "target 'depth' is not one of"),
        ({"target_size": 8}, "target_size needs target 'motion'"),
        ({"target": "motion", "target_size": 5}, "target_size 5 must divide image_size 16"),
        ({"mask_patch_size": 3}, "mask_patch_size 3 does not divide the patch_size 8"),
        ({"target": "motion", "target_size": 1}, "a multiple of the 2 rows of the mask"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_the_target_width_follows_the_tubelet():
    assert TINY.target_width == 3 * 2 * 8 * 8
    assert NANO.target_width == 3 * 8 * 8
    assert {name: size.target_width for name, size in SIZES.items() if name in "BLHg"} == {
        "B": 1536,
        "L": 1536,
        "H": 1536,
        "g": 1176,
    }


def test_the_mask_token_starts_within_its_bounds():
    token = VideoMAE(replace(TINY, decoder_width=64)).mask_token
    assert 0 < token.abs().max() <= 0.02


CELLS = replace(NANO, mask_patch_size=4)  # a token is a frame of 4x4 places


def test_finer_masks_hide_places_of_a_token():
    model, video = VideoMAE(CELLS).eval(), torch.randn(2, 3, 8, 16, 16)
    hidden = torch.rand(2, 16).argsort(dim=1) < 6
    mask = hidden.repeat(1, 8)  # a tube: the same places of all frames
    output = model(video, mask)
    assert CELLS.mask_grid == (8, 4, 4)
    assert output.prediction.shape == output.target.shape == (2, 8 * 6, 3 * 2 * 2)
    assert output.weight.min() == 1

    unseen = mask.view(2, 1, 8, 4, 1, 4, 1).expand(2, 3, 8, 4, 4, 4, 4).reshape(video.shape)
    changed = torch.where(unseen, torch.randn_like(video), video)
    torch.testing.assert_close(model(changed, mask).prediction, output.prediction)
    changed = torch.where(unseen, video, torch.randn_like(video))
    assert not torch.allclose(model(changed, mask).prediction, output.prediction)


def test_a_place_is_predicted_by_its_own_part_of_the_token():
    model, video = VideoMAE(CELLS).eval(), torch.randn(1, 3, 8, 16, 16)
    mask = (torch.arange(16) >= 8).repeat(1, 8)
    before = model(video, mask).prediction
    place, rows = 9, (4, 5)  # row 2, column 1 of the places: rows 4, 5, columns 2, 3 of the target
    wanted = [(row * 8 + column) * 3 + c for row in rows for column in (2, 3) for c in range(3)]
    with torch.no_grad():
        model.decoder.head.bias[wanted] += torch.arange(1.0, 13.0)
    difference = (model(video, mask).prediction - before).view(8, 8, 12)
    torch.testing.assert_close(difference[:, place - 8], torch.arange(1.0, 13.0).expand(8, 12))
    assert difference[:, [0, 2, 3, 4, 5, 6, 7]].abs().max() == 0


def test_a_split_says_what_its_mask_says():
    model = VideoMAE(CELLS)
    video, split = model.example_inputs()
    mask = torch.zeros(2, 128, dtype=torch.bool).scatter(1, split.masked, True)
    assert all(torch.equal(a, b) for a, b in zip(split, split_mask(mask), strict=True))
    assert torch.equal(model(video, mask).loss, model(video, split).loss)
