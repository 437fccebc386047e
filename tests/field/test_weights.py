"""Weights as people have them: from transformers, open_clip, timm, mmaction2, trainers and runs.

What the libraries compute with random weights is the right value; no network. The cases that lie
beside the checkout are tried where they are.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from internvideo.errors import CheckpointError
from internvideo.models.classifier import VideoClassifier, VideoClassifierConfig
from internvideo.models.umt_classifier import UMTClassifier, UMTClassifierConfig
from internvideo.models.vit import VideoViT, VideoViTConfig
from internvideo.zoo import load_encoder_weights, load_model, verify
from internvideo.zoo.checkpoint import read_checkpoint
from internvideo.zoo.export import save_for_transformers
from internvideo.zoo.load import official_state
from zoo import tiny

CASES = Path(__file__).parents[3] / "shared" / "cases"


def case(name: str) -> Path:
    """Return the folder of a case, or skip the test by that name."""
    path = CASES / name
    if not path.is_dir():
        pytest.skip(f"the case {name} is not there")
    return path


def example(side: int) -> torch.Tensor:
    """Return the clip of the cases, 16 frames, normalised to [-1, 1]."""
    t, y, x, c = torch.meshgrid(*(torch.arange(n) for n in (16, side, side, 3)), indexing="ij")
    pixels = (t * 7 + (y * y) // 40 + x * 3 + c * 50 + (x * y) // 64) % 256
    return (pixels.float() / 255 * 2 - 1).permute(3, 0, 1, 2)[None]


def expected(folder: Path, name: str) -> torch.Tensor:
    return torch.tensor(json.loads((folder / "expected.json").read_text())[name])[None]


def drawn(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model with weights that no initialisation gives (but a scale of one number)."""
    torch.manual_seed(0)
    for weight in model.parameters():
        if weight.ndim:
            torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def same_tensors(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


# transformers

VIDEOMAE = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}
LABELS = {0: "archery", 1: "bowling", 2: "juggling"}


def hf_videomae(kind: str):
    transformers = pytest.importorskip("transformers")
    options = {} if kind == "mean" else {"use_mean_pooling": False}
    if kind in ("mean", "first"):
        options |= {"id2label": LABELS, "label2id": {name: n for n, name in LABELS.items()}}
    cls = {
        "encoder": transformers.VideoMAEModel,
        "pretraining": transformers.VideoMAEForPreTraining,
    }.get(kind, transformers.VideoMAEForVideoClassification)
    return drawn(cls(transformers.VideoMAEConfig(**VIDEOMAE, **options)))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["mean", "first", "encoder", "pretraining"])
def test_a_videomae_of_transformers_and_back(tmp_path, kind):
    """Twin of case 03: the same numbers as transformers, both ways, bit for bit."""
    hf = hf_videomae(kind)
    hf.save_pretrained(tmp_path / "hf")
    ours = load_model(tmp_path / "hf")
    video = torch.randn(2, 3, 4, 32, 32)
    frames = video.transpose(1, 2)
    if kind == "encoder":
        answer, right = ours.model(video).tokens, hf(frames).last_hidden_state
    elif kind == "pretraining":
        hidden = torch.zeros(2, 8, dtype=torch.bool)
        hidden[:, ::2] = True
        answer, right = ours.model(video, hidden).prediction, hf(frames, hidden).logits
    else:
        answer, right = ours.model(video), hf(frames).logits
        assert ours.labels == tuple(LABELS.values())
        assert ours.model.config.pooling == kind
    torch.testing.assert_close(answer, right, rtol=1e-5, atol=1e-5)

    save_for_transformers(ours, tmp_path / "back")
    back = type(hf).from_pretrained(tmp_path / "back")
    same_tensors(hf.state_dict(), back.state_dict())
    again = load_model(tmp_path / "back")
    same_tensors(ours.model.state_dict(), again.model.state_dict())
    assert again.model.config == ours.model.config
    assert again.preprocessing == ours.preprocessing
    assert verify(tmp_path / "hf").ok


