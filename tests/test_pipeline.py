from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import internvideo as iv
import tiny
from internvideo.errors import ConfigError, DataError, UnknownNameError, VideoError
from internvideo.evaluation.classification import Classification
from internvideo.evaluation.data import AnnotatedData
from internvideo.models.uniformerv2_classifier import (
    UniFormerV2Classifier,
    UniFormerV2ClassifierConfig,
)
from internvideo.pipeline import VideoModel, choose_device, load
from internvideo.tasks.captioning.predict import CaptionStyle
from internvideo.tasks.zero_shot.prompting import prompt_templates
from internvideo.video import Video, write_video
from internvideo.video.opening import expand_videos
from internvideo.zoo import save_pretrained

GROW_SHRINK = ("something grows", "something shrinks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.save_viclip(root / "viclip")
    tiny.save_internvideo_mm(root / "mm")
    tiny.save_classifier(root / "classifier")
    tiny.save_videomae(root / "videomae")
    return root


@pytest.fixture
def viclip(folder) -> VideoModel:
    return load(folder / "viclip", device="cpu")


@pytest.fixture
def mm(folder) -> VideoModel:
    return load(folder / "mm", device="cpu")


@pytest.fixture
def classifier(folder) -> VideoModel:
    return load(folder / "classifier", device="cpu")


@pytest.fixture
def videomae(folder) -> VideoModel:
    return load(folder / "videomae", device="cpu")


def noise(num_frames: int = 12, seed: int = 0, size: tuple[int, int] = (40, 48)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, *size, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", noise(), fps=8)


def test_load_is_the_front_door(folder):
    model = iv.load(folder / "viclip")
    assert isinstance(model, iv.VideoModel)
    assert not model.model.training
    assert model.preprocessing == tiny.PROTOCOL
    assert model.labels is None
    assert model.tokenizer is not None
    assert model.card is None
    assert "4 frames" in repr(model)


def test_scores_are_cosines_and_probabilities_their_softmax_at_the_models_temperature(viclip, clip):
    answer = viclip.classify(clip, GROW_SHRINK)
    cosines = (viclip.embed_video(clip) @ viclip.embed_text(GROW_SHRINK).T)[0]
    order = cosines.argsort(descending=True)
    assert answer.labels == tuple(GROW_SHRINK[i] for i in order)
    assert answer.scores == pytest.approx(cosines[order].tolist(), abs=1e-6)
    expected = (cosines / float(viclip.model.temp.detach())).softmax(0)[order]
    assert answer.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
    assert answer.video == str(clip)
    assert answer.model == viclip.name
    assert answer.protocol == tiny.PROTOCOL.describe()


def test_templates_average_the_cosines_over_their_sentences(viclip, clip):
    answer = viclip.classify(clip, ["grows", "jumps"], templates=["something {}", "a thing {}"])
    score = dict(zip(answer.labels, answer.scores, strict=True))["grows"]
    cosines = viclip.embed_video(clip) @ viclip.embed_text(["something grows", "a thing grows"]).T
    assert score == pytest.approx(float(cosines.mean()), abs=1e-6)


def test_internvideo_mm_averages_probabilities_over_its_sentences_as_they_are(mm, clip):
    templates = ["a {}", "{} can be seen"]
    answer = mm.classify(clip, ["Star", "circle"], templates=templates)
    video = mm.embed_video(clip)[0]
    shares = torch.stack(
        [
            (
                mm.embed_text([template.format(name) for name in ("Star", "circle")])
                @ video
                / mm.model.temperature().detach()
            ).softmax(0)
            for template in templates
        ]
    ).mean(0)
    found = dict(answer.top(2))
    assert [found["Star"], found["circle"]] == pytest.approx(shares.tolist(), abs=1e-5)
    assert answer.scores == answer.probabilities
    assert mm.labelling(["A Star!", "a"]).prompts == {"A Star!": ("A Star!",), "a": ("a",)}


def test_captions_of_clips_and_of_windows(mm, viclip, clip):
    short = CaptionStyle(max_length=4)
    text = mm.caption(clip, short)
    assert 1 <= len(text.split()) <= 4
    frames = noise()
    [whole] = mm.caption_many([frames], short)
    assert whole.text == mm.caption(frames, short)
    assert list(mm.predict("captioning", frames, max_length=4)) == [whole]
    with Video(clip) as video, torch.no_grad():
        expected = mm.model.caption(tiny.PROTOCOL.load(video), max_length=4)
    assert [text] == expected
    spans = list(mm.caption_windows(clip, 0.5, CaptionStyle(max_length=2)))
    assert [(span.start, span.end) for span in spans] == [(0, 0.5), (0.5, 1.0), (1.0, 1.5)]
    assert mm.caption_timeline(clip, 0.5, CaptionStyle(max_length=2)).spans == tuple(spans)
    [gone, again] = mm.caption_many(["gone.mp4", clip], short)
    assert isinstance(gone, VideoError)
    assert again.text == text
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        mm.caption("gone.mp4")
    with pytest.raises(ConfigError, match="caption decoder"):
        viclip.caption(clip)


def test_captions_up_to_where_a_video_breaks(mm, clip):
    class Breaking(Video):
        def frames(self, indices):
            if max(indices) >= 8:
                raise VideoError("clip.mp4: broken")
            return super().frames(indices)

    answer = mm.caption_timeline(Breaking(clip), 0.5)
    assert [(span.start, span.end) for span in answer.spans] == [(0, 0.5), (0.5, 1.0)]
    assert answer.incomplete == "clip.mp4: broken"
    with pytest.raises(VideoError, match="broken"):
        mm.caption_timeline(Breaking(clip), 1.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "beem"}, "Did you mean 'beam'"),
        ({"num_beams": 0}, "num_beams"),
        ({"top_p": 1.5}, "top_p"),
        ({"temperature": 0.0}, "temperature"),
        ({"max_length": 0}, "max_length"),
    ],
)
def test_impossible_styles_of_captions(values, message):
    with pytest.raises(ConfigError, match=message):
        CaptionStyle(**values)


