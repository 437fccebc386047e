from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from captioned import CAPTIONS, GOOD, open_captions
from internvideo.data.clips import VideoListSource
from internvideo.data.world import WorldSource
from internvideo.errors import ConfigError, DataError
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.tokenizer import clean_caption
from internvideo.tasks.retrieval.evaluate import evaluate, measure
from internvideo.tasks.retrieval.report import DSL, PLAIN
from internvideo.world import World


def scores_one_by_one(model, source, protocol) -> tuple[torch.Tensor, list[int]]:
    """The cosines of every caption with every video, and the videos of the captions."""
    network, rows, owners = model.model, [], []
    places = {Path(source.key(n).split("[")[0]).name: n for n in range(len(source))}
    with torch.no_grad():
        videos = [
            network.encode_video(source.read_views(places[f"v{n}.mp4"], protocol).views).mean(0)
            for n in GOOD
        ]
        for place, number in enumerate(GOOD):
            for text in CAPTIONS[number]:
                [vector] = network.encode_text(network.tokenizer([clean_caption(text)]))
                rows.append(torch.stack([vector @ video for video in videos]))
                owners.append(place)
    return torch.stack(rows), owners


@pytest.mark.parametrize("protocol", [tiny.PROTOCOL, tiny.MULTI_VIEW])
def test_ranks_equal_those_one_by_one(model, source, protocol):
    report = evaluate(tiny.with_protocol(model, protocol), source, loop=EvalLoop())
    scores, owners = scores_one_by_one(model, source, protocol)
    expected = [int((row > row[owner]).sum()) for row, owner in zip(scores, owners, strict=True)]
    assert list(report.text_to_video[PLAIN].ranks) == expected
    best = torch.stack([scores[torch.tensor(owners) == n].amax(0) for n in range(4)])
    expected = [int((best[:, n] > best[n, n]).sum()) for n in range(4)]
    assert list(report.video_to_text[PLAIN].ranks) == expected
    logits = scores / model.model.temperature().detach()
    dual = logits * logits.softmax(dim=0)  # several captions a video: over the texts both ways
    expected = [int((row > row[owner]).sum()) for row, owner in zip(dual, owners, strict=True)]
    assert list(report.text_to_video[DSL].ranks) == expected
    assert (report.side, report.frames) == ("text", 4)
    assert report.text_to_video[PLAIN].lower_median
    assert not report.video_to_text[PLAIN].lower_median


def test_what_cannot_be_read_is_listed_and_counts_as_missed(model, source, videos):
    report = evaluate(model, source, loop=EvalLoop())
    assert [Path(video).name for video, _ in report.failures] == ["v2.mp4", "v5.mp4"]
    assert (report.num_missing_texts, report.num_missing_videos) == (3, 2)
    assert len(report.text_to_video[PLAIN].ranks) == 6
    numbers = report.numbers()["text_to_video"]["plain"]
    right = report.text_to_video[PLAIN].recall(1).correct
    assert numbers["R1"] == pytest.approx(100 * right / 6)
    assert numbers["R1_of_all"] == pytest.approx(100 * right / 9)
    with pytest.raises(DataError, match=r"no video could be read: .*v2"):
        evaluate(model, open_captions(videos, "none.jsonl", {2: ["a"]}), loop=EvalLoop())


def test_a_video_is_encoded_once_and_so_is_a_caption(model, source, monkeypatch):
    read, videos, embedded = [], [], []
    network = type(model.model)
    views, video, text = VideoListSource.read_views, network.encode_video, network.encode_text

    def encode_video(self, clips, **options):
        videos.extend(clips)
        return video(self, clips, **options)

    monkeypatch.setattr(
        VideoListSource, "read_views",
        lambda self, index, protocol: read.append(index) or views(self, index, protocol),
    )  # fmt: skip
    monkeypatch.setattr(network, "encode_video", encode_video)
    monkeypatch.setattr(
        network, "encode_text", lambda self, ids: embedded.extend(ids) or text(self, ids)
    )
    evaluate(model, source, loop=EvalLoop())
    assert len(read) == len(set(read)) == 6
    assert len(videos) == 4
    # those of both broken videos too, "A RED STAR, moves left!" once with its lower case
    assert len(embedded) == 7