@torch.no_grad()
def test_our_classifier_in_transformers(tmp_path):
    """A model of ours, with the epsilon of the official files, gives the same logits there."""
    transformers = pytest.importorskip("transformers")
    config = VideoClassifierConfig(
        image_size=32, num_frames=4, positions="direct", width=64, depth=2, num_heads=2,
        num_classes=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = VideoClassifier(replace(config, init_scale=1.0)).eval()
    from internvideo.zoo.hub import LoadedModel, Record

    save_for_transformers(LoadedModel(model, Record(labels=("a", "b", "c"))), tmp_path)
    hf = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path).eval()
    video = torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(hf(video.transpose(1, 2)).logits, model(video), rtol=0, atol=1e-5)
    assert hf.config.id2label == {0: "a", 1: "b", 2: "c"}
    same_tensors(model.state_dict(), load_model(tmp_path).model.state_dict())


def test_what_transformers_cannot_compute_is_named(tmp_path):
    config = VideoViTConfig(image_size=32, width=64, depth=1, num_heads=1, init_values=0.1)
    from internvideo.zoo.hub import LoadedModel

    with pytest.raises(CheckpointError, match="a layer scale"):
        save_for_transformers(LoadedModel(VideoViT(config)), tmp_path)
    with pytest.raises(CheckpointError, match="no layout 'hf'"):
        save_for_transformers(LoadedModel(tiny.umt_classifier()), tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_a_clip_of_transformers_and_back(tmp_path, activation):
    """Twin of case 22."""
    transformers = pytest.importorskip("transformers")
    shape = {
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "hidden_act": activation,
    }
    text = {"num_attention_heads": 2, "vocab_size": 30, "max_position_embeddings": 8}
    vision = {"num_attention_heads": 4, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(
        text_config={**shape, **text, "eos_token_id": 2},
        vision_config={**shape, **vision},
        projection_dim=8,
    )
    hf = drawn(transformers.CLIPModel(config))
    hf.save_pretrained(tmp_path / "hf")
    ours = load_model(tmp_path / "hf")
    image, ids = torch.randn(2, 3, 32, 32), torch.tensor([[1, 5, 29, 0], [1, 29, 0, 0]])
    here = ours.model.encode_video(image[:, :, None], normalize=False)
    there = hf.get_image_features(pixel_values=image)
    torch.testing.assert_close(here, getattr(there, "pooler_output", there), rtol=0, atol=1e-5)
    here = ours.model.encode_text(ids, normalize=False)
    there = hf.get_text_features(input_ids=ids)
    torch.testing.assert_close(here, getattr(there, "pooler_output", there), rtol=0, atol=1e-5)
    save_for_transformers(ours, tmp_path / "back")
    back = transformers.CLIPModel.from_pretrained(tmp_path / "back")
    same_tensors(hf.state_dict(), back.state_dict())
    same_tensors(ours.model.state_dict(), load_model(tmp_path / "back").model.state_dict())


@torch.no_grad()
@pytest.mark.parametrize("cls", ["CLIP", "CustomTextCLIP"])
@pytest.mark.parametrize("gelu", [False, True], ids=["quick", "gelu"])
def test_a_clip_of_open_clip_and_back(tmp_path, cls, gelu):
    open_clip = pytest.importorskip("open_clip")
    shape = {
        "embed_dim": 8,
        "vision_cfg": {"layers": 2, "width": 64, "patch_size": 16, "image_size": 32},
        "text_cfg": {"context_length": 8, "vocab_size": 30, "width": 64, "heads": 1, "layers": 2},
    }
    theirs = drawn(getattr(open_clip, cls)(**shape, quick_gelu=not gelu))
    path = tmp_path / "open_clip_pytorch_model.bin"
    torch.save(theirs.state_dict(), path)
    assert verify(path).assumed == {
        "vision.activation": "quick-gelu",
        "text.activation": "quick-gelu",
    }
    said = {"vision.activation": "gelu", "text.activation": "gelu"}
    ours = load_model(path, config=said if gelu else None).model
    image, ids = torch.randn(2, 3, 32, 32), torch.tensor([[1, 5, 29, 0, 0, 0, 0, 0]])
    here = ours.encode_video(image[:, :, None], normalize=False)
    torch.testing.assert_close(here, theirs.encode_image(image), rtol=0, atol=1e-5)
    here = ours.encode_text(ids, normalize=False)
    torch.testing.assert_close(here, theirs.encode_text(ids), rtol=0, atol=1e-5)
    layout = "open-clip" if cls == "CLIP" else "open-clip-custom"
    same_tensors(dict(theirs.state_dict()), official_state(ours, layout=layout))
    # open_clip's own configuration beside the file settles it
    config = {"model_cfg": {**shape, "quick_gelu": not gelu}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert load_model(tmp_path).model.config.vision.activation == ("gelu" if gelu else "quick-gelu")


# encoders without a head, other heads, first token


@torch.no_grad()
def test_an_encoder_without_a_head(tmp_path):
    """Twin of case 05: prefix `model.`, fc_norm, no head."""
    model = tiny.classifier()
    state = {f"model.{n}": t for n, t in model.state_dict().items() if not n.startswith("head.")}
    save_file(state, tmp_path / "model.safetensors")
    hub = {"img_size": 224, "num_frames": 16, "embed_dim": 64, "num_heads": 1, "num_classes": 0}
    (tmp_path / "config.json").write_text(json.dumps({"model_config": hub}))
    loaded = load_model(tmp_path)
    assert loaded.model.capabilities == {"features", "embed"}
    video = torch.randn(1, 3, 16, 224, 224)
    assert torch.equal(loaded.model.embed(video), model.embed(video))
    assert torch.equal(loaded.model(video), model.pool(model.forward_features(video)))
    student = VideoClassifier(replace(model.config, num_classes=7))
    report = load_encoder_weights(student, tmp_path)
    assert (report.head, report.fresh) == ("fresh", ("head.weight", "head.bias"))
    assert torch.equal(student.fc_norm.weight, model.fc_norm.weight)


def test_a_headless_model_is_kept_and_has_no_classes(tmp_path):
    model = VideoClassifier(replace(tiny.classifier().config, num_classes=0))
    from internvideo.zoo.hub import save_pretrained

    again = load_model(save_pretrained(model, tmp_path))
    assert again.class_names is None
    with pytest.raises(CheckpointError, match="not a classifier"):
        load_model(tmp_path, labels=("a",))


@pytest.mark.parametrize("extra", ["no decoder", "foreign head", "detector"])
def test_a_start_takes_what_fits_and_names_what_it_left(tmp_path, caplog, extra):
    """Twin of case 09."""
    pretrained = tiny.videomae()
    state = dict(pretrained.state_dict())
    if extra == "no decoder":
        state = {n: t for n, t in state.items() if not n.startswith("decoder.")}
    else:
        state["my_head.weight"] = torch.zeros(3, 3)
    if extra == "detector":  # more foreign tensors than the encoder has
        state = {n.replace("encoder.", "backbone.", 1): t for n, t in state.items()}
        state |= {f"roi_head.{n}.weight": torch.zeros(1) for n in "abcdefghijklmnopqrstuvwxyz"}
    torch.save({"model": state}, tmp_path / "start.pth")
    model = VideoClassifier(tiny.classifier().config)
    with caplog.at_level(logging.INFO):
        report = load_encoder_weights(model, tmp_path / "start.pth")
    assert torch.equal(
        model.blocks[1].attn.qkv.weight, pretrained.encoder.blocks[1].attn.qkv.weight
    )
    assert any(name.endswith("mask_token") for name in report.left)
    if extra != "no decoder":
        assert "my_head.weight" in report.left
    assert "mask_token" in caplog.text
    if extra != "detector":
        with pytest.raises(CheckpointError, match="does not fit"):
            load_model(tmp_path / "start.pth")


def test_a_start_without_its_encoder_is_refused(tmp_path):
    state = {n: t for n, t in tiny.encoder().state_dict().items() if ".1.attn" not in n}
    torch.save(state, tmp_path / "start.pth")
    with pytest.raises(CheckpointError, match=r"missing: blocks\.1"):
        load_encoder_weights(VideoClassifier(tiny.classifier().config), tmp_path / "start.pth")


@torch.no_grad()
def test_a_classifier_that_pools_its_first_token(tmp_path):
    config = replace(tiny.classifier().config, pooling="first", final_norm=True)
    model = tiny.randomised(VideoClassifier(config))
    for layout in ("official", "mmaction2", "hf"):
        torch.save(official_state(model, layout=layout), tmp_path / f"{layout}.pth")
        answer = verify(tmp_path / f"{layout}.pth")
        assert answer.ok, answer.message
        assert (answer.architecture, answer.layout) == ("videomae/classifier", layout)
        loaded = load_model(tmp_path / f"{layout}.pth").model
        assert loaded.config.pooling == "first"
        tiny.assert_same_weights(loaded, model)


# files that do not tell everything


def test_a_clip_that_shapes_do_not_tell_is_asked_for(tmp_path):
    config = UMTClassifierConfig(width=64, depth=1, num_heads=1, num_classes=5, num_frames=32)
    model = UMTClassifier(config)
    torch.save(official_state(model), tmp_path / "umt.pth")
    with pytest.raises(CheckpointError, match=r"num_frames=32 or num_frames=8"):
        load_model(tmp_path / "umt.pth")
    assert not verify(tmp_path / "umt.pth").ok
    for said, size in (
        ({"num_frames": 32}, (32, 224)),
        ({"num_frames": 8}, (8, 448)),
        ({"image_size": 224}, (32, 224)),
    ):
        read = load_model(tmp_path / "umt.pth", config=said).model.config
        assert (read.num_frames, read.image_size) == size
        assert verify(tmp_path / "umt.pth", config=said).ok


@torch.no_grad()
def test_a_videomae_at_another_size_is_assumed_aloud(tmp_path):
    config = VideoClassifierConfig(
        image_size=32, num_frames=4, width=64, depth=1, num_heads=1, num_classes=3,
        positions="direct",
    )  # fmt: skip
    model = tiny.randomised(VideoClassifier(config))
    path = tmp_path / "v2.pth"
    torch.save(official_state(model), path)
    answer = verify(path)
    assert answer.assumed["positions"] == "base-grid"
    assert "num_frames=16" in answer.message
    said = {"image_size": 32, "num_frames": 4, "positions": "direct"}
    loaded = load_model(path, config=said)
    video = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(loaded.model(video), model(video))
    assert loaded.preprocessing.crop_size == 32
    assert "positions" in load_model(path).record.provenance["assumed"]
    from internvideo.errors import ConfigError

    with pytest.raises(ConfigError, match="Did you mean 'num_frames'"):
        load_model(path, config={"num_frame": 4})


# mmaction2


@torch.no_grad()
@pytest.mark.parametrize("learnt", [False, True], ids=["sinusoid", "learnt"])
def test_a_videomae_of_mmaction2(tmp_path, learnt):
    """Twin of case 18: its table of positions tells the clip, and is kept where it was learnt."""
    config = VideoClassifierConfig(
        image_size=32, patch_size=8, width=64, depth=1, num_heads=1, num_classes=3,
        positions="direct",
    )  # fmt: skip
    model = tiny.randomised(VideoClassifier(config))
    state = official_state(model, layout="mmaction2")
    assert "backbone.blocks.0.mlp.layers.0.0.weight" in state
    if learnt:
        state["backbone.pos_embed"] = torch.rand(1, 128, 64)
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "file.pth")
    loaded = load_model(tmp_path / "file.pth").model
    assert (loaded.config.image_size, loaded.config.num_frames) == (32, 16)
    assert loaded.config.positions == ("learnable" if learnt else "direct")
    video = torch.randn(1, 3, 16, 32, 32)
    assert torch.equal(loaded(video), model(video)) is not learnt


def test_a_uniformerv2_of_mmaction2(tmp_path):
    from internvideo.models.uniformerv2_classifier import (
        UniFormerV2Classifier,
        UniFormerV2ClassifierConfig,
    )

    config = UniFormerV2ClassifierConfig(
        image_size=32, width=64, depth=3, num_heads=1, global_layers=(1, 2), num_classes=5
    )
    model = tiny.randomised(UniFormerV2Classifier(config))
    state = official_state(model, layout="mmaction2")
    assert {"backbone.transformer.norm.weight", "cls_head.fc_cls.bias"} <= state.keys()
    torch.save({"state_dict": state}, tmp_path / "file.pth")
    tiny.assert_same_weights(load_model(tmp_path / "file.pth").model, model)
    without = {n: t for n, t in state.items() if not n.startswith("cls_head.")}
    torch.save({"state_dict": without}, tmp_path / "backbone.pth")
    encoder = load_model(tmp_path / "backbone.pth").model
    assert encoder.capabilities == {"features", "embed"}
    video = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder.embed(video), model.embed(video))
    assert load_encoder_weights(UniFormerV2Classifier(config), tmp_path / "backbone.pth").left == ()


# image transformers


@torch.no_grad()
def test_an_image_transformer_is_a_start_only(tmp_path):
    """Twin of case 21."""
    timm = pytest.importorskip("timm")
    image = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=64, depth=2, num_heads=1, num_classes=7
    )
    drawn(image)
    torch.save(image.state_dict(), tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match=r"image transformer.*4 dimensions.*cls_token"):
        load_model(tmp_path / "vit.pth")
    assert "`init:`" in verify(tmp_path / "vit.pth").message
    config = VideoViTConfig(image_size=32, num_frames=4, width=64, depth=2, num_heads=1)
    model = VideoViT(config).eval()
    report = load_encoder_weights(model, tmp_path / "vit.pth")
    assert set(report.left) == {"cls_token", "pos_embed", "head.weight", "head.bias"}
    tokens = torch.randn(1, 8, 64)
    for mine, theirs in zip(model.blocks, image.blocks, strict=True):
        torch.testing.assert_close(mine(tokens), theirs(tokens), rtol=1e-4, atol=1e-4)
    still = torch.randn(1, 3, 1, 32, 32)
    patches = image.patch_embed(still[:, :, 0])
    mine = model.embed_patches(still.expand(-1, -1, 4, -1, -1)) - model.pos_embed
    torch.testing.assert_close(mine[:, :4], patches, rtol=1e-4, atol=1e-4)
    learnable = VideoViT(replace(config, positions="learnable"))
    load_encoder_weights(learnable, tmp_path / "vit.pth")
    assert torch.equal(learnable.pos_embed[0, 4:], image.pos_embed[0, 1:])