def test_templates_by_name_or_as_a_single_sentence(viclip, clip):
    named = viclip.classify(clip, ["grows", "jumps"], templates="action16")
    whole = viclip.classify(clip, ["grows", "jumps"], templates=prompt_templates("action16"))
    assert named.scores == whole.scores
    one = viclip.classify(clip, ["grows", "jumps"], templates="something {}")
    assert one.scores == pytest.approx(
        viclip.classify(clip, ["something grows", "something jumps"]).scores
    )
    with pytest.raises(UnknownNameError, match="action16"):
        viclip.classify(clip, ["grows", "jumps"], templates="action61")


def test_top_k_keeps_the_best(viclip, clip):
    labels = ["something grows", "something shrinks", "a red star", "two objects crash"]
    whole = viclip.classify(clip, labels)
    best = viclip.classify(clip, labels, top_k=2)
    assert best.labels == whole.labels[:2]
    assert best.probabilities == whole.probabilities[:2]
    assert viclip.classify(clip, labels, top_k=99).labels == whole.labels
    with pytest.raises(ConfigError, match=r"top_k.* 0"):
        viclip.classify(clip, labels, top_k=0)


def test_a_text_model_needs_labels(viclip, clip):
    with pytest.raises(ConfigError, match="--labels"):
        viclip.classify(clip)
    with pytest.raises(ConfigError, match="no labels"):
        viclip.classify(clip, [])


def test_the_text_tower_runs_once_for_a_set_of_labels(viclip, clip, monkeypatch):
    calls = []
    original = viclip.model.encode_text
    monkeypatch.setattr(viclip.model, "encode_text", lambda ids: calls.append(1) or original(ids))
    for _ in range(3):
        viclip.classify(clip, GROW_SHRINK)
    assert len(calls) == 1
    viclip.classify(clip, GROW_SHRINK, templates="a {}")
    viclip.classify(clip, GROW_SHRINK[::-1])
    assert len(calls) == 3


