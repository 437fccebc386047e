"""Training on features: what a sample is, and that the padding of a batch changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from internvideo.data.feature_videos import FeatureVideoSource, read_videos
from internvideo.data.features import FeatureFiles
from internvideo.data.samples import Sample
from internvideo.errors import CheckpointError, ConfigError, DataError
from internvideo.models.feature_origin import FeatureOrigin
from internvideo.models.vslnet import VSLNet
from internvideo.tasks.language_queries.clips import QuerySource, feature_source, seconds_of
from internvideo.tasks.language_queries.reading import QueryReader
from internvideo.tasks.language_queries.spans import (
    highlight_labels,
    highlight_loss,
    location_loss,
    reduce_rows,
)
from internvideo.tasks.language_queries.task import SpanConfig, SpanTraining, build
from internvideo.tasks.parts import Parts
from internvideo.train.data import Example, collate
from internvideo.video.preprocessing import PRESETS
from internvideo.zoo import save_pretrained
from internvideo.zoo.architectures import ARCHITECTURES
from internvideo.zoo.kinds.vslnet import VSLNET
from tasks.language_queries import toy

WORDS = VSLNET.tiny["words"]
OWN_WORDS = replace(WORDS, text=replace(WORDS.text, pretrained=False), predictor="transformer")
TINY = {**VSLNET.tiny, "own-words": OWN_WORDS}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy")
    toy.write(path, num_clips=3, split="train", seed=1)
    return path


def videos(folder: Path) -> FeatureVideoSource:
    files = FeatureFiles(folders=folder / "features")
    return FeatureVideoSource(read_videos(folder / "nlq_train.json"), files.open())


def queries(folder: Path, name: str, *, keep_vectors: bool = False, **changes) -> QuerySource:
    torch.manual_seed(0)
    model = VSLNet(replace(TINY[name], **changes))
    return QuerySource(
        videos(folder), model.config, QueryReader(model), skip_empty=False,
        keep_vectors=keep_vectors,
    )  # fmt: skip


def test_a_sample_is_a_query_with_its_span(folder):
    source = queries(folder, "bert", max_length=48)
    annotated = videos(folder)
    [first, second] = annotated.annotated.videos[0].segments
    sample = source.read(1, RNG).tensors
    features = annotated.features(0)
    rows = int(sample["num_rows"])
    assert rows == len(features)
    assert torch.equal(sample["video"][:rows], features.features)
    assert not sample["video"][rows:].any()
    assert len(source) == 6
    assert second.id in source.key(1)
    start, end = (round(time / toy.SECONDS_PER_ROW) for time in (second.start, second.end))
    assert sample["span"].tolist() == [start, end - 1]
    assert first.start != second.start


def test_rows_beyond_the_longest_are_reduced_and_the_span_with_them(folder):
    sample = queries(folder, "bert", max_length=16).read(0, RNG).tensors
    features = videos(folder).features(0)
    assert torch.equal(sample["video"], reduce_rows(features.features, 16))
    assert 0 <= sample["span"][0] <= sample["span"][1] < 16


@pytest.mark.parametrize("name", ["bert", "words", "own-words"])
def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_samples(folder, name):
    """A step trims the padding of the samples, and what is left of it changes nothing."""
    source = queries(folder, name, max_length=48)
    torch.manual_seed(1)
    task = SpanTraining(VSLNet(replace(source.config, drop_rate=0.0)).eval(), SpanConfig())
    samples = [source.read(place, RNG) for place in (0, 2, 5)]
    prepared = [task.prepare(sample, RNG) for sample in samples]
    losses = task.training_loss(collate([Example(rows) for rows in prepared]).tensors)
    alone = [task.training_loss(collate([Example(rows)]).tensors) for rows in prepared]
    location = torch.stack([each["location"] for each in alone]).mean()
    torch.testing.assert_close(losses["location"], location, rtol=1e-5, atol=1e-5)
    counts = torch.tensor([float(each.tensors["num_rows"]) for each in samples])
    highlights = torch.stack([each["highlight"] for each in alone])
    expected = (highlights * counts).sum() / counts.sum()
    torch.testing.assert_close(losses["highlight"], expected, rtol=1e-5, atol=1e-5)
    total = losses["location"] + 5.0 * losses["highlight"]
    torch.testing.assert_close(losses["loss"], total)


def test_the_losses_are_those_of_the_formulas(folder):
    source = queries(folder, "bert", max_length=48)
    torch.manual_seed(1)
    model = VSLNet(source.config).eval()
    reading = QueryReader(model)
    video = videos(folder)
    task = SpanTraining(model, SpanConfig(highlight_weight=2.0))
    batch = collate([Example(task.prepare(source.read(0, RNG), RNG))]).tensors
    losses = task.training_loss(batch)
    rows = video.features(0).features[None]
    shown = torch.ones(rows.shape[:2], dtype=torch.bool)
    text = video.annotated.videos[0].segments[0].captions
    found = model(rows, shown, *reading.padded(reading.read(text)).inputs())
    span = batch["span"]
    labels = highlight_labels(span, torch.tensor([rows.shape[1]]), rows.shape[1])
    location = location_loss(found.start, found.end, span)
    highlight = highlight_loss(found.highlight, labels, shown)
    torch.testing.assert_close(losses["loss"], location + 2.0 * highlight)


def test_words_can_be_read_once_by_a_text_encoder_that_drops_nothing(folder):
    read, kept = (queries(folder, "bert", keep_vectors=keep) for keep in (False, True))
    assert "ids" in read.read(0, RNG).tensors
    sample = kept.read(0, RNG).tensors
    assert "ids" not in sample
    assert sample["vectors"].shape[1] == TINY["bert"].text.width
    torch.manual_seed(0)
    task = SpanTraining(VSLNet(read.config).eval(), SpanConfig())
    losses = [
        task.training_loss(collate([Example([source.read(1, RNG).tensors])]).tensors)["loss"]
        for source in (read, kept)
    ]
    torch.testing.assert_close(*losses)


def test_queries_of_no_length_can_be_left_out(tmp_path):
    toy.write(tmp_path, num_clips=2, split="train", seed=1)
    path = tmp_path / "nlq_train.json"
    first = videos(tmp_path).annotated.videos[0].segments[0]
    path.write_text(path.read_text().replace(
        f'"clip_end_sec": {first.end}', f'"clip_end_sec": {first.start}', 1))  # fmt: skip
    model = VSLNet(TINY["bert"])
    counts = [
        len(QuerySource(videos(tmp_path), model.config, QueryReader(model), skip_empty=skip,
                        keep_vectors=False))
        for skip in (False, True)
    ]  # fmt: skip
    assert counts == [4, 3]


def test_a_length_is_that_of_the_annotation_in_whole_rows_where_these_count(folder):
    features = videos(folder).features(0)
    assert seconds_of(features, 4.9, TINY["bert"]) == 4.9
    assert seconds_of(features, 4.9, replace(TINY["bert"], times="whole-rows")) == 4.5
    assert seconds_of(features, 0.1, replace(TINY["bert"], times="whole-rows")) == 0.5
    unknown = replace(features, duration=None)
    assert seconds_of(unknown, None, TINY["bert"]) == len(features) * toy.SECONDS_PER_ROW


def test_what_cannot_be_trained_on_is_named(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"12 channels, model\.video_width is 7"):
        queries(folder, "bert", video_width=7)
    with pytest.raises(ConfigError, match="kind: features"):
        feature_source(object())
    with pytest.raises(DataError, match="clip without a query"):
        SpanTraining(VSLNet(TINY["bert"]), SpanConfig()).prepare(
            Sample(frames=np.zeros((1, 2, 2, 3), np.uint8), key="a.mp4"), RNG
        )
    toy.write(tmp_path, num_clips=1, split="train", seed=1)
    path = tmp_path / "nlq_train.json"
    path.write_text(path.read_text().replace("clip_start_sec", "x").replace("clip_end_sec", "y"))
    with pytest.raises(DataError, match="no queries with known times"):
        queries(tmp_path, "bert")


def test_what_made_the_features_is_checked(tmp_path):
    toy.write(tmp_path, num_clips=1, split="train", seed=1)
    manifest = {**toy.MANIFEST, "model": "viclip-nano", "weights_sha256": "abc"}
    (tmp_path / "features" / "manifest.json").write_text(json.dumps(manifest))
    right = FeatureOrigin(model="viclip-nano", window=15, stride=15, fps=30.0)
    queries(tmp_path, "bert", origin=right)
    for wrong in ({"window": 8}, {"weights_sha256": "abe"}, {"fps": None}):
        with pytest.raises(ConfigError, match=f"model.origin.{next(iter(wrong))}"):
            queries(tmp_path, "bert", origin=replace(right, **wrong))


# --- the parts of a recipe


def parts(model, **changes) -> Parts:
    given = {"with_weights": True, **changes}
    return Parts(
        task="language-queries", models=("vslnet",), model=model, preprocessing=PRESETS["nano"],
        architectures=ARCHITECTURES, **given,
    )  # fmt: skip


def test_word_vectors_come_from_a_file(tmp_path):
    table = tmp_path / "glove.txt"
    table.write_text("the 1 2\ncup 0.5 -1\n")
    section = {"video_width": 4, "text": {"kind": "WordText", "vocabulary": str(table)}}
    model = build(SpanConfig(), parts(section)).model
    text = model.config.text
    assert text.vocabulary == ("the", "cup")
    assert (text.num_words, text.word_width, text.pretrained) == (4, 2, True)
    table.write_text("the\ncup\n")
    assert build(SpanConfig(), parts(section)).model.config.text.pretrained is False
    table.write_text("the 1 2\ncup 0.5 -1\n")
    vectors = model.embedding_net.word_emb.glove_vec
    assert vectors.tolist() == [[1.0, 2.0], [0.5, -1.0]]
    with torch.device("meta"):
        same = build(SpanConfig(), parts(section, with_weights=False)).model
    assert same.config == model.config


def test_a_plain_bert_starts_the_text_encoder(tmp_path):
    words = tmp_path / "vocab.txt"
    words.write_text("\n".join(TINY["bert"].text.vocabulary))
    torch.manual_seed(3)
    donor = VSLNet(TINY["bert"]).embedding_net.embedder
    state = {n.removeprefix("bert."): t for n, t in donor.state_dict().items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    bert = {"max_positions": 16, "width": 16, "depth": 2, "num_heads": 2, "mlp_hidden": 24,
            "fusion_layer": 2, "masked_lm": False}  # fmt: skip
    section = {
        "video_width": 4,
        "text": {"kind": "BertText", "vocabulary": str(words), "bert": bert},
    }
    task = build(SpanConfig(bert=str(tmp_path)), parts(section))
    for name, tensor in donor.state_dict().items():
        assert torch.equal(task.model.embedding_net.embedder.state_dict()[name], tensor)
    given = {"video_width": 4, "text": {"kind": "GivenText", "width": 3}}
    with pytest.raises(CheckpointError, match="no BERT to start"):
        build(SpanConfig(bert=str(tmp_path)), parts(given))


def test_a_trained_model_can_be_the_start(tmp_path):
    torch.manual_seed(5)
    start = VSLNet(TINY["given"])
    save_pretrained(start, tmp_path / "start")
    section = {"video_width": 12, "width": 16, "num_heads": 2, "max_length": 24,
               "text": {"kind": "GivenText", "width": 16}}  # fmt: skip
    model = build(SpanConfig(), parts(section, init=str(tmp_path / "start"))).model
    for name, tensor in start.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    with pytest.raises(CheckpointError, match="of another shape"):
        build(SpanConfig(), parts({**section, "width": 8}, init=str(tmp_path / "start")))
