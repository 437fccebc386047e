"""What every model of the zoo must do; a new kind brings its miniatures, and no test of its own."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import einops
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from internvideo.models import classifier, unmasked_teacher, videomae
from internvideo.models.classifier import VideoClassifier
from internvideo.models.contract import has
from internvideo.models.layers import checkpoint_blocks
from internvideo.models.unmasked_teacher import UnmaskedTeacher
from internvideo.models.videomae import VideoMAE
from internvideo.zoo.architecture import Architecture
from internvideo.zoo.architectures import ARCHITECTURES

MINIATURES = {
    f"{kind.id}-{name}": (kind, config)
    for kind in ARCHITECTURES
    for name, config in kind.tiny.items()
}
PUBLISHED = {
    f"{kind.id}-{name}": (kind, config)
    for kind in ARCHITECTURES
    for name, config in kind.sizes.items()
}
# One of each class is enough for what takes seconds; the other ways to build it are `slow`.
FIRST = {kind.model: name for name, (kind, _) in reversed(MINIATURES.items())}
SLOW_TO_TRACE = {
    "actionformer",
    "dino/detector",
    "internvideo",
    "internvideo-mm",
    "internvideo-mm/question-answering",
    "navigation/depth",
    "navigation/navigator",
    "navigation/policy",
    "unmasked-teacher/multimodal",
    "vslnet",
}
IN_SECONDS = {name for name in FIRST.values() if MINIATURES[name][0].id not in SLOW_TO_TRACE}
# What sees features in place of video is no encoder.
ENCODERS = {n: each for n, each in MINIATURES.items() if "features" in each[0].model.capabilities}
every_miniature = pytest.mark.parametrize(("kind", "config"), MINIATURES.values(), ids=MINIATURES)
every_encoder = pytest.mark.parametrize(("kind", "config"), ENCODERS.values(), ids=ENCODERS)
every_size = pytest.mark.parametrize(("kind", "config"), PUBLISHED.values(), ids=PUBLISHED)
every_class = pytest.mark.parametrize(
    ("kind", "config"),
    [
        pytest.param(
            *MINIATURES[name], id=name, marks=[] if name in IN_SECONDS else pytest.mark.slow
        )
        for name in FIRST.values()
    ],
)
every_build = pytest.mark.parametrize(
    ("kind", "config"),
    [
        pytest.param(*case, id=name, marks=[] if name in IN_SECONDS else pytest.mark.slow)
        for name, case in MINIATURES.items()
    ],
)
PYRAMIDS = ("object-words", "uniformer/classifier")  # their blocks differ in width and grid
CHOOSING = ("dino/detector",)  # a rounding can swap two of the pixels that queries start from
ONLY_IN_TRAINING = ("bbox_head.label_embedding.weight",)  # of queries that are not given here
# Tracing through einops' own Python takes two thirds of the time of a compilation.
torch._dynamo.allow_in_graph(einops.rearrange)
torch._dynamo.allow_in_graph(einops.repeat)
torch._dynamo.config.allow_rnn = True  # LSTMs are not taken into a graph otherwise


def build(kind: Architecture, config: Any, *, seed: int = 0) -> Any:
    """Return a model in evaluation mode in which no branch hides behind a zero."""
    torch.manual_seed(seed)
    model = kind.model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return model


def inputs_of(model: Any, batch: int = 2) -> tuple[Any, ...]:
    torch.manual_seed(5)
    return model.example_inputs(batch)


def tensors(answer: Any) -> list[Tensor]:
    """Return all numbers of an answer, whatever it is."""
    if isinstance(answer, Tensor):
        return [answer] if answer.is_floating_point() else []
    if dataclasses.is_dataclass(answer):
        answer = [getattr(answer, field.name) for field in dataclasses.fields(answer)]
    parts = answer if isinstance(answer, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors(part)]


class Numbers(nn.Module):
    """A model whose answer is the tuple of its numbers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(tensors(self.model(*inputs)))


