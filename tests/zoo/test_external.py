"""Encoders of transformers and open_clip: equal to the libraries' output, saved and loaded."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from torch import Tensor

from internvideo.errors import CheckpointError, MissingExtraError, UnknownNameError
from internvideo.models.contract import has
from internvideo.models.external import ExternalProbe, ExternalProbeConfig
from internvideo.models.tokenizer import Tokenizer, trim_padding
from internvideo.zoo import external
from internvideo.zoo.hub import save_pretrained
from internvideo.zoo.kinds.external import EXTERNAL
from internvideo.zoo.load import load_model
from zoo.external_models import (
    CLASSIFIERS,
    EOS,
    IMAGE_TOWERS,
    LENGTH,
    MODELS,
    NAMES,
    OPEN_CLIP,
    PAIRS,
    VIDEO_TOWERS,
    save,
    save_open_clip,
    tokenizer,
)

SENTENCES = ["a dog plays in the snow", "a man"]


def clips(batch: int = 2, side: int = 32) -> Tensor:
    return torch.randn(batch, 3, 4, side, side, generator=torch.Generator().manual_seed(3))


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Return the folder in which each model of transformers lies under its name."""
    root = tmp_path_factory.mktemp("models")
    for name in MODELS:
        save(name, root / name)
    for name in OPEN_CLIP:
        save_open_clip(name, root / f"open-clip-{name}")
    return root


def source_of(folders: Path, name: str) -> str:
    return f"{'open-clip' if name.startswith('open-clip') else 'hf'}:{folders / name}"


# --- equal to the other library ---------------------------------------------------------------


@pytest.mark.parametrize("name", VIDEO_TOWERS)
@torch.no_grad()
def test_video_towers_give_their_own_tokens(folders, name):
    theirs = tf.AutoModel.from_pretrained(folders / name).eval()
    loaded = load_model(f"hf:{folders / name}")
    assert loaded.architecture == "external/encoder"
    features = loaded.model.forward_features(clips(), layers=(0, -1))
    values = {theirs.main_input_name: clips().transpose(1, 2), "output_hidden_states": True}
    output = theirs(**values)
    expected = output.last_hidden_state
    assert (features.cls is None) == (name in ("vjepa2", "videomae"))
    if features.cls is not None:
        close(features.cls, expected[:, 0])
        expected = expected[:, 1:]
    if name == "timesformer":  # place by place, where ours go step by step
        expected = expected.unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2)
    close(features.tokens, expected)
    assert features.grid == ((4, 2, 2) if name == "timesformer" else (2, 2, 2))
    assert [each.shape for each in features.hidden] == [features.tokens.shape] * 2
    if name == "vjepa2":
        close(features.hidden[0], output.hidden_states[1])


@pytest.mark.parametrize("name", IMAGE_TOWERS)
@torch.no_grad()
def test_image_towers_see_frame_by_frame(folders, name):
    theirs = tf.AutoModel.from_pretrained(folders / name).eval()
    model: Any = load_model(f"hf:{folders / name}").model
    features = model.forward_features(clips())
    t, h, w = features.grid
    assert t == 4
    assert features.volume().shape == (2, t, h, w, model.config.width)
    for step in range(4):
        output = theirs(pixel_values=clips()[:, :, step])
        tokens = output.last_hidden_state
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        close(features.volume()[:, step].flatten(1, 2), tokens[:, tokens.shape[1] - h * w :])
        if features.frame_cls is not None:
            cls = output.pooler_output if name == "clip-vision" else tokens[:, 0]
            close(features.frame_cls[:, step], cls)
    assert (features.cls is None) == (name in ("convnext", "swin"))


@pytest.mark.parametrize("name", CLASSIFIERS)
@torch.no_grad()
def test_classifiers_give_their_own_logits_under_their_names(folders, name):
    theirs: Any = getattr(tf, type(MODELS[name]()).__name__).from_pretrained(folders / name).eval()
    loaded = load_model(f"hf:{folders / name}")
    assert loaded.architecture == "external/classifier"
    assert loaded.class_names == tuple(NAMES.values())
    if name.startswith("vit"):
        frames = [theirs(clips()[:, :, step]).logits for step in range(4)]
        expected = torch.stack(frames).mean(dim=0)
    else:
        expected = theirs(clips().transpose(1, 2)).logits
    close(loaded.model(clips()), expected)
    some = load_model(f"hf:{folders / name}", labels=[f"name {n}" for n in range(5)])
    assert some.class_names == tuple(f"name {n}" for n in range(5))


