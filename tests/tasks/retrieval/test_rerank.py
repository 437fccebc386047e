from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from captioned import CAPTIONS, GOOD
from internvideo.errors import ConfigError, DataError, VideoError
from internvideo.evaluation.engine import EvalLoop
from internvideo.models.tokenizer import clean_caption
from internvideo.tasks.retrieval.evaluate import evaluate, measure
from internvideo.tasks.retrieval.report import PLAIN, RERANKED


def logits_one_by_one(model, source, protocol) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Published similarity and matching logit of every caption with every video."""
    network, cosines, logits, owners = model.model, [], [], []
    places = {Path(source.key(n)).name: n for n in range(len(source))}
    with torch.no_grad():
        views = [source.read_views(places[f"v{n}.mp4"], protocol).views for n in GOOD]
        for place, number in enumerate(GOOD):
            for text in CAPTIONS[number]:
                ids = network.tokenizer([clean_caption(text)])
                read = network.read(ids)
                row = [network.encode_frames(view).mean(1).mean(0) for view in views]
                cosines.append(torch.stack(row) @ network.encode_text(ids)[0])
                pairs = [
                    [network.match_logits(clip[None], read)[0, 1] for clip in tokens]
                    for tokens in (network.forward_features(view).tokens for view in views)
                ]
                logits.append(torch.stack([torch.stack(each).mean() for each in pairs]))
                owners.append(place)
    return torch.stack(cosines), torch.stack(logits), owners


def reranked_one_by_one(cosines, logits, owners, depth) -> tuple[list[int], list[int]]:
    """Sort the first candidates anew, the others stay behind them."""
    of_texts, of_videos = [], []
    for row, closer, owner in zip(cosines, logits, owners, strict=True):
        order = row.argsort(descending=True).tolist()
        first = sorted(order[:depth], key=lambda n: -closer[n])
        of_texts.append([*first, *order[depth:]].index(owner))
    for video in range(cosines.shape[1]):
        order = cosines[:, video].argsort(descending=True).tolist()
        first = sorted(order[:depth], key=lambda n: -logits[n, video])
        groups = list(dict.fromkeys(owners[n] for n in [*first, *order[depth:]]))
        of_videos.append(groups.index(video))
    return of_texts, of_videos


@pytest.mark.parametrize("depth", [1, 2, 3, 50])
@pytest.mark.parametrize("protocol", [tiny.PROTOCOL, tiny.MULTI_VIEW])
def test_ranks_equal_those_one_by_one(matcher, source, protocol, depth):
    loaded = tiny.with_protocol(matcher, protocol)
    report = evaluate(loaded, source, loop=EvalLoop(), rerank=depth)
    cosines, logits, owners = logits_one_by_one(loaded, source, protocol)
    plain = [int((row > row[owner]).sum()) for row, owner in zip(cosines, owners, strict=True)]
    assert list(report.text_to_video[PLAIN].ranks) == plain
    # "a red star moves left" is about two videos: for video 0 and 3 both captions tie
    of_texts, of_videos = reranked_one_by_one(cosines, logits, owners, depth)
    assert list(report.text_to_video[RERANKED].ranks) == of_texts
    found = report.video_to_text[RERANKED].ranks
    assert [found[n] for n in (1, 2)] == [of_videos[n] for n in (1, 2)]
    assert report.depth == depth


def test_a_matching_head_is_asked_where_there_is_one(matcher, source):
    assert evaluate(matcher, source, loop=EvalLoop()).depth == 128
    without = evaluate(matcher, source, loop=EvalLoop(), rerank=0)
    assert RERANKED not in without.text_to_video
    assert "reranked_text_to_video_r1" not in without.metrics()
    assert without.depth == 0


def test_every_pair_is_looked_at_where_the_vectors_do_not_choose(matcher, source, monkeypatch):
    monkeypatch.setattr(type(matcher.model), "matches_all", True)
    report = evaluate(matcher, source, loop=EvalLoop())
    every = evaluate(matcher, source, loop=EvalLoop(), rerank=50)
    assert report.text_to_video[RERANKED] == every.text_to_video[RERANKED]
    assert report.depth == sum(len(CAPTIONS[n]) for n in GOOD)
    assert next(iter(report.metrics())) == "reranked_text_to_video_r1"
    quick = measure(matcher, source, loop=EvalLoop(), quick=True)
    assert quick.text_to_video[RERANKED] == report.text_to_video[RERANKED]
    monkeypatch.undo()
    assert measure(matcher, source, loop=EvalLoop(), quick=True).depth == 0


def test_texts_are_read_once_and_pairs_scored_once(matcher, source, monkeypatch):
    network, read, scored = type(matcher.model), [], []
    reading, matching = network.read, network.match_logits
    monkeypatch.setattr(network, "read", lambda self, ids: read.extend(ids) or reading(self, ids))

    def match_logits(self, video, text):
        scored.extend(video)
        return matching(self, video, text)

    monkeypatch.setattr(network, "match_logits", match_logits)
    evaluate(matcher, source, loop=EvalLoop(), rerank=2)
    readable = sum(len(CAPTIONS[n]) for n in GOOD)
    assert len(read) <= 7 + readable  # for the vectors, then for the pairs
    assert readable * 2 / 2 <= len(scored) <= readable * 2 + len(GOOD) * 2


def test_a_stopped_reranking_goes_on(matcher, source, tmp_path):
    steps = []

    def stop(done, total):
        steps.append((done, total))
        if steps[-1] == (2, 4):
            raise KeyboardInterrupt

    loop = EvalLoop(batch_size=1, num_workers=0, directory=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        evaluate(matcher, source, loop=replace(loop, progress=stop))
    assert len((tmp_path / "matches.jsonl").read_text().splitlines()) == 3
    done = []
    told = replace(loop, progress=lambda *step: done.append(step))
    again = evaluate(matcher, source, loop=told)
    assert [step for step in done if step[1] == 4] == [(3, 4), (4, 4)]
    assert again.text_to_video == evaluate(matcher, source, loop=EvalLoop()).text_to_video
    with pytest.raises(ConfigError, match=r"matches.jsonl .*different candidates"):
        evaluate(matcher, source, loop=loop, rerank=1)


def test_a_video_that_vanishes_between_the_passes_is_named(matcher, source, monkeypatch):
    views, reads = type(source).read_views, []

    def read_views(self, index, protocol):
        reads.append(index)
        if len(reads) > len(CAPTIONS):
            raise VideoError(f"{self.key(index)}: gone")
        return views(self, index, protocol)

    monkeypatch.setattr(type(source), "read_views", read_views)
    with pytest.raises(DataError, match=r"cannot be read any more: .*v0.mp4: gone"):
        evaluate(matcher, source, loop=EvalLoop(num_workers=0))