# folders and wrappers


def test_folders_of_shards_and_of_bin_files(tmp_path):
    """Twin of case 16."""
    model = tiny.classifier()
    state = dict(model.state_dict())
    names = [f"model-0000{n}-of-00002" for n in (1, 2)]
    for ending, save in ((".safetensors", save_file), (".bin", torch.save)):
        folder = tmp_path / ending[1:]
        folder.mkdir()
        first = dict(list(state.items())[:9])
        save(first, folder / f"{names[0]}{ending}")
        save({n: t for n, t in state.items() if n not in first}, folder / f"{names[1]}{ending}")
        where = {n: f"{names[n not in first]}{ending}" for n in state}
        stem = "model.safetensors" if ending == ".safetensors" else "pytorch_model.bin"
        (folder / f"{stem}.index.json").write_text(json.dumps({"weight_map": where}))
        (folder / "config.json").write_text('{"model_type": "videomae"}')
        tiny.assert_same_weights(load_model(folder).model, model)
        assert verify(folder).ok
        load_encoder_weights(VideoClassifier(model.config), folder)
    shard = tmp_path / "safetensors" / f"{names[0]}.safetensors"
    tiny.assert_same_weights(load_model(shard).model, model)  # one of them means all
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"names {names[0]}"):
        load_model(tmp_path / "safetensors")
    index = tmp_path / "bin" / "pytorch_model.bin.index.json"
    index.write_text('{"weight_map": {"a": "../../secret.bin"}}')
    with pytest.raises(CheckpointError, match="must be files beside it"):
        load_model(tmp_path / "bin")
    index.unlink()
    torch.save(state, tmp_path / "bin" / "pytorch_model.bin")
    tiny.assert_same_weights(load_model(tmp_path / "bin").model, model)


OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
WRAPPERS = {
    "ddp": lambda state: {f"module.{n}": t for n, t in state.items()},
    "compiled": lambda state: {"model": {f"_orig_mod.{n}": t for n, t in state.items()}},
    "deepspeed": lambda state: {"module": state, "optimizer": OPTIMIZER, "ds_version": "0.9"},
    "lightning": lambda state: {
        "state_dict": {f"video_net.{n}": t for n, t in state.items()},
        "optimizer_states": [OPTIMIZER],
    },
    "two attributes": lambda state: {"state_dict": {f"task.net2.{n}": t for n, t in state.items()}},
    "another loss": lambda state: {
        "weights": {**{f"student.{n}": t for n, t in state.items()}}, "epoch": 3,
    },
    "own key": lambda state: {"net": state, "optimizer": OPTIMIZER, "epoch": 3},
    "state": lambda state: {"state": state, "optim": OPTIMIZER},
    "ema": lambda state: {"ema_weights": {"shadow": state}, "optimizer": OPTIMIZER},
    "model and ema": lambda state: {"model": state, "model_ema": state},
}  # fmt: skip


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_of_any_name_are_taken_off(tmp_path, caplog, wrapper):
    model = tiny.classifier()
    torch.save(WRAPPERS[wrapper](dict(model.state_dict())), tmp_path / "file.pth")
    with caplog.at_level(logging.INFO):
        tiny.assert_same_weights(load_model(tmp_path / "file.pth").model, model)
    assert "wrapper" in caplog.text
    assert verify(tmp_path / "file.pth").ok