@pytest.mark.parametrize("name", PAIRS)
@torch.no_grad()
def test_cosines_are_those_of_the_two_towers(folders, name):
    theirs: Any = tf.AutoModel.from_pretrained(folders / name).eval()
    loaded = load_model(f"hf:{folders / name}")
    model: Any = loaded.model
    assert loaded.architecture == "external/two-towers"
    still = clips()[:, :, :1].expand(-1, -1, 4, -1, -1)
    own = tf.AutoTokenizer.from_pretrained(folders / name)
    ids = own(SENTENCES, padding="max_length", max_length=LENGTH, return_tensors="pt")
    given: dict[str, Any] = {"input_ids": ids.input_ids, "pixel_values": still[:, :, 0]}
    if name == "siglip2":
        patches = F.unfold(still[:, :, 0], 16, stride=16).unflatten(1, (3, 16, 16))
        given |= {
            "pixel_values": patches.permute(0, 4, 2, 3, 1).flatten(2),
            "pixel_attention_mask": torch.ones(2, 4, dtype=torch.int32),
            "spatial_shapes": torch.tensor([[2, 2], [2, 2]]),
        }
    if name == "chinese-clip":
        given["attention_mask"] = ids.attention_mask
    output = theirs(**given)
    image, text = output.image_embeds, output.text_embeds
    expected = F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).T
    tokens = model.tokenizer(SENTENCES)
    assert torch.equal(tokens, ids.input_ids)
    close(model.encode_text(trim_padding(tokens)) @ model.encode_video(still).T, expected)
    close(model.temperature(), (-theirs.logit_scale).exp().reshape(()))
    close(model.embed(still), model.encode_video(still))


@pytest.mark.parametrize("name", OPEN_CLIP)
@torch.no_grad()
def test_open_clip_models_give_their_own_cosines_and_tokens(folders, tmp_path, name):
    theirs = save_open_clip(name, tmp_path / "model")
    loaded = load_model(f"open-clip:{folders / f'open-clip-{name}'}")
    model: Any = loaded.model
    side = model.config.image_size
    still = clips(side=side)[:, :, :1].expand(-1, -1, 4, -1, -1)
    if name == "clip":
        ids = open_clip.get_tokenizer("ViT-B-32")(SENTENCES)
    else:
        ids = tokenizer()(SENTENCES, padding="max_length", max_length=LENGTH).input_ids
        ids = torch.tensor(ids)
    assert torch.equal(model.tokenizer([f"{text}" for text in SENTENCES]), ids)
    expected = theirs.encode_text(ids, normalize=True)
    expected = expected @ theirs.encode_image(still[:, :, 0], normalize=True).T
    cosines = model.encode_text(trim_padding(ids)) @ model.encode_video(still).T
    close(cosines, expected)
    features = model.forward_features(still, layers=(-1, 0))
    assert features.volume().shape == (2, *features.grid, model.config.width)
    assert features.frame_cls.shape == (2, 4, model.config.width)
    assert not torch.equal(*features.hidden)
    assert loaded.protocol.resize_rule == "squash"
    assert loaded.protocol.mean == (0.5, 0.5, 0.5)
    with pytest.raises(IndexError):
        model.intermediates(still, (99,))


def test_texts_of_open_clip_are_cleaned(folders):
    model: Any = load_model(f"open-clip:{folders / 'open-clip-timm'}").model
    assert torch.equal(model.tokenizer("A DOG,\n plays!"), model.tokenizer("a dog plays"))
    assert isinstance(model.tokenizer, Tokenizer)
    assert model.tokenizer.end_id == EOS
    assert model.tokenizer.decode(model.tokenizer.encode("a dog")) == "a dog"


