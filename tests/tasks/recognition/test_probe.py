from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from internvideo.data.samples import Sample
from internvideo.data.world import WorldSource
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.probe import ProbeClassifier, ProbeClassifierConfig
from internvideo.models.videomae import VideoMAE, VideoMAEConfig
from internvideo.models.vit import VideoViTConfig
from internvideo.tasks.frozen_features import FeatureSample, FeatureSource, cache_features
from internvideo.tasks.recognition.evaluate import evaluate
from internvideo.tasks.recognition.probe import ProbeConfig, ProbeRecognition
from internvideo.world import World
from internvideo.zoo import load_encoder_weights, load_model, save_pretrained
from internvideo.zoo.hub import Record
from internvideo.zoo.load import LoadedModel

PROTOCOL = tiny.PROTOCOL
NUM_CLASSES = 28
ENCODER = VideoViTConfig(
    image_size=32, num_frames=4, patch_size=16, tubelet_size=2, width=64, depth=1, num_heads=1
)


def probe(head: str = "linear") -> ProbeClassifier:
    torch.manual_seed(0)
    return ProbeClassifier(
        ProbeClassifierConfig(encoder=ENCODER, num_classes=NUM_CLASSES, head=head, num_heads=2)
    )


def world(num_clips: int = 24) -> WorldSource:
    return WorldSource(World(seed=1, size=32, num_frames=8), num_clips=num_clips)


def cache(model, source, directory, *, protocol=PROTOCOL, views="center", **options):
    loop = EvalLoop(directory=directory, **options)
    return cache_features(model, source, protocol, loop, views=views)


class Broken(WorldSource):
    """A world of which one clip cannot be read."""

    def read_views(self, index, protocol):
        if index == 2:
            raise VideoError("clip 2 is broken")
        return super().read_views(index, protocol)


@pytest.mark.parametrize("head", ["linear", "attentive"])
def test_kept_features_train_like_the_clips_themselves(tmp_path, head):
    task = ProbeRecognition(probe(head), PROTOCOL, ProbeConfig(label_smoothing=0.1))
    source = world(8)
    kept = cache(task.model, source, tmp_path / "features")
    rng = np.random.default_rng(0)
    rows = [task.prepare(kept.read(index, rng), rng)[0] for index in range(8)]
    from_disk = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    clips = torch.cat([source.read_views(index, PROTOCOL).views for index in range(8)])
    features = task.model.features(clips)
    assert from_disk["features"].dtype == torch.float16
    torch.testing.assert_close(from_disk["features"].float(), features, rtol=2e-3, atol=2e-3)
    losses = task.training_loss(from_disk)
    logits = task.model.classify(features)
    expected = F.cross_entropy(logits, from_disk["label"], label_smoothing=0.1)
    torch.testing.assert_close(losses["loss"], expected, rtol=1e-2, atol=1e-3)
    assert 0 <= losses["top1"] <= 1


def test_clips_without_kept_features_go_through_the_encoder():
    task = ProbeRecognition(probe(), PROTOCOL, ProbeConfig())
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 48, 3), dtype=np.uint8)
    [row] = task.prepare(Sample(frames=frames, label=3), np.random.default_rng(0))
    batch = {name: torch.stack([value, value]) for name, value in row.items()}
    losses = task.training_loss(batch)
    losses["loss"].backward()
    assert task.model.head.weight.grad is not None
    with pytest.raises(DataError, match=r"label 28.* 28 classes"):
        task.prepare(Sample(frames=frames, label=28), np.random.default_rng(0))