def test_a_classifier_averages_the_softmax_over_the_views(classifier, clip):
    answer = classifier.classify(clip)
    with Video(clip) as video:
        views = tiny.MULTI_VIEW.load(video)
    with torch.no_grad():
        expected = classifier.model(views).softmax(1).mean(0)
    assert len(views) == 6
    found = dict(zip(answer.labels, answer.probabilities, strict=True))
    assert [found[name] for name in tiny.CLASSES] == pytest.approx(expected.tolist(), abs=1e-6)
    assert list(answer.probabilities) == sorted(answer.probabilities, reverse=True)
    assert sum(answer.probabilities) == pytest.approx(1, abs=1e-5)


def test_any_model_that_tells_its_number_of_classes_is_a_classifier(clip, tmp_path):
    torch.manual_seed(5)
    config = UniFormerV2ClassifierConfig(
        image_size=32, num_frames=4, patch_size=16, width=64, depth=2, num_heads=2,
        global_layers=(1,), num_classes=3,
    )  # fmt: skip
    network = UniFormerV2Classifier(config)
    save_pretrained(network, tmp_path, preprocessing=tiny.PROTOCOL, labels=("a", "b", "c"))
    model = load(tmp_path, device="cpu")
    assert model.labels == ("a", "b", "c")
    with Video(clip) as video, torch.no_grad():
        views = tiny.PROTOCOL.load(video)
        expected = model.model(views).softmax(1)[0]
        feature = model.model.forward_features(views).cls
    found = dict(model.classify(clip).top(3))
    assert [found[name] for name in "abc"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert torch.allclose(model.embed_video(clip), F.normalize(feature, dim=1), atol=1e-6)


def test_labels_select_some_classes_of_a_classifier(classifier, clip):
    whole = dict(classifier.classify(clip).top(4))
    some = dict(classifier.classify(clip, ["yoga", "archery"]).top(4))
    assert some == {name: whole[name] for name in some}
    assert set(some) == {"yoga", "archery"}
    with pytest.raises(UnknownNameError, match=r"'bowlin'.*'bowling'"):
        classifier.classify(clip, ["bowlin"])
    with pytest.raises(ConfigError, match="no labels"):
        classifier.classify(clip, [])


def test_a_pretrained_encoder_embeds_but_does_not_classify(videomae, clip):
    with Video(clip) as video, torch.no_grad():
        tokens = videomae.model.encoder(tiny.PROTOCOL.load(video)).tokens
    expected = F.normalize(tokens.mean(1), dim=1)
    assert torch.allclose(videomae.embed_video(clip), expected, atol=1e-6)
    with pytest.raises(ConfigError, match=r"text tower.*classes"):
        videomae.classify(clip, ["a star"])
    with pytest.raises(ConfigError, match="text tower"):
        videomae.embed_text("a star")


def test_all_kinds_of_sources_are_the_same_video(viclip, clip):
    expected = viclip.embed_video(clip)
    assert expected.shape == (1, 16)
    assert expected.dtype == torch.float32
    with Video(clip) as video:
        frames = video.frames(range(video.num_frames))
        assert torch.equal(viclip.embed_video(video), expected)
        assert video.frames([0]).shape[0] == 1, "a video that the user opened stays open"
    for source in (str(clip), clip.read_bytes(), frames, frames.numpy()):
        assert torch.equal(viclip.embed_video(source), expected)


def test_embeddings_have_unit_length_and_keep_their_order(viclip, mm, classifier, videomae, clip):
    for model in (viclip, mm, classifier, videomae):
        clips = [noise(seed=1), clip, noise(seed=2)]
        rows = model.embed_video(clips)
        assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-5)
        for row, source in zip(rows, clips, strict=True):
            assert torch.allclose(row, model.embed_video(source)[0], atol=1e-5)
    texts = viclip.embed_text(["a star", "a circle"])
    assert torch.allclose(texts.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(viclip.embed_text("a circle"), texts[1:], atol=1e-5)


@pytest.mark.parametrize("kind", ["viclip", "mm", "classifier", "videomae"])
def test_a_batch_of_raw_frames_embeds_as_its_clips_one_by_one(kind, request):
    model = request.getfixturevalue(kind)
    batch = torch.stack([noise(seed=seed) for seed in range(19)])
    assert torch.allclose(model.embed_video_batch(batch), model.embed_video(batch), atol=1e-5)


def test_nothing_to_embed_is_an_error(viclip):
    with pytest.raises(ConfigError, match="no videos"):
        viclip.embed_video([])
    with pytest.raises(ConfigError, match="no texts"):
        viclip.embed_text([])


def test_embeddings_can_train_something_on_top(viclip, clip):
    features = viclip.embed_video([clip, clip])
    assert not features.requires_grad
    head = torch.nn.Linear(16, 2)
    F.cross_entropy(head(features), torch.tensor([0, 1])).backward()
    assert head.weight.grad is not None
    assert all(parameter.grad is None for parameter in viclip.model.parameters())


@pytest.mark.parametrize("bad", [5, None])
def test_what_is_no_video_is_told(viclip, bad):
    with pytest.raises(VideoError, match=r"a video is a path.*got (int|NoneType)"):
        viclip.embed_video(bad)


def test_a_list_of_frames_has_to_be_stacked(viclip):
    with pytest.raises(VideoError, match=r"np\.stack"):
        viclip.embed_video(list(torch.zeros(4, 16, 16, 3, dtype=torch.uint8)))


def test_many_videos_good_and_bad_keep_their_order(viclip, clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video at all")
    videos = []
    for number in range(40):
        videos.append(broken if number % 7 == 3 else noise(seed=number))
    answers = list(viclip.classify_many(videos, GROW_SHRINK))
    assert len(answers) == 40
    for number, answer in enumerate(answers):
        if number % 7 == 3:
            assert isinstance(answer, VideoError)
            assert "broken.mp4" in str(answer)
        else:
            alone = viclip.classify(noise(seed=number), GROW_SHRINK)
            assert isinstance(answer, Classification)
            assert answer.labels == alone.labels
            assert answer.scores == pytest.approx(alone.scores, abs=1e-5)


def test_one_bad_video_raises_its_error(viclip, tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        viclip.classify(tmp_path / "missing.mp4", GROW_SHRINK)
    with pytest.raises(VideoError, match="no such file"):
        viclip.embed_video([noise(), tmp_path / "missing.mp4"])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(4, 8, 8, 3), r"uint8 tensor .* got torch\.float32"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), "shape \\(4, 3, 8, 8\\)"),
        (torch.zeros(0, 8, 8, 3, dtype=torch.uint8), "empty"),
        (np.zeros((8, 8, 3), np.uint8), "uint8 tensor"),
    ],
)
def test_frames_of_another_form_are_refused(viclip, frames, message):
    with pytest.raises(VideoError, match=message):
        viclip.classify(frames, GROW_SHRINK)