@torch.no_grad()
def run(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    return Numbers(model)(*inputs)


def loss_of(model: Any) -> Tensor:
    """Return a number that depends on every number of an answer."""
    generator = torch.Generator().manual_seed(9)
    parts = [
        (part.float() * torch.randn(part.shape, generator=generator)).sum()
        for part in Numbers(model)(*inputs_of(model))
    ]
    return torch.stack([*parts, model.temperature()] if has(model, "text") else parts).sum()


def gradients(model: Any) -> dict[str, Tensor | None]:
    model.zero_grad()
    loss_of(model).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def assert_equal(ones: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> None:
    assert len(ones) == len(others) > 0
    assert all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


# --- what is declared -------------------------------------------------------------------------


@every_miniature
@torch.no_grad()
def test_it_does_what_it_declares(kind, config):
    model = build(kind, config)
    video, *_ = inputs_of(model, 3)
    assert model.capabilities <= kind.model.capabilities
    assert model.capabilities
    no_encoder = any(has(model, each) for each in ("moments", "spans", "objects", "navigation"))
    assert has(model, "features") == has(model, "embed") == (not no_encoder)
    if has(model, "text"):
        ids = model.tokenizer(["a b", "c"])
        for vectors in (model.encode_video(video), model.encode_text(ids)):
            torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
        assert model.temperature().shape == ()
        torch.testing.assert_close(model.embed(video), model.encode_video(video))
    if has(model, "classes"):
        assert model(video).shape == (3, model.config.num_classes)
        assert model.head.out_features == model.config.num_classes
    if has(model, "answers"):
        ids, rows = model.tokenize(["a b", "c"]), torch.tensor([2, 0])
        logits = model.answer(model.forward_features(video), ids, rows=rows)
        assert logits.shape == (2, model.config.num_classes)
        torch.testing.assert_close(logits, model(video[rows], ids))
    if has(model, "captions"):
        assert [type(text) for text in model.caption(video)] == [str] * 3
    if has(model, "match"):
        assert isinstance(model.matches_all, bool)
        texts = model.read(model.tokenizer(["a b", "c"]))
        tokens = model.forward_features(video[:2]).tokens
        logits = model.match_logits(tokens, texts)
        assert logits.shape == (2, 2)
        swapped = model.match_logits(tokens.flip(0), texts.take(torch.tensor([1, 0])))
        torch.testing.assert_close(swapped, logits.flip(0))
    if has(model, "moments"):
        found = model(*inputs_of(model, 3))
        assert len(found.logits) == len(found.offsets) == len(model.config.strides)
        for logits, offsets in zip(found.logits, found.offsets, strict=True):
            assert logits.shape == (*offsets.shape[:2], model.config.num_classes)
            assert (offsets >= 0).all()
    if has(model, "boxes"):
        found = model(*inputs_of(model, 3))
        assert found.shape == (3, model.config.num_classes)
        video, rois = inputs_of(model, 2)
        assert model(video, rois[:0]).shape == (0, model.config.num_classes)
    if has(model, "contacts"):
        verbs, seconds = model(*inputs_of(model, 3))
        assert verbs.shape == (3, model.config.num_verbs + 1)
        assert (seconds > 0).all()
    if has(model, "objects"):
        found = model(*inputs_of(model, 3))
        assert found.logits.shape[1:] == (*found.boxes.shape[1:3], model.config.num_classes)
        assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
    if has(model, "spans"):
        found = model(*inputs_of(model, 3))
        assert found.start.shape == found.end.shape == found.highlight.shape == video.shape[:2]


def test_nothing_is_guessed_from_attributes():
    pretender = nn.Module()
    pretender.config = classifier.SIZES["S"]  # type: ignore[assignment]
    pretender.caption = pretender.encode_video = lambda video: video  # type: ignore[assignment]
    names = ("features", "text", "classes", "match", "moments", "spans")
    assert not any(has(pretender, name) for name in names)


@every_encoder
@torch.no_grad()
def test_features_are_tokens_in_a_grid(kind, config):
    model = build(kind, config)
    video, *_ = inputs_of(model)
    first, last = model.intermediates(video, (0, -1))
    features = model.forward_features(video, layers=(0, -1))
    assert_equal((first, last), features.hidden)
    assert not torch.equal(first, last)
    if kind.id in PYRAMIDS:
        assert first.shape[1] > last.shape[1] == features.tokens.shape[1]
    else:
        assert first.shape == last.shape == features.tokens.shape
    assert features.volume().shape[:4] == (2, *features.grid)
    assert torch.isfinite(features.tokens).all()
    assert torch.equal(features.tokens, model.forward_features(video).tokens)
    with pytest.raises(IndexError):
        model.intermediates(video, (99,))


@every_encoder
@torch.no_grad()
def test_embeddings_are_unit_vectors_of_single_clips(kind, config):
    model = build(kind, config)
    video, *_ = inputs_of(model, 3)
    together, alone = model.embed(video), model.embed(video[1:2])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(together[1], alone[0], rtol=1e-4, atol=1e-5)
    assert not torch.equal(together[0], together[1])
    assert model.bfloat16().embed(video.bfloat16()).dtype == torch.float32


# --- training ---------------------------------------------------------------------------------


@every_miniature
def test_the_gradient_reaches_every_parameter_that_is_trained(kind, config):
    model = build(kind, config)
    if not any(p.requires_grad for p in model.parameters()):
        assert not loss_of(model).requires_grad
        return
    found = gradients(model)
    unreached = [name for name, grad in found.items() if grad is None or not grad.any()]
    assert [name for name in unreached if name not in ONLY_IN_TRAINING] == []


@every_miniature
def test_checkpointing_changes_memory_only(kind, config):
    model = build(kind, config)
    if not any(p.requires_grad for p in model.parameters()):
        return
    plain = gradients(model)
    checkpoint_blocks(model)
    for name, grad in gradients(model).items():
        torch.testing.assert_close(grad, plain[name])


@every_miniature
def test_it_can_be_copied_and_pickled(kind, config):
    assert pickle.loads(pickle.dumps(config)) == config
    model = build(kind, config)
    checkpoint_blocks(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(block.activation_checkpointing for block in twin.block_modules())
        checkpoint_blocks(twin, enabled=False)
        assert_equal(run(twin, inputs_of(twin)), run(model, inputs_of(model)))
    assert all(block.activation_checkpointing for block in model.block_modules())


# --- weights ----------------------------------------------------------------------------------


@every_miniature
def test_the_state_is_all_there_is(kind, config):
    model, twin = build(kind, config, seed=1), build(kind, config, seed=2)
    state = model.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == kind.shapes(config)
    twin.load_state_dict(state, strict=True)
    assert_equal(run(model, inputs_of(model)), run(twin, inputs_of(twin)))


@every_miniature
def test_builds_on_the_meta_device_and_takes_weights_without_a_copy(kind, config):
    model = build(kind, config)
    state = {  # of which no tensor is what a fresh model would have
        name: 1.1 * tensor if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state)
    with torch.device("meta"):
        hollow = kind.model(config).eval()
    assert all(tensor.is_meta for tensor in (*hollow.parameters(), *hollow.buffers()))
    hollow.load_state_dict(state, strict=True, assign=True)
    hollow.reset_buffers()
    assert_equal(run(hollow, inputs_of(hollow)), run(model, inputs_of(model)))


@every_miniature
def test_materialises_from_the_meta_device_by_reset_parameters(kind, config):
    with torch.device("meta"):
        model = kind.model(config).eval()
    model = model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.fill_(float("nan"))
    model.reset_parameters()
    every = (*model.named_parameters(), *model.named_buffers())
    assert [name for name, tensor in every if tensor.isnan().any()] == []
    assert all(torch.isfinite(part).all() for part in run(model, inputs_of(model)))


@every_size
def test_published_sizes_run_on_the_meta_device(kind, config):
    with torch.device("meta"):
        model = kind.model(config).eval()
        answers = run(model, model.example_inputs(3))
    assert answers
    assert all(answer.is_meta for answer in answers)
    assert len(list(model.block_modules())) > 0


# --- numbers ----------------------------------------------------------------------------------


def plain_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
    assert dropout_p == 0.0
    logits = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        logits = logits.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        logits = logits + attn_mask
    return logits.softmax(dim=-1) @ v


@every_miniature
def test_fused_attention_equals_the_formula(kind, config, monkeypatch):
    model = build(kind, config)
    fused = run(model, inputs_of(model))
    monkeypatch.setattr(F, "scaled_dot_product_attention", plain_attention)
    for one, other in zip(run(model, inputs_of(model)), fused, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@every_miniature
def test_bfloat16_stays_close_to_float32(kind, config):
    if kind.id in CHOOSING:
        return
    model = build(kind, config)
    inputs = inputs_of(model)
    exact = run(model, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = run(model, inputs)
    halved = tree_map(lambda x: x.bfloat16() if x.is_floating_point() else x, inputs)
    for rough in (mixed, run(model.bfloat16(), halved)):
        for one, other in zip(rough, exact, strict=True):
            assert (one.float() - other).norm() < 0.03 * other.norm()


@every_build
def test_compiles_to_one_graph(kind, config):
    assert_compiles(build(kind, config))


@every_class
def test_compiles_to_one_graph_with_checkpointing(kind, config):
    model = build(kind, config)
    checkpoint_blocks(model)
    assert_compiles(model)


def assert_compiles(model: Any) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    inputs = inputs_of(model)
    expected = tensors(model(*inputs))
    for one, other in zip(tensors(compiled(*inputs)), expected, strict=True):
        torch.testing.assert_close(one, other)


@every_class
def test_exports_with_a_dynamic_batch(kind, config):
    model = Numbers(build(kind, config))
    batch = torch.export.Dim("batch", min=2, max=64)
    inputs, more = inputs_of(model.model), inputs_of(model.model, 5)
    shapes = tree_map(lambda _: {0: batch}, inputs)
    program = torch.export.export(model, inputs, dynamic_shapes=(shapes,))
    for one, other in zip(program.module()(*more), run(model.model, more), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (
            lambda: VideoClassifier(dataclasses.replace(classifier.SIZES["S"], num_classes=710)),
            22_153_286,
        ),
        (lambda: VideoClassifier(classifier.SIZES["B"]), 86_534_800),
        (lambda: VideoClassifier(classifier.SIZES["L"]), 304_270_736),
        (
            lambda: VideoClassifier(
                dataclasses.replace(classifier.SIZES["H"], image_size=384, num_frames=32)
            ),
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