def test_several_sets_of_weights_are_refused_by_name(tmp_path):
    state = dict(tiny.classifier().state_dict())
    torch.save({"teacher": state, "student": state, "epoch": 1}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="'teacher', 'student'"):
        read_checkpoint(tmp_path / "file.pth")


def test_a_whole_pickled_model_is_refused_with_the_way_out(tmp_path):
    torch.save({"model": tiny.classifier()}, tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match="state_dict"):
        load_model(tmp_path / "whole.pth")


def test_the_training_state_of_a_run_names_the_run(tmp_path):
    """Twin of case 14."""
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text("name: a\n")
    torch.save({"format": 1, "task": {"model.w": torch.zeros(1)}}, run / "last.ckpt")
    for use in (load_model, verify, lambda path: load_encoder_weights(tiny.classifier(), path)):
        with pytest.raises(CheckpointError, match=f"give the folder of the run, {run}"):
            use(run / "last.ckpt")
    with pytest.raises(CheckpointError, match="no model yet"):
        load_model(run)
    from internvideo.zoo.hub import save_pretrained

    save_pretrained(tiny.classifier(), run / "model")
    tiny.assert_same_weights(load_model(run).model, tiny.classifier())


# the cases themselves


@torch.no_grad()
def test_case_03_hf_videomae_finetuned():
    folder = case("03-hf-videomae-finetuned")
    loaded = load_model(folder / "model")
    assert loaded.labels == ("archery", "bowling", "juggling", "surfing", "yoga")
    right = expected(folder, "logits")
    torch.testing.assert_close(loaded.model(example(224)), right, rtol=0, atol=1e-3)
    assert verify(folder / "model" / "model.safetensors").ok
    model = VideoClassifier(replace(loaded.model.config, num_classes=9))
    assert load_encoder_weights(model, folder / "model").head == "fresh"