def test_saved_and_loaded_again_it_answers_the_same(classifier, clip, tmp_path):
    classifier.save_pretrained(tmp_path / "copy")
    for copy in (
        load(tmp_path / "copy"),
        VideoModel.from_pretrained(tmp_path / "copy", device="cpu"),
    ):
        assert copy.classify(clip) == classifier.classify(clip)
        assert copy.labels == tiny.CLASSES


def test_another_protocol_shares_the_weights(classifier, clip):
    single = classifier.with_preprocessing(tiny.PROTOCOL)
    assert single.model is classifier.model
    assert single.classify(clip).protocol == tiny.PROTOCOL.describe()
    assert single.labels == tiny.CLASSES
    assert classifier.preprocessing == tiny.MULTI_VIEW
    assert classifier.with_preprocessing("videomae-ssv2").preprocessing.num_clips == 2
    with pytest.raises(UnknownNameError, match="'videomae-ssv2'"):
        classifier.with_preprocessing("videomae-ssv22")


def test_unknown_words_are_told_once(viclip, caplog):
    with caplog.at_level(logging.WARNING, logger="internvideo"):
        viclip.embed_text(["a zebra grows", "the zebra shrinks"])
        viclip.embed_text("a zebra")
    [record] = caplog.records
    assert "zebra" in record.getMessage()
    assert "full-size ViCLIP" in record.getMessage()