# --- the contract -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MODELS, "open-clip-clip", "open-clip-timm"])
@torch.no_grad()
def test_every_one_keeps_the_contract_and_can_be_saved(folders, tmp_path, name):
    loaded = load_model(source_of(folders, name))
    model: Any = loaded.model
    assert not model.training
    assert list(model.block_modules())
    video, *_ = model.example_inputs(3)
    side = model.config.image_size if name != "convnext" else 32
    video = video[..., :side, :side]
    vectors = model.embed(video)
    close(vectors.norm(dim=1), torch.ones(3))
    close(vectors[1], model.embed(video[1:2])[0])
    first, _ = model.intermediates(video, (0, -1))
    assert torch.equal(model.forward_features(video, layers=(0,)).hidden[0], first)
    with pytest.raises(IndexError):
        model.intermediates(video, (99,))
    if has(model, "classes"):
        assert model.head.out_features == model.config.num_classes == 5
    loaded.save_pretrained(tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert again.record == loaded.record
    assert again.model.config == model.config
    assert torch.equal(again.model.embed(video), vectors)
    for twin in (copy.deepcopy(again.model), pickle.loads(pickle.dumps(again.model))):
        assert torch.equal(twin.embed(video), vectors)
        if has(twin, "text"):
            assert torch.equal(twin.tokenizer(SENTENCES), model.tokenizer(SENTENCES))
    again.model.reset_parameters()
    assert not torch.equal(again.model.embed(video), vectors)
    half = load_model(tmp_path / "saved", dtype=torch.bfloat16).model
    assert half.embed(video.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", ["dinov3", "clip", "open-clip-clip", "vjepa2-classifier"])
@pytest.mark.parametrize("head", ["linear", "attentive"])
@torch.no_grad()
def test_a_probe_takes_the_part_that_sees(folders, tmp_path, name, head):
    source = source_of(folders, name)
    found = external.describe_external(source, encoder_only=True)
    assert found.config.tokenizer is found.config.num_classes is None
    config = ExternalProbeConfig(encoder=found.config, num_classes=3, head=head)
    probe = ExternalProbe(config).eval()
    external.start_probe(probe, source)
    whole: Any = load_model(source).model
    close(probe.forward_features(clips()).tokens, whole.forward_features(clips()).tokens)
    assert not any(p.requires_grad for p in probe.encoder.parameters())
    save_pretrained(probe, tmp_path / "probe")
    again: Any = load_model(tmp_path / "probe").model
    assert torch.equal(again(clips()), probe(clips()))
    assert not any(p.requires_grad for p in again.encoder.parameters())


# --- input protocol ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (
            tf.CLIPImageProcessor(),
            {"resize_rule": "short-side", "resize_size": 224, "crop_size": 224,
             "interpolation": "bicubic", "mean": (0.48145466, 0.4578275, 0.40821073)},
        ),
        (
            tf.SiglipImageProcessor(size={"height": 64, "width": 64}),
            {"resize_rule": "squash", "resize_size": 64, "crop_size": 64, "mean": (0.5, 0.5, 0.5)},
        ),
        (
            tf.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875),
            {"resize_rule": "short-side", "resize_size": 256, "crop_size": 224},
        ),
        (tf.VJEPA2VideoProcessor(crop_size=64), {"resize_size": 73, "crop_size": 64}),
        (
            # 0…255 becomes -1…1
            tf.VivitImageProcessor(do_normalize=False, offset=True, rescale_factor=1 / 127.5),
            {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "resize_size": 256, "crop_size": 224},
        ),
    ],
    ids=["clip", "siglip", "convnext", "vjepa2", "vivit"],
)  # fmt: skip
def test_the_protocol_is_that_of_the_processor(tmp_path, processor, expected):
    name = "vjepa2" if isinstance(processor, tf.VJEPA2VideoProcessor) else "vit"
    save(name, tmp_path)
    processor.save_pretrained(tmp_path)
    protocol = external.describe_external(f"hf:{tmp_path}").protocol
    for field, value in expected.items():
        known = value if isinstance(value, str) else pytest.approx(value)
        assert getattr(protocol, field) == known
    assert protocol.num_frames == (4 if name == "vjepa2" else 8)
    assert protocol.antialias