def test_a_head_trained_on_kept_features_learns_and_is_saved_with_its_encoder(tmp_path):
    model = probe()
    kept = cache(model, world(), tmp_path / "features", views="all")
    task = ProbeRecognition(model, PROTOCOL, ProbeConfig()).train()
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=0.05)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(40):
        rows = [task.prepare(kept.read(index, rng), rng)[0] for index in range(len(kept))]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        output = task.training_loss(batch)
        optimizer.zero_grad()
        output["loss"].backward()
        optimizer.step()
        losses.append(float(output["loss"].detach()))
    assert losses[-1] < 0.3 * losses[0]
    saved = save_pretrained(model.eval(), tmp_path / "model", preprocessing=PROTOCOL)
    loaded = load_model(saved)
    assert loaded.architecture == "videomae/probe"
    report = evaluate(loaded, world(), loop=EvalLoop())
    own = LoadedModel(model, Record(preprocessing=PROTOCOL))
    assert report.top1 == evaluate(own, world(), loop=EvalLoop()).top1
    assert report.top1 > 50


def test_an_interrupted_pass_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("internvideo.tasks.frozen_features._PART", 4)
    model, folder = probe(), tmp_path / "features"

    def stop(done, total):
        assert total == 10
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache(model, world(10), folder, batch_size=1, progress=stop)
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert names == ["part-0-00000.safetensors", "part-0-00001.safetensors"]
    times = [(folder / name).stat().st_mtime_ns for name in names]
    kept = cache(model, world(10), folder)
    assert times == [(folder / name).stat().st_mtime_ns for name in names]
    assert [kept.key(index) for index in range(10)] == [world().key(index) for index in range(10)]
    assert [kept.label(index) for index in range(10)] == [world().label(i) for i in range(10)]


def test_clips_that_cannot_be_read_are_counted_and_told(tmp_path, caplog):
    source = Broken(World(seed=1, size=32, num_frames=8), num_clips=5)
    kept = cache(probe(), source, tmp_path / "features")
    assert len(kept) == 4
    assert kept.failures == [("world-1-2", "clip 2 is broken")]
    assert "1 of 5 clips could not be read" in caplog.text
    only = Broken(World(seed=1, size=32, num_frames=8), num_clips=1, start=0)
    only.read_views = lambda *_: (_ for _ in ()).throw(VideoError("broken"))
    with pytest.raises(DataError, match="no video could be read"):
        cache(probe(), only, tmp_path / "none")


def test_features_of_another_encoder_or_kind_are_refused(tmp_path):
    cache(probe(), world(3), tmp_path)
    with pytest.raises(ConfigError, match=r"\(.*features\)"):
        cache(probe("attentive"), world(3), tmp_path)
    other = probe()
    other.encoder.reset_parameters()
    with pytest.raises(ConfigError, match=r"\(.*encoder\)"):
        cache(other, world(3), tmp_path)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_several_views_are_drawn_in_turn(tmp_path, monkeypatch, memory):
    monkeypatch.setattr("internvideo.tasks.frozen_features._MEMORY", memory)
    source = WorldSource(World(seed=1, size=32, num_frames=16), num_clips=2)
    cache(probe(), source, tmp_path, protocol=tiny.MULTI_VIEW, views="all")
    kept = FeatureSource(tmp_path)
    drawn = {
        tuple(kept.read(0, np.random.default_rng(seed)).features["features"].tolist())
        for seed in range(40)
    }
    assert len(drawn) == 2  # the crops of a square are the same, its clips are not
    twin = pickle.loads(pickle.dumps(kept))
    one, other = (each.read(1, np.random.default_rng(0)) for each in (kept, twin))
    assert isinstance(one, FeatureSample)
    assert torch.equal(one.features["features"], other.features["features"])


def test_a_pretrained_encoder_becomes_the_frozen_one(tmp_path):
    torch.manual_seed(3)
    source = VideoMAE(
        VideoMAEConfig(encoder=ENCODER, decoder_width=64, decoder_depth=1, decoder_num_heads=1)
    )
    torch.save({"model": source.state_dict()}, tmp_path / "pretrained.pth")
    model = probe("attentive")
    load_encoder_weights(model, tmp_path / "pretrained.pth")
    for name, tensor in source.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], tensor), name
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