@torch.no_grad()
def test_case_05_hf_videomaev2_no_head():
    folder = case("05-hf-videomaev2-no-head")
    model = load_model(folder / "model").model
    right = expected(folder, "feature")
    torch.testing.assert_close(model(example(224)), right, rtol=0, atol=1e-3)
    unit = torch.nn.functional.normalize(right, dim=-1)
    torch.testing.assert_close(model.embed(example(224)), unit, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["a", "b"])
def test_case_09_init_with_foreign_head(tmp_path, name):
    lines = (case("09-init-with-foreign-head") / f"keys-{name}.txt").read_text().splitlines()
    pairs = (line.split("\t") for line in lines)
    state = {key: torch.rand(json.loads(shape)) for key, shape in pairs}
    torch.save({"model": state}, tmp_path / "start.pth")
    model = VideoClassifier(VideoClassifierConfig(width=64, depth=1, num_heads=1, num_classes=5))
    report = load_encoder_weights(model, tmp_path / "start.pth")
    assert torch.equal(model.blocks[0].attn.qkv.weight, state["encoder.blocks.0.attn.qkv.weight"])
    assert {"mask_token", "encoder_to_decoder.weight"} <= set(report.left)


def test_case_16_sharded_safetensors(tmp_path):
    source = (case("16-sharded-safetensors") / "make.py").read_text()
    (tmp_path / "make.py").write_text(source)
    spec = importlib.util.spec_from_file_location("make", tmp_path / "make.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    for folder in ("sharded", "bin"):
        assert load_model(tmp_path / folder).model.config.num_classes == 5


@torch.no_grad()
def test_case_18_mmaction2_videomae():
    folder = case("18-mmaction2-videomae")
    model = load_model(folder / "vit-tiny_videomae_mmaction2.pth").model
    right = expected(folder, "logits")
    torch.testing.assert_close(model(example(64)), right, rtol=0, atol=1e-2)


def test_case_21_timm_image_vit():
    message = verify(case("21-timm-image-vit") / "keys.txt").message
    assert "image transformer" in message
    assert "config.json" not in message


def test_case_22_hf_clip():
    answer = verify(case("22-hf-clip") / "clip-b16-hf.txt")
    assert answer.ok
    assert (answer.architecture, answer.layout) == ("openai-clip", "hf")
    assert answer.cards == ("openai-clip-vit-b-16",)