def test_a_folder_without_a_processor_is_told(folders, caplog):
    protocol = load_model(f"hf:{folders / 'videomae'}").protocol
    assert (protocol.num_frames, protocol.crop_size) == (4, 32)
    assert "assumed" in caplog.text


# --- names and errors -------------------------------------------------------------------------


def test_names_of_open_clip(tmp_path):
    with pytest.raises(UnknownNameError, match=r"ViT-B-32.*laion2b_s34b_b79k.*random"):
        load_model("open-clip:ViT-B-32")
    with pytest.raises(UnknownNameError, match="laion2b_s34b_b79k"):
        load_model("open-clip:ViT-B-32/laion2b_s34b_b79")
    with pytest.raises(UnknownNameError, match=r"Did you mean.*ViT-B-32"):
        load_model("open-clip:ViT-B-33/openai")
    found = external.describe_external("open-clip:ViT-B-32/openai")
    assert found.config.settings["quick_gelu"] is True  # which belongs to those weights
    assert found.config.width == 768
    assert external.describe_external("open-clip:ViT-B-16-SigLIP/random", encoder_only=True)


def test_random_weights_and_a_file_of_an_open_clip_model(tmp_path, monkeypatch):
    values = {**OPEN_CLIP["clip"]}
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: copy.deepcopy(values))
    model: Any = load_model("open-clip:tiny/random").model
    torch.save(model.network.state_dict(), tmp_path / "weights.pt")
    again: Any = load_model(f"open-clip:tiny/{tmp_path / 'weights.pt'}").model
    assert torch.equal(again.embed(clips()), model.embed(clips()))
    assert not torch.equal(
        load_model("open-clip:tiny/random").model.embed(clips()), again.embed(clips())
    )  # type: ignore[operator]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: tf.BertModel(tf.BertConfig(**SIZES)), "BertModel"),
        (lambda: tf.GPT2Model(tf.GPT2Config(n_embd=8, n_layer=1, n_head=1)), "GPT2Model"),
    ],
)
def test_models_that_see_nothing_are_refused_by_name(tmp_path, model, named):
    model().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{named}.*supported: .*vjepa2.*siglip2"):
        load_model(f"hf:{tmp_path}")


SIZES = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
}  # fmt: skip


def test_weights_that_are_missing_or_broken_are_told(folders, tmp_path):
    save("videomae", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"cannot be loaded.*model.safetensors"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    with pytest.raises(CheckpointError, match="unheard-of"):
        load_model(f"hf:{tmp_path}")
    # a file of another model would leave weights at random
    save("vit", tmp_path / "vit")
    (folders / "dinov2" / "model.safetensors").rename(tmp_path / "vit" / "model.safetensors")
    with pytest.raises(CheckpointError, match="no weights for"):
        load_model(f"hf:{tmp_path / 'vit'}")
    (tmp_path / "vit" / "model.safetensors").rename(folders / "dinov2" / "model.safetensors")


@pytest.mark.parametrize("name", ["/no/such/folder", "./no", "", "a/b/c"])
def test_a_path_to_nothing_is_told(name):
    with pytest.raises(CheckpointError, match="no such folder"):
        load_model(f"hf:{name}")


def test_without_the_hub_it_says_so(monkeypatch):
    monkeypatch.setenv("INTERNVIDEO_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="hub is not reachable"):
        load_model("hf:nobody/nothing-at-all")
    with pytest.raises(CheckpointError, match="hub is not reachable"):
        load_model("open-clip:ViT-B-32/laion2b_s34b_b79k")


def test_a_missing_extra_is_named(monkeypatch, folders):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"internvideo\[transformers\]"):
        load_model(f"hf:{folders / 'vit'}")


def test_a_config_of_something_else_is_refused(folders, tmp_path):
    load_model(f"hf:{folders / 'vit'}").save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["config"]["network"] = "AutoModel"
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="AutoModel"):
        load_model(tmp_path)


def test_neither_library_is_imported_before_it_is_needed():
    code = (
        "import sys, internvideo as iv; from internvideo.zoo.load import load_model; iv.load;"
        "print({'transformers', 'open_clip', 'timm'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_each_kind_has_its_class():
    assert len({kind.model for kind in EXTERNAL}) == len(EXTERNAL)