def test_half_precision_gives_nearly_the_same(folder, viclip, clip):
    half = load(folder / "viclip", device="cpu", dtype="bfloat16")
    assert next(half.model.parameters()).dtype == torch.bfloat16
    embedding = half.embed_video(clip)
    assert embedding.dtype == torch.float32
    assert float(embedding @ viclip.embed_video(clip).T) > 0.99
    assert half.classify(clip, GROW_SHRINK).scores == pytest.approx(
        viclip.classify(clip, GROW_SHRINK).scores, abs=0.05
    )


def test_a_task_is_asked_by_its_name(classifier, viclip, clip, tmp_path):
    assert list(classifier.predict("recognition", clip)) == [classifier.classify(clip)]
    assert (
        list(classifier.predict("actions", [clip, clip], top_k=1))
        == [classifier.classify(clip, top_k=1)] * 2
    )
    [answer, error] = viclip.predict("zero-shot", iter([clip, "gone.mp4"]), labels=GROW_SHRINK)
    assert answer == viclip.classify(clip, GROW_SHRINK)
    assert isinstance(error, VideoError)
    with pytest.raises(UnknownNameError, match="'recognition'"):
        classifier.predict("recognitoin", clip)
    with pytest.raises(ConfigError, match="multiple-choice"):
        viclip.predict("multiple-choice", clip)


def test_a_model_is_measured_on_annotated_videos(classifier, clip, tmp_path):
    (tmp_path / "list.csv").write_text(f"{clip} 1\n{tmp_path / 'gone.mp4'} 2\n")
    steps = []
    report = classifier.evaluate(
        tmp_path / "list.csv", batch_size=2, num_workers=0, directory=tmp_path / "out",
        progress=lambda *step: steps.append(step), name="mine", views="center",
    )  # fmt: skip
    assert (report.num_answered, len(report.failures), steps) == (1, 1, [(1, 2), (2, 2)])
    assert (report.model, report.data) == ("mine", str(tmp_path / "list.csv"))
    assert "1 clip x 1 crop" in report.protocol
    assert (tmp_path / "out" / "report.json").read_text() == report.to_json() + "\n"
    assert (tmp_path / "out" / "predictions.jsonl").exists()
    assert iv.evaluate(classifier, tmp_path / "list.csv").model == classifier.name
    data = AnnotatedData(path=str(tmp_path / "list.csv"), format="kinetics")
    assert iv.evaluate(classifier, data).num_answered == 1
    with pytest.raises(ConfigError, match="contrastive"):
        classifier.evaluate(tmp_path / "list.csv", "contrastive")
    with pytest.raises(DataError, match="nowhere"):
        classifier.evaluate("nowhere.csv")


def test_impossible_choices_are_told(folder):
    with pytest.raises(ConfigError, match="'toaster'"):
        load(folder / "viclip", device="toaster")
    with pytest.raises(ConfigError, match=r"'float8'.*float32, bfloat16"):
        load(folder / "viclip", dtype="float8")
    with pytest.raises(UnknownNameError, match="viclip"):
        load("viclip-l15")
    assert choose_device("cpu") == torch.device("cpu")


def test_folders_stand_for_their_videos(clip, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("b.mp4", "deep/a.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    names = [str(tmp_path / "b.mp4"), str(tmp_path), str(tmp_path / "empty"), "gone.mp4"]
    videos, failures = expand_videos(names)
    assert videos[0] == str(tmp_path / "b.mp4")
    assert set(videos) == {str(tmp_path / "b.mp4"), str(tmp_path / "deep/a.mp4"), "gone.mp4"}
    assert len(videos) == 3
    [(name, reason)] = failures
    assert name == str(tmp_path / "empty")
    assert "no videos" in reason


def test_what_is_no_text_is_refused(viclip):
    with pytest.raises(ConfigError, match=r"label.*int \(1\)"):
        viclip.classify(noise(), ["a star", 1])
    with pytest.raises(ConfigError, match=r"text.*NoneType"):
        viclip.embed_text([None])


def test_a_device_of_another_world_is_told_in_a_line():
    with pytest.raises(ConfigError, match=r"'tpu'.*auto, cpu, cuda"):
        choose_device("tpu")
