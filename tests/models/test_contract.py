"""What every model of the family must do; a new model is one more line in `MODELS`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from internvideo.models import classifier, layers, unmasked_teacher, videomae, vit
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.layers import checkpoint_blocks
from internvideo.models.tubelets import TokenSplit, split_mask
from internvideo.models.unmasked_teacher import UnmaskedTeacher, UnmaskedTeacherConfig
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import ConvStemConfig, VideoViT, VideoViTConfig

STEM = VideoViTConfig(
    image_size=16,
    patch_size=16,
    num_frames=6,
    tubelet_size=1,
    width=16,
    depth=2,
    num_heads=2,
    stem=ConvStemConfig(channels=(4, 6), strides=(2, 2)),
)
PLAIN = VideoViTConfig(image_size=16, patch_size=8, num_frames=4, width=16, depth=2, num_heads=2)
OPTIONS = replace(PLAIN, cosine_attention=True, init_values=0.5, positions="learnable")


def _tiny(size: VideoViTConfig) -> VideoViTConfig:
    """Return a published size with its proportions and little else."""
    return replace(
        size,
        image_size=2 * size.patch_size,
        num_frames=4,
        width=4 * size.num_heads,
        depth=2,
    )


def _autoencoder(encoder: VideoViTConfig, **options) -> VideoMAEConfig:
    return VideoMAEConfig(
        encoder=encoder, decoder_width=8, decoder_depth=1, decoder_num_heads=2, **options
    )


@dataclass(frozen=True)
class Model:
    """A way to build a model, and what to read from its answer."""

    build: Callable[[], nn.Module]
    run: Callable[[nn.Module, Tensor], Tensor]
    encoder: VideoViTConfig

    def video(self, batch: int = 2) -> Tensor:
        config = self.encoder
        shape = (batch, 3, config.num_frames, config.image_size, config.image_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def _half_hidden(config: VideoViTConfig, batch: int) -> TokenSplit:
    t, h, w = config.grid
    order = torch.arange(t * h * w).expand(batch, -1)
    return TokenSplit(order[:, ::2].contiguous(), order[:, 1::2].contiguous())


def _encoder(config: VideoViTConfig) -> Model:
    return Model(lambda: VideoViT(config), lambda model, video: model(video).tokens, config)


def _masked(config: VideoMAEConfig) -> Model:
    def run(model: nn.Module, video: Tensor) -> Tensor:
        output = model(video, _half_hidden(config.encoder, len(video)))
        return torch.cat([output.prediction.flatten(1), output.loss.expand(len(video), 1)], dim=1)

    return Model(lambda: VideoMAE(config), run, config.encoder)


def _aligned(config: UnmaskedTeacherConfig) -> Model:
    def run(model: nn.Module, video: Tensor) -> Tensor:
        answers = model(video, _half_hidden(config.encoder, len(video)).visible)
        return answers[..., ::2].transpose(0, 1).flatten(1)  # all of a unit vector has no gradient

    return Model(lambda: UnmaskedTeacher(config), run, config.encoder)


def _classes(config: VideoClassifierConfig) -> Model:
    return Model(lambda: VideoClassifier(config), lambda model, video: model(video), config)


MODELS = {
    **{f"vit-{name}": _encoder(_tiny(size)) for name, size in vit.SIZES.items()},
    "vit-stem": _encoder(STEM),
    "vit-options": _encoder(OPTIONS),
    **{
        f"videomae-{name}": _masked(_autoencoder(_tiny(size.encoder)))
        for name, size in videomae.SIZES.items()
    },
    **{
        f"umt-{name}": _aligned(replace(size, encoder=_tiny(size.encoder), num_targets=2))
        for name, size in unmasked_teacher.SIZES.items()
    },
    "videomae-stem": _masked(_autoencoder(STEM, target="motion", target_size=8)),
    "videomae-options": _masked(_autoencoder(OPTIONS, target="pixels")),
    **{
        f"classifier-{name}": _classes(replace(_tiny(size), num_classes=5, init_scale=1.0))
        for name, size in classifier.SIZES.items()
    },
    "classifier-first": _classes(
        VideoClassifierConfig(
            image_size=16,
            patch_size=8,
            num_frames=4,
            width=16,
            depth=2,
            num_heads=2,
            num_classes=3,
            pooling="first",
            final_norm=True,
            positions="direct",
        )
    ),
}
# One model of each kind, for the slower checks whose outcome does not depend on the size.
KINDS = [name for name in MODELS if name.endswith(("-B", "-stem", "-options", "-first"))]
every_model = pytest.mark.parametrize("name", MODELS)
every_kind = pytest.mark.parametrize("name", KINDS)


def _built(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = MODELS[name].build()
    for parameter in model.parameters():  # no branch may hide behind a zero
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


def _reference_attention(q, k, v, *, mask=None, dropout=0.0, scale=None, is_causal=False):
    assert mask is None
    assert not is_causal
    assert dropout == 0.0
    logits = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return logits.softmax(dim=-1) @ v


@every_model
def test_the_answer_for_a_clip_does_not_depend_on_its_batch(name):
    model, case = _built(name).eval(), MODELS[name]
    video = case.video(3)
    with torch.no_grad():
        alone, together = case.run(model, video[1:2]), case.run(model, video)
    assert torch.isfinite(together).all()
    last = -1 if name.startswith("videomae") else None  # the loss is that of the whole batch
    torch.testing.assert_close(alone[0][:last], together[1][:last], rtol=1e-4, atol=1e-5)


@every_model
def test_the_gradient_reaches_every_parameter(name):
    model, case = _built(name), MODELS[name]
    case.run(model, case.video()).square().sum().backward()
    silent = [
        key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert silent == []


@every_model
def test_fused_attention_equals_the_formula(name, monkeypatch):
    model, case = _built(name).eval(), MODELS[name]
    with torch.no_grad():
        fused = case.run(model, case.video())
        monkeypatch.setattr(layers, "attention", _reference_attention)
        plain = case.run(model, case.video())
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)


@every_model
def test_the_state_holds_the_weights_and_nothing_else(name):
    model, case = _built(name, seed=1).eval(), MODELS[name]
    state = model.state_dict()
    running = {key for key in state if key.startswith(("stem.", "encoder.stem."))}
    assert state.keys() - running == dict(model.named_parameters()).keys() - running
    twin = _built(name, seed=2).eval()
    twin.load_state_dict(state, strict=True)
    with torch.no_grad():
        assert torch.equal(case.run(model, case.video()), case.run(twin, case.video()))


@every_model
def test_builds_on_the_meta_device_and_takes_weights_without_a_copy(name):
    model, case = _built(name).eval(), MODELS[name]
    with torch.device("meta"):
        hollow = case.build().eval()
    assert all(tensor.is_meta for tensor in (*hollow.parameters(), *hollow.buffers()))
    hollow.load_state_dict(model.state_dict(), strict=True, assign=True)
    hollow.reset_buffers()
    with torch.no_grad():
        assert torch.equal(case.run(hollow, case.video()), case.run(model, case.video()))


@every_model
def test_materialises_from_the_meta_device_by_reset_parameters(name):
    case = MODELS[name]
    with torch.device("meta"):
        model = case.build()
    model = model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.fill_(float("nan"))
    model.reset_parameters()
    left = [
        key for key, p in (*model.named_parameters(), *model.named_buffers()) if p.isnan().any()
    ]
    assert left == []
    assert torch.isfinite(case.run(model, case.video())).all()


@every_kind
def test_checkpointing_changes_memory_only(name):
    model, case = _built(name), MODELS[name]
    model.eval()  # batch statistics and drop path aside
    gradients = []
    for enabled in (False, True):
        checkpoint_blocks(model, enabled=enabled)
        model.zero_grad()
        case.run(model, case.video()).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert gradients[0]
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plain, recomputed)


@every_kind
def test_a_checkpointed_model_can_be_copied_and_pickled(name):
    model = _built(name)
    checkpoint_blocks(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(block.activation_checkpointing for block in twin.block_modules())
        checkpoint_blocks(twin, enabled=False)
    assert all(block.activation_checkpointing for block in model.block_modules())


@pytest.mark.parametrize(
    ("name", "checkpointed"),
    [
        ("vit-options", False),
        ("vit-B", True),
        ("umt-b16", True),
        ("videomae-B", False),
        ("videomae-stem", False),
        ("classifier-B", False),
    ],
)
def test_compiles_to_one_graph(name, checkpointed):
    model, case = _built(name).eval(), MODELS[name]
    checkpoint_blocks(model, enabled=checkpointed)
    video = case.video()
    torch._dynamo.reset()
    graphs = []

    def count(graph: torch.fx.GraphModule, _inputs):
        graphs.append(graph)
        return graph.forward

    expected = case.run(model, video)
    compiled = torch.compile(
        model, backend=count
    )  # the default mode: a break would make two graphs
    torch.testing.assert_close(case.run(compiled, video), expected)
    assert len(graphs) == 1


@every_kind
def test_bfloat16_stays_close_to_float32(name):
    model, case = _built(name).eval(), MODELS[name]
    video = case.video()
    with torch.no_grad():
        exact = case.run(model, video)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = case.run(model, video).float()
        half = case.run(copy.deepcopy(model).bfloat16(), video.bfloat16()).float()
    for rough in (mixed, half):
        assert (rough - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("videomae")])
def test_exports_with_a_dynamic_batch(name):
    model, case = _built(name).eval(), MODELS[name]
    if isinstance(model, VideoClassifier):
        whole: nn.Module = model
    else:

        class Tokens(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model

            def forward(self, video):
                return self.inner(video).tokens

        whole = Tokens().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(whole, (case.video(2),), dynamic_shapes=({0: batch},))
    video = case.video(5)
    torch.testing.assert_close(program.module()(video), whole(video), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: VideoClassifier(replace(classifier.SIZES["S"], num_classes=710)), 22_153_286),
        (lambda: VideoClassifier(classifier.SIZES["B"]), 86_534_800),
        (lambda: VideoClassifier(classifier.SIZES["L"]), 304_270_736),
        (
            lambda: VideoClassifier(replace(classifier.SIZES["H"], image_size=384, num_frames=32)),
            632_119_440,
        ),
        (lambda: VideoClassifier(classifier.SIZES["g"]), 1_012_174_352),
        (lambda: UnmaskedTeacher(unmasked_teacher.SIZES["b16"]), 88_005_888),
        (lambda: UnmaskedTeacher(unmasked_teacher.SIZES["l16"]), 307_806_720),
        (lambda: VideoMAE(videomae.SIZES["B"]), 94_210_944),
        (lambda: VideoMAE(videomae.SIZES["L"]), 342_996_992),
        (lambda: VideoMAE(videomae.SIZES["H"]), 658_266_880),
        (lambda: VideoMAE(videomae.SIZES["g"]), 1_026_306_560),
    ],
    ids=["S-k710", "B", "L", "H-f32-res384", "g", "umt-B", "umt-L", "pt-B", "pt-L", "pt-H", "pt-g"],
)
def test_published_sizes_have_the_parameters_of_the_released_files(build, parameters):
    with torch.device("meta"):
        model = build()
    assert sum(p.numel() for p in model.state_dict().values()) == parameters
    assert len(list(model.block_modules())) > 0


def test_a_split_says_what_its_mask_says():
    case = MODELS["videomae-B"]
    model, video = _built("videomae-B"), case.video()
    split = _half_hidden(case.encoder, 2)
    mask = torch.ones(2, 8, dtype=torch.bool).scatter(1, split.visible, False)
    assert all(torch.equal(a, b) for a, b in zip(split, split_mask(mask), strict=True))
    assert torch.equal(model(video, mask).loss, model(video, split).loss)