def test_a_stopped_evaluation_goes_on_with_equal_numbers(model, source, tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    loop = EvalLoop(batch_size=1, num_workers=0, directory=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, source, loop=replace(loop, progress=stop))
    steps = []
    told = replace(loop, progress=lambda *step: steps.append(step))
    again = evaluate(model, source, loop=told)
    assert again == evaluate(model, source, loop=EvalLoop())
    assert steps == [(3, 6), (4, 6), (5, 6), (6, 6)]
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    vector = np.frombuffer(base64.b64decode(json.loads(lines[1])["vector"]), "<f4")
    assert np.linalg.norm(vector) == pytest.approx(1)
    with pytest.raises(ConfigError, match="different protocol"):
        evaluate(model, source, loop=loop, frames=2)


def test_options_change_what_they_say(model, source):
    base = evaluate(model, source, loop=EvalLoop(), caption_subset="first")
    assert (base.side, base.temperature) == ("both", pytest.approx(0.1))
    assert "the first caption of each of 6 videos" in base.captions
    other = evaluate(
        model, source, loop=EvalLoop(), caption_subset="first", frames=2, temperature=0.5,
        side="video", ties="legacy",
    )  # fmt: skip
    assert (other.frames, other.temperature, other.side) == (2, 0.5, "video")
    assert other.protocol.startswith("2 frames")
    with pytest.raises(ConfigError, match="--temperature must be a positive number, got 0"):
        evaluate(model, source, loop=EvalLoop(), temperature=0.0)
    with pytest.raises(ConfigError, match="no matching head"):
        evaluate(model, source, loop=EvalLoop(), rerank=5)


def test_long_and_foreign_captions_are_read_and_said_of_once(model, videos):
    text = " ".join(["a red star moves left"] * 400)
    captions = {0: [text, text], 1: ["ein Stern — звезда — 星"], 3: ["a"]}
    source = open_captions(videos, "long.jsonl", captions)
    report = evaluate(model, source, loop=EvalLoop())
    assert [remark for remark in report.remarks if "cut off" in remark] == [
        f"longer than the 32 tokens that {model.name} reads, and cut off there: 1 of 3 different "
        "captions"
    ]


def test_captions_of_several_videos_and_ties_are_told(model, source):
    remarks = evaluate(model, source, loop=EvalLoop()).remarks
    assert any("other videos too" in each and "2 of 9 captions" in each for each in remarks)
    assert any("exactly the score of the true one" in each for each in remarks)


def test_a_model_that_overflows_is_found_out(model, source, monkeypatch):
    network, seen = type(model.model), []
    encode = network.encode_video

    def broken(self, clips, **options):
        seen.append(len(clips))
        return encode(self, clips, **options) * (torch.nan if len(seen) == 2 else 1)

    monkeypatch.setattr(network, "encode_video", broken)
    report = evaluate(model, source, loop=EvalLoop(batch_size=1))
    failures = {Path(video).name: reason for video, reason in report.failures}
    assert failures["v1.mp4"] == "the model gives it a vector that is not finite"
    assert len(failures) == 3
    assert report.num_answered == 3


def test_a_training_run_is_measured_quickly_and_by_plain_recall_first(model):
    source = WorldSource(World(seed=3, size=32, num_frames=8), num_clips=3)
    loaded = tiny.with_protocol(model, tiny.MULTI_VIEW)
    quick = measure(loaded, source, loop=EvalLoop(), quick=True)
    assert next(iter(quick.metrics())) == "text_to_video_r1"
    assert "1 clip x 1 crop" in quick.protocol
    assert "2 clips x 3 crops" in measure(loaded, source, loop=EvalLoop(), quick=False).protocol
